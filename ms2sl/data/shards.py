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
=================  =======================================================================

What is absent is null, and its count 0. ``origin`` and ``unit`` take poses back to the picture of ``width`` × ``height`` that they
come from (see ``Placement``); ``source_fps`` is how they were recorded, ``remarks`` what was mended. The file's metadata hold, under
``ms2sl``, a ``ShardHeader``.
"""

from collections.abc import Sequence
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
from ms2sl.features.base import Features, Featurizer
from ms2sl.io.storage import StoragePath

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("spoken_language", pa.string()),
        ("signed_language", pa.string()),
        ("text", pa.string()),
        ("gloss", pa.string()),
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
TEXTS = ("id", "split", "spoken_language", "signed_language", "text", "gloss")
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


def encode_confidence(poses: Poses) -> bytes:
    return np.round(poses.confidence * 255).astype(np.uint8).tobytes()


def decode_poses(row: dict, skeleton: Skeleton) -> Poses:
    """Normalised poses of a row."""
    confidence = np.frombuffer(row["confidence"], np.uint8).reshape(row["n_frames"], skeleton.n_joints)
    joints = decode_joints(row["poses"], (skeleton.n_joints, skeleton.dims))
    return Poses(joints, confidence.astype(np.float32) / 255, row["fps"])


def add_features(rows: list[dict], column: str, inputs: list, featurizer: Featurizer) -> list[Rejection]:
    """Fills ``column`` (text or speech) of the rows whose input is not None; returns those that could not be featurized."""
    given = [(row, value) for row, value in zip(rows, inputs, strict=True) if value is not None]
    rejected = []
    try:
        made = featurizer([value for _, value in given])
    except InputError:  # one by one, to find which
        made = []
        for row, value in given:
            try:
                made += featurizer([value])
            except InputError as error:
                made.append(None)
                rejected.append(Rejection(id=row["id"], reason=str(error)))
    for (row, _), features in zip(given, made, strict=True):
        if features is not None:
            row |= {f"n_{column}": len(features), f"{column}_features": features.astype(featurizer.features.dtype).tobytes()}
    return rejected


def write_shard(where: StoragePath | Path, rows: Sequence[dict], header: ShardHeader) -> None:
    """Writes a shard whole or not at all: an interrupted write leaves no file of that name. The header gets the sums of its poses."""
    poses = (decode_poses(row, header.skeleton) for row in rows if row["poses"])
    header = header.model_copy(update={"sums": PoseSums.of(poses, header.skeleton)})
    table = pa.Table.from_pylist(list(rows), schema=SCHEMA.with_metadata({METADATA_KEY: header.model_dump_json()}))
    write_parquet(where, table, COMPRESSION)


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
    metadata = open_shard(where).schema_arrow.metadata or {}
    if METADATA_KEY not in metadata:
        raise InputError(f"{where} is Parquet, but no shard of ms2sl: prepare the data with jobs.prepare")
    try:
        return ShardHeader.model_validate_json(metadata[METADATA_KEY])
    except ValidationError as error:
        raise InputError(
            f"{where} has a header that this version does not read ({error.error_count()} problems): prepare the data again"
        ) from None


def read_shard(where: StoragePath | Path, columns: list[str] | None = None) -> pa.Table:
    """All rows of a shard, whose binary columns are ``large_binary`` even where the file says ``binary``.

    Raises InputError if it is missing or damaged.
    """
    file = open_shard(where)
    try:
        table = file.read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"shard {where} is damaged ({error}): delete it and prepare the data again") from None
    wide = [field.with_type(pa.large_binary()) if pa.types.is_binary(field.type) else field for field in table.schema]
    return table.cast(pa.schema(wide, table.schema.metadata))
