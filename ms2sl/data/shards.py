"""Shards: Parquet, one row a clip, readable by plain pyarrow, pandas or DuckDB.

Ragged arrays are flattened into binary columns (a ``list<float>`` column decodes 30–60 times slower). These are ``large_binary``,
since the offsets of ``binary`` end at 2 GiB, and some of pyarrow's functions fail on a column that holds more:

=================  =======================================================================
column             content
=================  =======================================================================
poses              int16, ``(n_frames, joints, dims)``: differences in time of 1/1024 shoulder widths (see ``encode_poses``)
confidence         uint8, ``(n_frames, joints)``: confidence × 255, 0 is unseen
speech             16 kHz FLAC
text_features      as the text featurizer has them, ``(n_text, dim)`` or ids ``(n_text,)``
speech_features    as the speech featurizer has them, ``(n_speech, dim)``
gloss_times        seconds, ``(signs, 2)`` flattened: where each word of ``gloss`` begins and ends
=================  =======================================================================

What is absent is null, and its count 0. ``origin`` and ``unit`` take poses back to the picture of ``width`` × ``height`` that they
come from (see ``Placement``); ``source_fps`` is how they were recorded, ``remarks`` what was mended. The file's metadata hold, under
``ms2sl``, a ``ShardHeader``. A column that a shard of an earlier version lacks reads as null.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from ms2sl.audio.speech import Speech
from ms2sl.config import Config
from ms2sl.data.pose_statistics import PoseSums
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Clip, Placement, Poses
from ms2sl.errors import InputError
from ms2sl.features.base import Features
from ms2sl.io.storage import StoragePath

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("spoken_language", pa.string()),
        ("signed_language", pa.string()),
        ("text", pa.string()),
        ("gloss", pa.string()),
        ("gloss_times", pa.list_(pa.float32())),
        ("signer", pa.string()),
        ("speech", pa.large_binary()),
        ("speech_source", pa.string()),
        ("fps", pa.float32()),
        ("source_fps", pa.float32()),
        ("origin", pa.list_(pa.float32())),
        ("unit", pa.float32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("n_frames", pa.int32()),
        ("poses", pa.large_binary()),
        ("confidence", pa.large_binary()),
        ("n_text", pa.int32()),
        ("text_features", pa.large_binary()),
        ("n_speech", pa.int32()),
        ("speech_features", pa.large_binary()),
        ("remarks", pa.string()),
    ]
)
TEXTS = ("id", "split", "spoken_language", "signed_language", "text", "gloss", "signer")
METADATA_KEY = b"ms2sl"
STEPS = 1024  # of a shoulder width
# Features and FLAC hardly become smaller, and reading them back would cost twenty times as long.
COMPRESSION = {name: "none" if name in ("speech", "speech_features", "text_features") else "zstd" for name in SCHEMA.names}


class Rejection(Config):
    """A clip that could not be used, and why."""

    id: str
    reason: str


class ShardHeader(Config):
    """What a shard says of itself. A shard of another recipe is never taken for this one.

    fingerprint: hash of all that decides its content; sums: of its poses, for the statistics of the dataset.
    """

    fingerprint: str
    skeleton: Skeleton
    text: Features
    speech: Features
    rejected: tuple[Rejection, ...] = ()
    sums: PoseSums | None = None


def to_row(clip: Clip) -> dict:
    """The row of a clip whose poses are normalised, without features."""
    row = dict.fromkeys(SCHEMA.names) | {"n_frames": 0, "n_text": 0, "n_speech": 0, "fps": 0.0, "source_fps": 0.0}
    row |= {name: getattr(clip, name) for name in (*TEXTS, "speech_source")}
    row["remarks"] = "; ".join(clip.remarks) or None
    if clip.gloss_times is not None:
        row["gloss_times"] = clip.gloss_times.ravel().tolist()
    if clip.speech is not None:
        row["speech"] = clip.speech.to_flac()
    if clip.poses is not None:
        row |= {
            "fps": clip.poses.fps,
            "source_fps": clip.source_fps or clip.poses.fps,
            "n_frames": clip.poses.n_frames,
            "poses": encode_poses(clip.poses),
            "confidence": encode_confidence(clip.poses),
        }
    if clip.placement is not None:
        row |= {name: getattr(clip.placement, name) for name in ("origin", "unit", "width", "height")}
    return row


def to_clip(row: dict, skeleton: Skeleton) -> Clip:
    """The inverse of ``to_row``."""
    placement = Placement(tuple(row["origin"]), row["unit"], row["width"], row["height"]) if row["origin"] else None
    return Clip(
        **{name: row[name] for name in (*TEXTS, "speech_source")},
        gloss_times=None if row["gloss_times"] is None else np.array(row["gloss_times"], np.float32).reshape(-1, 2),
        speech=Speech.decode(row["speech"], f"speech of {row['id']}") if row["speech"] else None,
        poses=decode_poses(row, skeleton) if row["poses"] else None,
        source_fps=row["source_fps"] or None,
        placement=placement,
        remarks=tuple(row["remarks"].split("; ")) if row["remarks"] else (),
    )


def encode_poses(poses: Poses) -> bytes:
    """Each coordinate to the nearest 1/1024 of a shoulder width (0.1 pixels where shoulders are 200 apart), as int16, each frame
    less the one before it: real motion is smooth, so zstd makes half of float16 of it."""
    steps = np.round(poses.joints.astype(np.float32) * STEPS).astype(np.int16)
    return np.diff(steps, axis=0, prepend=np.zeros_like(steps[:1])).tobytes()


def decode_joints(encoded: bytes | pa.Buffer, shape: tuple[int, int]) -> np.ndarray:
    """Inverse of ``encode_poses``: float32 ``(frames, joints, dims)``, with ``shape`` the last two."""
    steps = np.frombuffer(encoded, np.int16).reshape(-1, *shape)
    return np.multiply(np.cumsum(steps, axis=0, dtype=np.int16), np.float32(1 / STEPS), dtype=np.float32)


def decode_joints_padded(encoded: Sequence[pa.Buffer | None], shape: tuple[int, int], longest: int) -> np.ndarray:
    """``decode_joints`` of clips of at most ``longest`` frames at once: float32 ``(clips, longest, joints, dims)``, with zeros behind each
    clip, and where there is none."""
    steps = [np.frombuffer(clip or b"", np.int16).reshape(-1, shape[0] * shape[1]) for clip in encoded]
    summed = np.zeros((longest, len(steps), shape[0] * shape[1]), np.int16)
    for i, clip in enumerate(steps):
        summed[: len(clip), i] = clip
    for before, frame in pairwise(summed):  # rows of many numbers, where cumsum goes down one column after another
        np.add(before, frame, out=frame)
    joints = np.zeros((len(steps), longest, *shape), np.float32)
    for i, clip in enumerate(steps):
        np.multiply(summed[: len(clip), i], np.float32(1 / STEPS), out=joints[i, : len(clip)].reshape(clip.shape), dtype=np.float32)
    return joints


def encode_confidence(poses: Poses) -> bytes:
    return np.round(poses.confidence * 255).astype(np.uint8).tobytes()


def decode_poses(row: dict, skeleton: Skeleton) -> Poses:
    """Normalised poses of a row."""
    confidence = np.frombuffer(row["confidence"], np.uint8).reshape(row["n_frames"], skeleton.n_joints)
    joints = decode_joints(row["poses"], (skeleton.n_joints, skeleton.dims))
    return Poses(joints, confidence.astype(np.float32) / 255, row["fps"])


def with_column(table: pa.Table, name: str, values: list) -> pa.Table:
    """With other values in a column, of the type that it has."""
    field = table.schema.field(name)
    return table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))


def rows_table(rows: Sequence[dict]) -> pa.Table:
    """Rows as ``to_row`` makes them."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def write_shard(where: StoragePath | Path, table: pa.Table, header: ShardHeader) -> None:
    """Writes a shard whole or not at all: an interrupted write leaves no file of that name. The header gets the sums of its poses.

    table: of the columns of ``SCHEMA``.
    """
    header = header.model_copy(update={"sums": PoseSums.of(_poses(table, header.skeleton), header.skeleton)})
    write_parquet(where, table.replace_schema_metadata({METADATA_KEY: header.model_dump_json()}), COMPRESSION)


