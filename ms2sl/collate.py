"""Clips of different lengths as one padded batch."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import torch

from ms2sl.clip import Poses
from ms2sl.features import featurizer
from ms2sl.features.base import Featurizer, feature_dtype
from ms2sl.skeleton import Skeleton

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


class Collate:
    """Makes batches. ``text_features`` and ``speech_features`` are names of featurizers."""

    def __init__(self, skeleton: Skeleton, text_features: str, speech_features: str):
        self.skeleton = skeleton
        self.text = featurizer(text_features, "text")
        self.speech = featurizer(speech_features, "speech")

    def __call__(self, table: pa.Table) -> Batch:
        """Rows of a shard as a batch, decoded straight from the Arrow buffers."""
        joints, dims = self.skeleton.n_joints, self.skeleton.dims
        poses = _column(table, "poses", "n_frames", np.float16, (joints, dims))
        confidence = _column(table, "confidence", "n_frames", np.uint8, (joints,))
        texts = _column(table, "text_features", "n_text", feature_dtype(self.text), _shape(self.text))
        speeches = _column(table, "speech_features", "n_speech", feature_dtype(self.speech), _shape(self.speech))
        return self._batch(poses, confidence, texts, speeches)

    def batch(self, poses: Sequence[Poses | None], texts: Sequence[np.ndarray | None], speeches: Sequence[np.ndarray | None]) -> Batch:
        """Normalised poses and features of the same clips; None where a modality is absent."""
        joints = [None if clip is None else clip.joints for clip in poses]
        confidence = [None if clip is None else clip.confidence for clip in poses]
        return self._batch(joints, confidence, texts, speeches)

    def _batch(self, poses, confidence, texts, speeches) -> Batch:
        joints, dims = self.skeleton.n_joints, self.skeleton.dims
        padded, n_frames = _pad(poses, (joints, dims), FRAME_MULTIPLE)
        seen, _ = _pad(confidence, (joints,), FRAME_MULTIPLE)
        text, n_text = _pad(texts, _shape(self.text), TEXT_MULTIPLE)
        speech, n_speech = _pad(speeches, _shape(self.speech), SPEECH_MULTIPLE)
        return Batch(padded, seen > 0, n_frames, _ids(text, self.text), n_text, _ids(speech, self.speech), n_speech)


def _shape(featurizer: Featurizer) -> tuple[int, ...]:
    return (featurizer.dim,) if featurizer.dim else ()


def _ids(features: torch.Tensor, featurizer: Featurizer) -> torch.Tensor:
    return features.long() if featurizer.vocabulary else features


def _column(table: pa.Table, name: str, count: str, dtype, shape: tuple[int, ...]) -> list[np.ndarray | None]:
    """Arrays of a binary column, without a copy; None where it is null."""
    values = zip(table[name], table[count].to_numpy(), strict=True)
    return [np.frombuffer(value.as_buffer(), dtype).reshape(n, *shape) if value.is_valid else None for value, n in values]


def _pad(arrays: Sequence[np.ndarray | None], shape: tuple[int, ...], multiple: int) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 ``(batch, longest, *shape)``, the longest rounded up to the multiple, and lengths ``(batch,)``."""
    lengths = [0 if array is None else len(array) for array in arrays]
    padded = np.zeros((len(arrays), -(-max(1, *lengths, 1) // multiple) * multiple, *shape), np.float32)
    for row, array, n in zip(padded, arrays, lengths, strict=True):
        if n:
            row[:n] = array
    return torch.from_numpy(padded), torch.tensor(lengths)
