"""From shards to padded batches: the same order for the same seed, wherever it is read and however it is resumed.

An epoch shuffles the shards. Their rows, one shard after another, are dealt to the ranks in equal parts, so a rank reads whole
shards and slices of the two at its borders. Of a mixture, an epoch takes as many rows of each dataset as its weight says. A rank joins
rows into pools, sorts each pool by length and cuts batches from it, which are then shuffled. No row is copied on the
way: a batch is made of slices of the Arrow tables that were read.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ms2sl.data.dataset import Dataset
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.skeleton_reduction import read_reduced
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath

if TYPE_CHECKING:  # who only reads shards needs no torch
    from ms2sl.data.collate import Batch, Collate

POOL_BATCHES = 32
POOL_BYTES = 512 * 2**20  # a pool is held in memory


class Rows(NamedTuple):
    """Rows ``start`` to ``stop`` of a shard of ``clips`` rows."""

    shard: StoragePath
    clips: int
    start: int
    stop: int

    def read(self, columns: Sequence[str], skeleton: Skeleton) -> pa.Table:
        """With poses of ``skeleton``. Raises InputError if the shard is missing, damaged, or has another number of rows."""
        table = read_reduced(self.shard, skeleton, columns)
        if len(table) != self.clips:
            raise InputError(
                f"{self.shard} has {len(table)} clips, and {self.clips} by the description of the dataset: prepare the data again"
            )
        return table.slice(self.start, self.stop - self.start)


@dataclass(frozen=True)
class EpochPlan:
    """Who reads what in which epoch: every clip of the epoch is in exactly one batch of one rank. ``shards`` are ``(place, clips)``.

    weights: ``(shards, weight)`` of each dataset, whose shards follow each other; one dataset of weight 1 without. An epoch has each
    clip of a dataset ``weight`` times; of a broken weight it has that share of the clips once more, others in each epoch in turn.
    All ranks make the same number of steps in every epoch, and their batches of one step differ by at most one clip.

    Raises InputError if there is not a clip for each rank.
    """

    shards: list[tuple[StoragePath, int]]
    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1
    weights: Sequence[tuple[int, float]] = ()

    @classmethod
    def of(cls, dataset: Dataset, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> "EpochPlan":
        """The plan of the training split."""
        return cls(dataset.shards("train"), batch_size, seed, rank, world_size, dataset.weights)

    def __post_init__(self):
        if self.clips < self.world_size:
            raise InputError(f"{self.clips} training clips cannot feed {self.world_size} workers: use at most {self.clips}")

    @property
    def clips(self) -> int:
        """Of an epoch, of all ranks."""
        return sum(_drawn(shards, weight) for shards, weight in self._datasets)

    @property
    def _datasets(self) -> list[tuple[list[tuple[StoragePath, int]], float]]:
        """Shards and weight of each dataset."""
        found, rest = [], list(self.shards)
        for number, weight in self.weights or ((len(rest), 1.0),):
            found.append((rest[:number], weight))
            rest = rest[number:]
        return found

    @property
    def steps_per_epoch(self) -> int:
        smallest, largest = self.clips // self.world_size, -(-self.clips // self.world_size)
        return min(-(-largest // self.batch_size), smallest)  # the latter for batches of 1: no rank has a step without a clip

    @property
    def share(self) -> range:
        """The rows of this rank in the order of any epoch."""
        start, stop = (rank * self.clips // self.world_size for rank in (self.rank, self.rank + 1))
        return range(start, stop)

    @property
    def batch_sizes(self) -> list[int]:
        """Of this rank in any epoch, before batches are shuffled: as equal as can be, at most ``batch_size``, or 2 where that is 1 and
        the clips cannot be dealt evenly."""
        ends = [step * len(self.share) // self.steps_per_epoch for step in range(self.steps_per_epoch + 1)]
        return [stop - start for start, stop in pairwise(ends)]

    def epoch(self, epoch: int) -> list[Rows]:
        """What this rank reads, in the order of this epoch."""
        every = [rows for shards, weight in self._datasets for rows in _rows(shards, weight, epoch)]
        mine, offset, share = [], 0, self.share
        for i in np.random.default_rng((self.seed, epoch)).permutation(len(every)):
            rows = every[i]
            drawn = rows.stop - rows.start
            start, stop = (min(max(row - offset, 0), drawn) for row in (share.start, share.stop))
            if start < stop:
                mine.append(rows._replace(start=rows.start + start, stop=rows.start + stop))
            offset += drawn
        return mine


def _drawn(shards: Sequence[tuple[StoragePath, int]], weight: float) -> int:
    """Rows of a dataset in every epoch."""
    return max(1, round(weight * sum(clips for _, clips in shards)))


def _rows(shards: Sequence[tuple[StoragePath, int]], weight: float, epoch: int) -> list[Rows]:
    """What an epoch has of a dataset: all of it as often as the weight is whole, and the next part of it for what is left."""
    clips = sum(clips for _, clips in shards)
    whole, part = divmod(_drawn(shards, weight), clips)
    rows = [Rows(place, n, 0, n) for _ in range(whole) for place, n in shards]
    start = epoch * part % clips
    for first, last in ((start, min(start + part, clips)), (0, start + part - clips)):
        offset = 0
        for place, n in shards:
            begin, end = max(first - offset, 0), min(last - offset, n)
            if begin < end:
                rows.append(Rows(place, n, begin, end))
            offset += n
    return rows


def marked(table: pa.Table, epoch: int) -> pa.Table:
    """With the column ``epoch``."""
    return table.append_column("epoch", pa.array([epoch] * len(table), pa.int64()))


def length_bucketed_batches(
    blocks: Iterable[pa.Table], plan: EpochPlan, epoch: int, pool_batches: int = POOL_BATCHES, pool_bytes: int = POOL_BYTES
) -> Iterator[pa.Table]:
    """Batches of similar length from the Arrow blocks of one epoch, ``plan.steps_per_epoch`` of them.

    Only the order of rows matters, not where one block ends and the next begins. A pool ends with the batch that brings it to
    ``pool_batches``, or to ``pool_bytes`` of what its rows hold.
    """
    rng = np.random.default_rng((plan.seed, epoch, plan.rank))
    pool: list[pa.Table] = []
    held = 0
    for part in _split(blocks, plan.batch_sizes):
        pool.append(part)
        held += _bytes(part)
        if len(pool) == pool_batches or held >= pool_bytes:
            yield from _sorted_batches(pool, rng)
            pool, held = [], 0
    if pool:
        yield from _sorted_batches(pool, rng)


def _split(blocks: Iterable[pa.Table], sizes: list[int]) -> Iterator[pa.Table]:
    """The rows of the blocks, in their order, in tables of these sizes."""
    blocks, rest = iter(blocks), None
    for size in sizes:
        parts = [rest] if rest is not None else []
        while sum(map(len, parts)) < size:
            parts.append(next(blocks))
        table = pa.concat_tables(parts)
        yield table.slice(0, size)
        rest = table.slice(size)


def _bytes(table: pa.Table) -> int:
    """What the rows hold in binary columns, which are all that is large; the same however the table is divided into chunks."""
    return sum(pc.sum(pc.binary_length(column)).as_py() or 0 for column in table.columns if pa.types.is_large_binary(column.type))


def _sorted_batches(pool: list[pa.Table], rng: np.random.Generator) -> Iterator[pa.Table]:
    """The rows of a pool by length, in batches of the same sizes as its tables, in no order.

    A clip that is in the pool twice comes a second time after all first ones: beside itself in a batch it would be its own contrast.
    """
    rows = [table.slice(i, 1) for table in pool for i in range(len(table))]
    order = rng.permutation(len(rows))
    whole = pa.concat_tables(pool)
    lengths = whole["n_frames"].to_numpy()[order]
    order = order[np.lexsort((lengths, _repetition(whole["id"].to_pylist())[order]))]
    ends = np.cumsum([0, *map(len, pool)])
    for i in rng.permutation(len(pool)):
        yield pa.concat_tables(rows[row] for row in order[ends[i] : ends[i + 1]])


def _repetition(ids: Sequence[str]) -> np.ndarray:
    """How often each id came before ``(rows,)``."""
    before: Counter[str] = Counter()
    found = np.zeros(len(ids), np.int64)
    for i, name in enumerate(ids):
        found[i] = before[name]
        before[name] += 1
    return found


def split_batches(dataset: Dataset, split: str, collate: "Collate", size: int, rank: int = 0, world_size: int = 1) -> Iterator["Batch"]:
    """The whole split once, in its own order; rank r gets batches r, r + world_size, … of the same list."""
    index = 0
    for table in dataset.tables(split, collate.columns):
        for start in range(0, len(table), size):
            if index % world_size == rank:
                yield collate(table.slice(start, size))
            index += 1
