"""Clips of different lengths as one padded batch."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
import pyarrow as pa
import torch

from ms2sl.data.shards import decode_joints
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Poses
from ms2sl.features.base import Features

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
        return type(self)(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))

    def split(self, max_frames: int) -> list["Batch"]:
        """Parts of neighbouring clips of at most ``max_frames`` padded frames (clips x the longest of them) each, or of a single clip."""
        if self.poses.shape[0] * self.poses.shape[1] <= max_frames:
            return [self]
        starts, longest = [0], 0
        for row, frames in enumerate(self.n_frames.tolist()):
            longest = max(longest, _padded(frames, FRAME_MULTIPLE))
            if row > starts[-1] and (row + 1 - starts[-1]) * longest > max_frames:
                starts.append(row)
                longest = _padded(frames, FRAME_MULTIPLE)
        return [self._rows(start, stop) for start, stop in pairwise([*starts, len(self)])]

    def _rows(self, start: int, stop: int) -> "Batch":
        """Some of its clips, padded no further than the longest of them."""
        part = type(self)(*(getattr(self, field.name)[start:stop] for field in fields(self)))
        n_frames, n_text, n_speech = (int(lengths.max()) for lengths in (part.n_frames, part.n_text, part.n_speech))
        part.poses, part.seen = (values[:, : _padded(n_frames, FRAME_MULTIPLE)] for values in (part.poses, part.seen))
        part.text = part.text[:, : _padded(n_text, TEXT_MULTIPLE)]
        part.speech = part.speech[:, : _padded(n_speech, SPEECH_MULTIPLE)]
        return part


class Collate:
    """Makes batches of poses and of such text and speech features."""

    def __init__(self, skeleton: Skeleton, text: Features, speech: Features):
        self.skeleton, self.text, self.speech = skeleton, text, speech

    def __call__(self, table: pa.Table) -> Batch:
        """Rows of a shard as a batch, decoded straight from the Arrow buffers."""
        joints, dims = self.skeleton.n_joints, self.skeleton.dims
        poses = [decode_joints(value.as_buffer(), (joints, dims)) if value.is_valid else None for value in table["poses"]]
        confidence = _column(table, "confidence", "n_frames", np.uint8, (joints,))
        texts = _column(table, "text_features", "n_text", self.text.dtype, self.text.shape)
        speeches = _column(table, "speech_features", "n_speech", self.speech.dtype, self.speech.shape)
        return self._batch(poses, confidence, texts, speeches)

    def batch(self, poses: Sequence[Poses | None], texts: Sequence[np.ndarray | None], speeches: Sequence[np.ndarray | None]) -> Batch:
        """Normalised poses and features of the same clips; None where a modality is absent."""
        joints = [None if clip is None else clip.joints for clip in poses]
        confidence = [None if clip is None else clip.confidence for clip in poses]
        return self._batch(joints, confidence, texts, speeches)

    def _batch(self, poses, confidence, texts, speeches) -> Batch:
        joints, dims = self.skeleton.n_joints, self.skeleton.dims
        padded, n_frames = _pad(poses, (joints, dims), FRAME_MULTIPLE)
        # By numpy: a comparison by torch in the thread that prepares batches would start OpenMP threads of its own, and with more threads
        # than cores OpenMP waits in a way that takes a third of the speed from training.
        confident, _ = _pad(confidence, (joints,), FRAME_MULTIPLE)
        text, n_text = _pad(texts, self.text.shape, TEXT_MULTIPLE)
        speech, n_speech = _pad(speeches, self.speech.shape, SPEECH_MULTIPLE)
        return Batch(
            padded, torch.from_numpy(confident.numpy() > 0), n_frames, _ids(text, self.text), n_text, _ids(speech, self.speech), n_speech
        )


def _padded(length: int, multiple: int) -> int:
    return -(-max(1, length) // multiple) * multiple


def _ids(padded: torch.Tensor, features: Features) -> torch.Tensor:
    return padded.long() if features.vocabulary else padded


def _column(table: pa.Table, name: str, count: str, dtype, shape: tuple[int, ...]) -> list[np.ndarray | None]:
    """Arrays of a binary column, without a copy; None where it is null."""
    values = zip(table[name], table[count].to_numpy(), strict=True)
    return [np.frombuffer(value.as_buffer(), dtype).reshape(n, *shape) if value.is_valid else None for value, n in values]


def _pad(arrays: Sequence[np.ndarray | None], shape: tuple[int, ...], multiple: int) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 ``(batch, longest, *shape)``, the longest rounded up to the multiple, and lengths ``(batch,)``."""
    lengths = [0 if array is None else len(array) for array in arrays]
    padded = np.zeros((len(arrays), _padded(max(lengths, default=0), multiple), *shape), np.float32)
    for row, array, n in zip(padded, arrays, lengths, strict=True):
        if n:
            row[:n] = array
    return torch.from_numpy(padded), torch.tensor(lengths)
