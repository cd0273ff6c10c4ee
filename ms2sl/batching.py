"""From shards to padded batches: the same order for the same seed, wherever it is read and however it is resumed.

An epoch shuffles the shards, deals them to the ranks, joins each rank's rows into pools, sorts a pool
by length and cuts batches from it, which are then shuffled. A pool is decoded whole, one Arrow
block after another: a row at a time is the known bottleneck.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from ms2sl.dataset import Dataset
from ms2sl.errors import InputError
from ms2sl.features import featurizer
from ms2sl.features.base import Featurizer, feature_dtype
from ms2sl.skeleton import Skeleton

COLUMNS = ["id", "n_frames", "poses", "confidence", "n_text", "text_features", "n_speech", "speech_features"]
# A few fixed sizes, since each new shape makes the kernels set up anew.
FRAME_MULTIPLE, TEXT_MULTIPLE, SPEECH_MULTIPLE = 4, 4, 40


@dataclass(slots=True)
class Batch:
    """A padded batch; rows that lack a modality have length 0 in it.

    poses: float32 ``(batch, frames, joints, dims)``; seen: bool ``(batch, frames, joints)``.
    text: ids ``(batch, tokens)`` or float32 ``(batch, tokens, dim)``; speech: likewise.
    n_frames, n_text, n_speech: int64 ``(batch,)``.
    """

    poses: torch.Tensor
    seen: torch.Tensor
    n_frames: torch.Tensor
    text: torch.Tensor
    n_text: torch.Tensor
    speech: torch.Tensor
    n_speech: torch.Tensor

    def __len__(self) -> int:
        return len(self.n_frames)

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


@dataclass(frozen=True)
class Plan:
    """Who reads what in which epoch. ``shards`` are ``(path, clips)``."""

    shards: list[tuple[Path, int]]
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

    def epoch(self, epoch: int) -> list[Path]:
        """The shards of this rank, in the order of this epoch."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.shards))
        per_rank = len(self.shards) // self.world_size
        mine = order[self.rank :: self.world_size]
        return [self.shards[i][0] for i in (mine if self.world_size == 1 else mine[:per_rank])]


def cut(blocks: Iterable[pa.Table], plan: Plan, epoch: int, pool_batches: int = 16) -> Iterator[pa.Table]:
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


class Collate:
    """Arrow rows → Batch. ``names`` are the featurizers of text and of speech."""

    def __init__(self, skeleton: Skeleton, text_features: str, speech_features: str):
        self.skeleton = skeleton
        self.text = featurizer(text_features, "text")
        self.speech = featurizer(speech_features, "speech")

    def __call__(self, table: pa.Table) -> Batch:
        n_frames = table["n_frames"].to_numpy()
        joints, dims = self.skeleton.n_joints, self.skeleton.dims
        poses = _pad(table["poses"], n_frames, np.dtype(np.float16), (joints, dims), FRAME_MULTIPLE)
        confidence = _pad(table["confidence"], n_frames, np.dtype(np.uint8), (joints,), FRAME_MULTIPLE)
        text, n_text = self._features(table, "text", self.text, TEXT_MULTIPLE)
        speech, n_speech = self._features(table, "speech", self.speech, SPEECH_MULTIPLE)
        lengths = torch.from_numpy(n_frames.astype(np.int64))
        return Batch(torch.from_numpy(poses).float(), torch.from_numpy(confidence) > 0, lengths, text, n_text, speech, n_speech)

    def _features(self, table: pa.Table, name: str, featurizer: Featurizer, multiple: int) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = table[f"n_{name}"].to_numpy()
        shape = (featurizer.dim,) if featurizer.dim else ()
        return self.pad_features(table[f"{name}_features"], lengths, featurizer, shape, multiple)

    @staticmethod
    def pad_features(column, lengths, featurizer, shape, multiple):
        padded = torch.from_numpy(_pad(column, lengths, feature_dtype(featurizer), shape, multiple))
        return (padded.long() if featurizer.vocabulary else padded.float()), torch.from_numpy(lengths.astype(np.int64))

    def conditions(self, texts: list[np.ndarray | None], speeches: list[np.ndarray | None]) -> Batch:
        """A batch of conditions without poses, from features of utterances (None where the modality is absent)."""
        size, joints, dims = len(texts), self.skeleton.n_joints, self.skeleton.dims
        parts = []
        for features, kind, multiple in ((texts, self.text, TEXT_MULTIPLE), (speeches, self.speech, SPEECH_MULTIPLE)):
            lengths = np.array([0 if item is None else len(item) for item in features])
            column = [None if item is None else item.astype(feature_dtype(kind)).tobytes() for item in features]
            parts += self.pad_features(column, lengths, kind, (kind.dim,) if kind.dim else (), multiple)
        frames = torch.zeros(size, FRAME_MULTIPLE, joints, dims)
        return Batch(frames, torch.zeros(size, FRAME_MULTIPLE, joints, dtype=torch.bool), torch.zeros(size, dtype=torch.int64), *parts)


def _pad(column, lengths: np.ndarray, dtype: np.dtype, shape: tuple[int, ...], multiple: int) -> np.ndarray:
    longest = max(1, int(lengths.max(initial=0)))
    padded = np.zeros((len(lengths), -(-longest // multiple) * multiple, *shape), dtype)
    for i, (value, n) in enumerate(zip(column, lengths, strict=True)):
        if n:
            buffer = value.as_buffer() if isinstance(value, pa.Scalar) else value
            padded[i, :n] = np.frombuffer(buffer, dtype).reshape(n, *shape)
    return padded


def split_batches(dataset: Dataset, split: str, collate: Collate, size: int, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
    """The whole split once, in its own order; rank r gets batches r, r + world_size, … of the same list."""
    index = 0
    for table in dataset.tables(split, COLUMNS):
        for start in range(0, len(table), size):
            if index % world_size == rank:
                yield collate(table.slice(start, size))
            index += 1
