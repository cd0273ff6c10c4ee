"""From shards to padded batches: the same order for the same seed, wherever it is read and however it is resumed.

An epoch shuffles the shards. Their rows, one shard after another, are dealt to the ranks in equal parts, so a rank reads whole
shards and slices of the two at its borders. It joins rows into pools, sorts each pool by length and cuts batches from it, which
are then shuffled. No row is copied on the way: a batch is made of slices of the Arrow tables that were read.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ms2sl.data.dataset import Dataset
from ms2sl.data.shards import read_shard
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

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Raises InputError if the shard is missing, damaged, or has another number of rows."""
        table = read_shard(self.shard, list(columns))
        if len(table) != self.clips:
            raise InputError(
                f"{self.shard} has {len(table)} clips, and {self.clips} by the description of the dataset: prepare the data again"
            )
        return table.slice(self.start, self.stop - self.start)


@dataclass(frozen=True)
class EpochPlan:
    """Who reads what in which epoch: every clip is in exactly one batch of one rank. ``shards`` are ``(place, clips)``.

    All ranks make the same number of steps in every epoch, and their batches of one step differ by at most one clip.

    Raises InputError if there is not a clip for each rank.
    """

    shards: list[tuple[StoragePath, int]]
    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self):
        if self.clips < self.world_size:
            raise InputError(f"{self.clips} training clips cannot feed {self.world_size} workers: use at most {self.clips}")

    @property
    def clips(self) -> int:
        """Of all ranks."""
        return sum(clips for _, clips in self.shards)

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
        mine, offset = [], 0
        for i in np.random.default_rng((self.seed, epoch)).permutation(len(self.shards)):
            place, clips = self.shards[i]
            start, stop = (min(max(row - offset, 0), clips) for row in (self.share.start, self.share.stop))
            if start < stop:
                mine.append(Rows(place, clips, start, stop))
            offset += clips
        return mine


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
    """The rows of a pool by length, in batches of the same sizes as its tables, in no order."""
    rows = [table.slice(i, 1) for table in pool for i in range(len(table))]
    order = rng.permutation(len(rows))
    lengths = pa.concat_tables(pool)["n_frames"].to_numpy()[order]
    order = order[np.argsort(lengths, kind="stable")]
    ends = np.cumsum([0, *map(len, pool)])
    for i in rng.permutation(len(pool)):
        yield pa.concat_tables(rows[row] for row in order[ends[i] : ends[i + 1]])


def split_batches(dataset: Dataset, split: str, collate: "Collate", size: int, rank: int = 0, world_size: int = 1) -> Iterator["Batch"]:
    """The whole split once, in its own order; rank r gets batches r, r + world_size, … of the same list."""
    index = 0
    for table in dataset.tables(split, collate.columns):
        for start in range(0, len(table), size):
            if index % world_size == rank:
                yield collate(table.slice(start, size))
            index += 1
