"""Shards: Parquet, one row a clip, readable by plain pyarrow, pandas or DuckDB.

Ragged arrays are flattened into binary columns (a ``list<float>`` column decodes 30–60 times slower):

=================  =======================================================================
column             content
=================  =======================================================================
poses              float16, ``(n_frames, joints, dims)``: shoulder widths, origin between the shoulders
confidence         uint8, ``(n_frames, joints)``: confidence × 255, 0 is unseen
speech             the recording as FLAC
text_features      as the text featurizer has them, ``(n_text, dim)`` or ids ``(n_text,)``
speech_features    as the speech featurizer has them, ``(n_speech, dim)``
=================  =======================================================================

What is absent is null, and its count 0. The file's metadata hold, under ``ms2sl``, a ``ShardHeader``.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from ms2sl.clip import Clip, Poses, Speech
from ms2sl.config import Config
from ms2sl.errors import InputError
from ms2sl.features.base import Featurizer, feature_dtype
from ms2sl.files import replacing
from ms2sl.skeleton import Skeleton

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("spoken_language", pa.string()),
        ("signed_language", pa.string()),
        ("text", pa.string()),
        ("gloss", pa.string()),
        ("speech", pa.binary()),
        ("fps", pa.float32()),
        ("n_frames", pa.int32()),
        ("poses", pa.binary()),
        ("confidence", pa.binary()),
        ("n_text", pa.int32()),
        ("text_features", pa.binary()),
        ("n_speech", pa.int32()),
        ("speech_features", pa.binary()),
    ]
)
METADATA_KEY = b"ms2sl"
# Features and FLAC hardly become smaller, and reading them back would cost twenty times as long.
COMPRESSION = {name: "none" if name in ("speech", "speech_features", "text_features") else "zstd" for name in SCHEMA.names}


class Rejection(Config):
    """A clip that could not be used, and why."""

    id: str
    reason: str


class ShardHeader(Config):
    """What a shard says of itself. A shard of another recipe is never taken for this one.

    fingerprint: hash of all that decides its content.
    """

    fingerprint: str
    skeleton: Skeleton
    text_features: str
    speech_features: str
    rejected: tuple[Rejection, ...] = ()


def to_row(clip: Clip, skeleton: Skeleton) -> dict:
    """The row of a clip, without features. Raises InputError if its poses are unfit."""
    row = dict.fromkeys(SCHEMA.names) | {"n_frames": 0, "n_text": 0, "n_speech": 0, "fps": 0.0}
    row |= {name: getattr(clip, name) for name in ("id", "split", "spoken_language", "signed_language", "text", "gloss")}
    if clip.speech is not None:
        row["speech"] = clip.speech.to_flac()
    if clip.poses is not None:
        skeleton.check(clip.poses)
        poses = skeleton.normalise(clip.poses)
        row |= {
            "fps": poses.fps,
            "n_frames": poses.n_frames,
            "poses": poses.joints.astype(np.float16).tobytes(),
            "confidence": np.round(poses.confidence * 255).astype(np.uint8).tobytes(),
        }
    return row


def to_clip(row: dict, skeleton: Skeleton) -> Clip:
    """The inverse of ``to_row``, with poses normalised."""
    return Clip(
        **{name: row[name] for name in ("id", "split", "spoken_language", "signed_language", "text", "gloss")},
        speech=Speech.decode(row["speech"], f"speech of {row['id']}") if row["speech"] else None,
        poses=decode_poses(row, skeleton) if row["poses"] else None,
    )


def decode_poses(row: dict, skeleton: Skeleton) -> Poses:
    """Normalised poses of a row."""
    joints = np.frombuffer(row["poses"], np.float16).reshape(row["n_frames"], skeleton.n_joints, skeleton.dims)
    confidence = np.frombuffer(row["confidence"], np.uint8).reshape(row["n_frames"], skeleton.n_joints)
    return Poses(joints.astype(np.float32), confidence.astype(np.float32) / 255, row["fps"])


def add_features(rows: list[dict], column: str, inputs: list, featurizer: Featurizer) -> list[Rejection]:
    """Fills ``column`` (text or speech) of the rows whose input is not None; returns those that could not be featurized."""
    rejected = []
    for row, value in zip(rows, inputs, strict=True):
        if value is None:
            continue
        try:
            features = featurizer([value])[0]
        except InputError as error:
            rejected.append(Rejection(id=row["id"], reason=str(error)))
            continue
        row[f"n_{column}"] = len(features)
        row[f"{column}_features"] = features.astype(feature_dtype(featurizer)).tobytes()
    return rejected


def write_shard(path: Path, rows: Iterable[dict], header: ShardHeader) -> None:
    """Writes a shard whole or not at all: an interrupted write leaves no file of that name."""
    table = pa.Table.from_pylist(list(rows), schema=SCHEMA.with_metadata({METADATA_KEY: header.model_dump_json()}))
    write_parquet(path, table, COMPRESSION)


def write_parquet(path: Path, table: pa.Table, compression: str | dict[str, str] = "zstd") -> None:
    """Writes the file whole or not at all. Raises InputError if the disk is full or the folder cannot be written."""
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression=compression, use_dictionary=False)


def open_shard(path: Path) -> pq.ParquetFile:
    """The Parquet file. Raises InputError if it is missing or was cut short."""
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise InputError(f"shard {path} is missing: prepare the data again") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"shard {path} is damaged ({error}): delete it and prepare the data again") from None


def read_header(path: Path) -> ShardHeader:
    """The header of a shard. Raises InputError if the file is no shard of this project."""
    metadata = open_shard(path).schema_arrow.metadata or {}
    if METADATA_KEY not in metadata:
        raise InputError(f"{path} is Parquet, but no shard of ms2sl: prepare the data with jobs.prepare")
    try:
        return ShardHeader.model_validate_json(metadata[METADATA_KEY])
    except ValidationError as error:
        raise InputError(
            f"{path} has a header that this version does not read ({error.error_count()} problems): prepare the data again"
        ) from None


def read_shard(path: Path, columns: list[str] | None = None) -> pa.Table:
    """All rows of a shard. Raises InputError if it is missing or damaged."""
    file = open_shard(path)
    try:
        return file.read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"shard {path} is damaged ({error}): delete it and prepare the data again") from None
