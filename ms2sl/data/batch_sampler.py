"""From shards to padded batches: the same order for the same seed, wherever it is read and however it is resumed.

An epoch shuffles the shards. Their rows, one shard after another, are dealt to the virtual workers in equal parts, so each reads whole
shards and slices of the two at its borders. Of a mixture, an epoch takes as many rows of each dataset as its weight says. Rows are joined
into pools; each pool is sorted by length and cut into batches, which are then shuffled. No row is copied on the way: a batch is made of
slices of the Arrow tables that were read. All of it follows from the description of the dataset, so that a run that goes on in the middle
of an epoch reads nothing of what came before.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from ms2sl.data.dataset import Dataset
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.skeleton_reduction import read_reduced
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath

if TYPE_CHECKING:  # who only reads shards needs no torch
    from ms2sl.data.collate import Batch, Collate

POOL_BATCHES = 32
SMALLEST_POOL, POOL_BYTES = 64 * 2**20, 256 * 2**20  # of shards; a pool is held in memory, where it takes up to some times as many


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

    rank, world_size: of virtual workers, to which the data is dealt; a worker does the work of one or several (``of_worker``). sizes: bytes
    of each shard, where they are known. A pool ends with the batch that brings it to ``pool_batches``, or to ``pool_bytes`` of shards.
    by_frames: whether the batches of a pool have about as many frames each, and not as many clips; ``batch_size`` is then their mean.
    weights: ``(shards, weight)`` of each dataset, whose shards follow each other; one dataset of weight 1 without. An epoch has each
    clip of a dataset ``weight`` times; of a broken weight it has that share of the clips once more, others in each epoch in turn.
    All ranks make the same number of steps in every epoch; their batches of one step differ by at most one clip, or are made by frames.

    Raises InputError if there is not a clip for each rank.
    """

    shards: list[tuple[StoragePath, int]]
    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1
    weights: Sequence[tuple[int, float]] = ()
    sizes: Sequence[int] = ()
    by_frames: bool = False
    pool_batches: int = POOL_BATCHES
    pool_bytes: int = POOL_BYTES

    @classmethod
    def of(cls, dataset: Dataset, batch_size: int, seed: int) -> "EpochPlan":
        """The plan of the training split for a worker alone."""
        return cls.of_worker(dataset, batch_size, seed)[0]

    @classmethod
    def of_worker(
        cls,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        virtual_workers: int | None = None,
        by_frames: bool = False,
    ) -> list["EpochPlan"]:
        """Of the training split, the plans of the virtual workers whose work this worker does: those of its rank, rank + world_size, ….

        virtual_workers: as many as there are workers, if None. Raises InputError if there are fewer of them.
        """
        virtual_workers = virtual_workers or world_size
        if virtual_workers < world_size:
            raise InputError(
                f"the data is dealt to {virtual_workers} virtual workers (training.virtual_workers), so there is no work for {world_size} "
                f"workers: use at most {virtual_workers}"
            )
        shards, sizes = dataset.shards("train"), dataset.shard_sizes("train")
        pool_bytes = max(SMALLEST_POOL, POOL_BYTES // virtual_workers)  # a worker may have to hold those of all virtual ones
        return [
            cls(shards, batch_size, seed, each, virtual_workers, dataset.weights, sizes, by_frames, pool_bytes=pool_bytes)
            for each in range(rank, virtual_workers, world_size)
        ]

    def __post_init__(self):
        if self.clips < self.world_size:
            raise InputError(f"{self.clips} training clips cannot feed {self.world_size} workers: use at most {self.clips}")

    @cached_property
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

    @cached_property
    def batch_sizes(self) -> list[int]:
        """Of this rank in any epoch, before batches are shuffled: as equal as can be, at most ``batch_size``, or 2 where that is 1 and
        the clips cannot be dealt evenly."""
        rows, steps = len(self.share), self.steps_per_epoch
        ends = [step * rows // steps for step in range(steps + 1)]
        return [stop - start for start, stop in pairwise(ends)]

    def epoch(self, epoch: int, skip: int = 0) -> list[Rows]:
        """What this rank reads, in the order of this epoch, from the pool of batch ``skip`` on."""
        read = self._mine(epoch)
        return _between(read, sum(self.batch_sizes[: _from(skip, self._pools(read))[0].start]), len(self.share))

    def pools(self, epoch: int) -> list[range]:
        """The batches of each pool of this rank in this epoch."""
        return self._pools(self._mine(epoch))

    def _pools(self, read: Sequence[Rows]) -> list[range]:
        size_of = dict(zip((place for place, _ in self.shards), self.sizes, strict=False))
        rows = np.cumsum([0, *(each.stop - each.start for each in read)])
        size = np.cumsum([0.0, *((each.stop - each.start) * size_of.get(each.shard, 0) / max(each.clips, 1) for each in read)])
        held = np.interp(np.cumsum([0, *self.batch_sizes]), rows, size)
        pools, begin = [], 0
        for end in range(1, len(held)):
            if end - begin == self.pool_batches or held[end] - held[begin] >= self.pool_bytes or end == len(held) - 1:
                pools.append(range(begin, end))
                begin = end
        return pools

    def _mine(self, epoch: int) -> list[Rows]:
        every = [rows for shards, weight in self._datasets for rows in _rows(shards, weight, epoch)]
        order = np.random.default_rng((self.seed, epoch)).permutation(len(every))
        return _between([every[i] for i in order], self.share.start, self.share.stop)


def _from(batch: int, pools: Sequence[range]) -> list[range]:
    """The pools from that of a batch on."""
    return [pool for pool in pools if pool.stop > batch]


def _between(rows: Iterable[Rows], first: int, last: int) -> list[Rows]:
    """The rows from one to another, counted over all of these."""
    found, offset = [], 0
    for each in rows:
        n = each.stop - each.start
        start, stop = (min(max(row - offset, 0), n) for row in (first, last))
        if start < stop:
            found.append(each._replace(start=each.start + start, stop=each.start + stop))
        offset += n
    return found


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


def marked(table: pa.Table, **values: int) -> pa.Table:
    """With a column of each value."""
    for name, value in values.items():
        table = table.append_column(name, pa.array([value] * len(table), pa.int64()))
    return table


def length_bucketed_batches(blocks: Iterable[pa.Table], plan: EpochPlan, epoch: int, skip: int = 0) -> Iterator[pa.Table]:
    """Batches of similar length of one epoch, from ``skip`` on, of the Arrow blocks of ``plan.epoch(epoch, skip)``.

    Only the order of rows matters, not where one block ends and the next begins.
    """
    rng, sizes, pools = np.random.default_rng((plan.seed, epoch, plan.rank)), plan.batch_sizes, plan.pools(epoch)
    tables = _split(blocks, sizes[_from(skip, pools)[0].start :])
    for pool in pools:
        order, turns = rng.permutation(sum(sizes[pool.start : pool.stop])), rng.permutation(len(pool))
        if pool.stop > skip:
            yield from _sorted_batches(list(islice(tables, len(pool))), order, turns[max(0, skip - pool.start) :], plan.by_frames)


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


def _sorted_batches(pool: list[pa.Table], order: np.ndarray, turns: Iterable[int], by_frames: bool) -> Iterator[pa.Table]:
    """The rows of a pool by length, in as many batches as it has tables, of their sizes or of about as many frames. order: of rows of the
    same length; turns: of the batches to make.

    A clip that is in the pool twice comes a second time after all first ones: beside itself in a batch it would be its own contrast.
    """
    rows = [table.slice(i, 1) for table in pool for i in range(len(table))]
    whole = pa.concat_tables(pool)
    lengths = whole["n_frames"].to_numpy()
    order = order[np.lexsort((lengths[order], _repetition(whole["id"].to_pylist())[order]))]
    ends = equal_frames(lengths[order], len(pool)) if by_frames else np.cumsum([0, *map(len, pool)])
    for i in turns:
        yield pa.concat_tables(rows[row] for row in order[ends[i] : ends[i + 1]])


def equal_frames(lengths: np.ndarray, parts: int) -> np.ndarray:
    """Where clips of these lengths in frames are cut into parts ``(parts + 1,)`` of about as many frames, of one clip or more each."""
    frames = np.cumsum(np.maximum(lengths, 1))
    ends = np.searchsorted(frames, frames[-1] * np.arange(1, parts) / parts, side="right")
    turn = np.arange(1, parts)
    ends = np.maximum.accumulate(np.maximum(ends, turn) - turn) + turn  # one clip or more each
    return np.concatenate([[0], np.minimum(ends, len(lengths) - parts + turn), [len(lengths)]])


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
