"""From shards to padded batches: the same order for the same seed, wherever it is read and however it is resumed.

An epoch shuffles the shards, deals them to the ranks, joins each rank's rows into pools, sorts a pool
by length and cuts batches from it, which are then shuffled. A pool is decoded whole, one Arrow
block after another: a row at a time is the known bottleneck.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ms2sl.collate import Batch, Collate
from ms2sl.dataset import Dataset
from ms2sl.errors import InputError
from ms2sl.storage import Location

COLUMNS = ["id", "text", "n_frames", "poses", "confidence", "n_text", "text_features", "n_speech", "speech_features"]


@dataclass(frozen=True)
class Plan:
    """Who reads what in which epoch. ``shards`` are ``(place, clips)``."""

    shards: list[tuple[Location, int]]
    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self):
        if len(self.shards) < self.world_size:
            raise InputError(
                f"{len(self.shards)} training shards cannot feed {self.world_size} workers: prepare with a smaller --shard-size"
            )
        if self.steps_per_epoch == 0:
            raise InputError(
                f"{sum(clips for _, clips in self.shards)} training clips on {self.world_size} workers "
                f"do not fill one batch of {self.batch_size}: lower the batch size"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches of every rank in every epoch: the same for all, so that no rank waits for another."""
        smallest = sorted(clips for _, clips in self.shards)[: len(self.shards) // self.world_size]
        return sum(smallest) // self.batch_size

    def epoch(self, epoch: int) -> list[Location]:
        """The shards of this rank, in the order of this epoch."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.shards))
        per_rank = len(self.shards) // self.world_size
        mine = order[self.rank :: self.world_size]
        return [self.shards[i][0] for i in (mine if self.world_size == 1 else mine[:per_rank])]


def cut(blocks: Iterable[pa.Table], plan: Plan, epoch: int, pool_batches: int = 32) -> Iterator[pa.Table]:
    """Batches of similar length from the Arrow blocks of one epoch, ``plan.steps_per_epoch`` of them.

    Only the order of rows matters, not where one block ends and the next begins.
    """
    rng = np.random.default_rng((plan.seed, epoch, plan.rank))
    size, left = plan.batch_size, plan.steps_per_epoch
    pool: list[pa.Table] = []
    rows = 0
    for block in _and_end(blocks):
        if block is not None:
            pool.append(block)
            rows += len(block)
        while left and (rows >= size * pool_batches or (block is None and rows >= size)):
            table = pa.concat_tables(pool)
            taken = min(size * pool_batches, rows - rows % size)
            batches = _sorted_batches(table.slice(0, taken), size, rng)[:left]
            yield from batches
            left -= len(batches)
            pool, rows = [table.slice(taken)], rows - taken


def _and_end(blocks):
    yield from blocks
    yield None


def _sorted_batches(table: pa.Table, size: int, rng: np.random.Generator) -> list[pa.Table]:
    table = table.take(rng.permutation(len(table)))
    lengths = table["n_frames"].to_numpy()
    table = table.take(np.argsort(lengths, kind="stable"))
    return [table.slice(start * size, size) for start in rng.permutation(len(table) // size)]


def split_batches(dataset: Dataset, split: str, collate: Collate, size: int, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
    """The whole split once, in its own order; rank r gets batches r, r + world_size, … of the same list."""
    index = 0
    for table in dataset.tables(split, COLUMNS):
        for start in range(0, len(table), size):
            if index % world_size == rank:
                yield collate(table.slice(start, size))
            index += 1
