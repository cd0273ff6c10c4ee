"""Clips of different lengths as one padded batch of fields: poses, text, speech and whatever else a system learns from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import torch

from ms2sl.data.shards import decode_joints_padded
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Poses
from ms2sl.features.base import Features

# A few fixed sizes, since each new shape makes the kernels set up anew.
FRAME_MULTIPLE, TEXT_MULTIPLE, SPEECH_MULTIPLE = 4, 4, 40
FEATURE_MULTIPLES = {"text": TEXT_MULTIPLE, "speech": SPEECH_MULTIPLE}


@dataclass(slots=True, eq=False)
class BatchField:
    """One thing about each clip of a batch; rows that lack it have length 0.

    values ``(batch, longest, …)``: padded with zeros, to a multiple of ``multiple``. lengths: int64 ``(batch,)``.
    mask: bool, of the shape of values or of its first axes, where they are known; None if they are wherever there is length.
    """

    values: torch.Tensor
    lengths: torch.Tensor
    mask: torch.Tensor | None = None
    multiple: int = 1

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "BatchField":
        """With each of its tensors changed."""
        values, lengths, mask = (each if each is None else change(each) for each in self._tensors())
        return BatchField(values, lengths, mask, self.multiple)

    def rows(self, start: int, stop: int) -> "BatchField":
        """Some of its rows, padded no further than the longest of them."""
        values, lengths, mask = (each if each is None else each[start:stop] for each in self._tensors())
        longest = padded_length(int(lengths.max()), self.multiple)
        return BatchField(values[:, :longest], lengths, None if mask is None else mask[:, :longest], self.multiple)

    def _tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        return self.values, self.lengths, self.mask


class Batch(Mapping[str, BatchField]):
    """Fields of the same clips, by name. ``len`` is the number of clips.

    Those that most systems want have short names: ``poses``, float32 ``(batch, frames, joints, dims)``, ``seen``, bool ``(batch, frames,
    joints)``, and ``n_frames``; ``text`` and ``n_text``, ``speech`` and ``n_speech``: ids ``(batch, tokens)`` or float32 ``(batch, tokens,
    dim)``, and how many.
    """

    def __init__(self, fields: Mapping[str, BatchField]):
        self.fields = dict(fields)

    def __getitem__(self, name: str) -> BatchField:
        return self.fields[name]

    def __iter__(self):
        return iter(self.fields)

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())).lengths)

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    @property
    def poses(self) -> torch.Tensor:
        return self.fields["poses"].values

    @property
    def seen(self) -> torch.Tensor:
        return self.fields["poses"].mask

    @property
    def n_frames(self) -> torch.Tensor:
        return self.fields["poses"].lengths

    @property
    def text(self) -> torch.Tensor:
        return self.fields["text"].values

    @property
    def n_text(self) -> torch.Tensor:
        return self.fields["text"].lengths

    @property
    def speech(self) -> torch.Tensor:
        return self.fields["speech"].values

    @property
    def n_speech(self) -> torch.Tensor:
        return self.fields["speech"].lengths

    def having(self, **fields: BatchField) -> "Batch":
        """With further fields, or others in the place of its own."""
        return Batch(self.fields | fields)

    def to(self, device: torch.device) -> "Batch":
        """On a device, to which pinned memory is copied while the CPU goes on."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """In memory from which a GPU copies while others compute."""
        return self._map(torch.Tensor.pin_memory)

    def absent(self) -> "Batch":
        """Its first clip without anything in it, which no loss counts."""
        return self.rows(0, 1)._map(torch.zeros_like)

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        return Batch({name: field.map(change) for name, field in self.fields.items()})

    def split(self, max_frames: int) -> list["Batch"]:
        """Parts of neighbouring clips of at most ``max_frames`` padded frames (clips x the longest of them) each, or of a single clip."""
        if self.poses.shape[0] * self.poses.shape[1] <= max_frames:
            return [self]
        starts, longest = [0], 0
        for row, frames in enumerate(self.n_frames.tolist()):
            longest = max(longest, padded_length(frames, self["poses"].multiple))
            if row > starts[-1] and (row + 1 - starts[-1]) * longest > max_frames:
                starts.append(row)
                longest = padded_length(frames, self["poses"].multiple)
        return [self.rows(start, stop) for start, stop in pairwise([*starts, len(self)])]

    def rows(self, start: int, stop: int) -> "Batch":
        """Some of its clips, padded no further than the longest of them."""
        return Batch({name: field.rows(start, stop) for name, field in self.fields.items()})


@dataclass(frozen=True)
class FieldSpec:
    """How a field is made. columns: of a shard, that it is made from; make: of a table with these columns (``ms2sl.data.shards``)."""

    name: str
    columns: tuple[str, ...]
    make: Callable[[pa.Table, "Collate"], BatchField]


class Collate:
    """Makes batches of poses of a skeleton and of such text and speech features.

    fields: what the batches hold; by default poses, text and speech.
    """

    def __init__(self, skeleton: Skeleton, text: Features, speech: Features, fields: Iterable[FieldSpec] | None = None):
        self.skeleton, self.text, self.speech = skeleton, text, speech
        self.fields = tuple(STANDARD if fields is None else fields)

    @property
    def columns(self) -> list[str]:
        """Of a shard, that its batches are made from; ``n_frames`` among them, by which clips of like length are put together."""
        return list(dict.fromkeys(["id", "n_frames", *(column for field in self.fields for column in field.columns)]))

    def __call__(self, table: pa.Table) -> Batch:
        """Rows of a shard as a batch, decoded straight from the Arrow buffers."""
        return Batch({field.name: field.make(table, self) for field in self.fields})

    def batch(self, poses: Sequence[Poses | None], texts: Sequence[np.ndarray | None], speeches: Sequence[np.ndarray | None]) -> Batch:
        """Normalised poses and features of the same clips; None where a modality is absent."""
        joints = [None if clip is None else clip.joints for clip in poses]
        confidence = [None if clip is None else clip.confidence for clip in poses]
        return Batch(
            {
                "poses": self.pose_field(joints, confidence),
                "text": self.feature_field("text", texts),
                "speech": self.feature_field("speech", speeches),
            }
        )

    def pose_field(self, joints: Sequence[np.ndarray | None], confidence: Sequence[np.ndarray | None]) -> BatchField:
        """The field of joints ``(frames, joints, dims)`` and their confidence ``(frames, joints)``."""
        field = padded(joints, (self.skeleton.n_joints, self.skeleton.dims), FRAME_MULTIPLE)
        field.mask = _confident(confidence, field.values.shape[1], self.skeleton.n_joints)
        return field

    def feature_field(self, modality: str, rows: Sequence[np.ndarray | None]) -> BatchField:
        """The field of features of text or of speech."""
        features: Features = getattr(self, modality)
        return padded(rows, features.shape, FEATURE_MULTIPLES[modality], ids=bool(features.vocabulary))


def _poses(table: pa.Table, collate: Collate) -> BatchField:
    shape = (collate.skeleton.n_joints, collate.skeleton.dims)
    encoded = [value.as_buffer() if value.is_valid else None for value in table["poses"]]
    lengths = [0 if clip is None else n for clip, n in zip(encoded, table["n_frames"].to_pylist(), strict=True)]
    longest = padded_length(max(lengths, default=0), FRAME_MULTIPLE)
    joints = torch.from_numpy(decode_joints_padded(encoded, shape, longest))
    confidence = arrays(table, "confidence", "n_frames", np.uint8, shape[:1])
    return BatchField(joints, torch.tensor(lengths), _confident(confidence, longest, shape[0]), FRAME_MULTIPLE)


def _features(modality: str) -> FieldSpec:
    column, count = f"{modality}_features", f"n_{modality}"

    def make(table: pa.Table, collate: Collate) -> BatchField:
        features: Features = getattr(collate, modality)
        return collate.feature_field(modality, arrays(table, column, count, features.dtype, features.shape))

    return FieldSpec(modality, (count, column), make)


POSES = FieldSpec("poses", ("n_frames", "poses", "confidence"), _poses)
TEXT, SPEECH = _features("text"), _features("speech")
STANDARD = (POSES, TEXT, SPEECH)


def padded_length(length: int, multiple: int) -> int:
    """The length up to which a field is padded: at least one, and a multiple."""
    return -(-max(1, length) // multiple) * multiple


def arrays(table: pa.Table, name: str, count: str, dtype, shape: tuple[int, ...]) -> list[np.ndarray | None]:
    """Arrays of a binary column, without a copy; None where it is null. count: the column of their lengths."""
    values = zip(table[name], table[count].to_numpy(), strict=True)
    return [np.frombuffer(value.as_buffer(), dtype).reshape(n, *shape) if value.is_valid else None for value, n in values]


def padded(rows: Sequence[np.ndarray | None], shape: tuple[int, ...] = (), multiple: int = 1, ids: bool = False) -> BatchField:
    """The field of arrays ``(length, *shape)``, None where a clip lacks it; int64 if they are ids, else float32."""
    lengths = [0 if array is None else len(array) for array in rows]
    longest = padded_length(max(lengths, default=0), multiple)
    return BatchField(_filled(rows, (longest, *shape), np.int64 if ids else np.float32), torch.tensor(lengths), multiple=multiple)


def _confident(rows: Sequence[np.ndarray | None], longest: int, joints: int) -> torch.Tensor:
    """Which joints are seen ``(clips, longest, joints)``, by their confidence.

    By numpy: a comparison by torch in a thread that prepares batches would start OpenMP threads of its own, and with more threads than
    cores OpenMP waits in a way that takes a third of the speed from training.
    """
    return _filled([None if array is None else array > 0 for array in rows], (longest, joints), np.bool_)


def _filled(rows: Sequence[np.ndarray | None], shape: tuple[int, ...], dtype: type) -> torch.Tensor:
    """Arrays ``(length, …)`` with zeros behind them, each of this shape."""
    values = np.zeros((len(rows), *shape), dtype)
    for row, array in zip(values, rows, strict=True):
        if array is not None:
            row[: len(array)] = array
    return torch.from_numpy(values)