def _poses(table: pa.Table, skeleton: Skeleton) -> Iterator[Poses]:
    names = ("n_frames", "poses", "confidence", "fps")
    for n_frames, poses, confidence, fps in zip(*(table[name] for name in names), strict=True):
        if poses.is_valid:
            row = {"n_frames": n_frames.as_py(), "poses": poses.as_buffer(), "confidence": confidence.as_buffer(), "fps": fps.as_py()}
            yield decode_poses(row, skeleton)


def write_parquet(where: StoragePath | Path, table: pa.Table, compression: str | dict[str, str] = "zstd") -> None:
    """Writes the file whole or not at all. Raises InputError if the disk is full or the folder cannot be written."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression=compression, use_dictionary=False)
    StoragePath(where).write(sink.getvalue())


def open_shard(where: StoragePath | Path) -> pq.ParquetFile:
    """The Parquet file. Raises InputError if it is missing or was cut short."""
    if not StoragePath(where).exists():
        raise InputError(f"shard {where} is missing: prepare the data again")
    try:
        return pq.ParquetFile(StoragePath(where).open())
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"shard {where} is damaged ({error}): delete it and prepare the data again") from None


def read_header(where: StoragePath | Path) -> ShardHeader:
    """The header of a shard. Raises InputError if the file is no shard of this project."""
    return parse_header(where, open_shard(where).schema_arrow)


def parse_header(where: StoragePath | Path, schema: pa.Schema) -> ShardHeader:
    """Likewise, of a shard that is open or read."""
    metadata = schema.metadata or {}
    if METADATA_KEY not in metadata:
        raise InputError(f"{where} is Parquet, but no shard of ms2sl: prepare the data with jobs.prepare")
    try:
        return ShardHeader.model_validate_json(metadata[METADATA_KEY])
    except ValidationError as error:
        raise InputError(
            f"{where} has a header that this version does not read ({error.error_count()} problems): prepare the data again"
        ) from None


def read_shard(where: StoragePath | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a shard, with the columns of ``SCHEMA`` or those that are asked for, in the types that it has there.

    Raises InputError if it is missing or damaged, or for a column that shards do not have.
    """
    if unknown := set(columns or ()) - set(SCHEMA.names):
        raise InputError(f"shards have no column '{min(unknown)}'; they have: {', '.join(SCHEMA.names)}")
    file = open_shard(where)
    try:
        table = file.read(columns=columns and list(columns))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"shard {where} is damaged ({error}): delete it and prepare the data again") from None
    schema = pa.schema([SCHEMA.field(name) for name in columns or SCHEMA.names], table.schema.metadata)
    given = [table[field.name] if field.name in table.column_names else pa.nulls(len(table), field.type) for field in schema]
    return pa.table(given, schema.names).cast(schema)
