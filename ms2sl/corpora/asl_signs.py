"""Kaggle's ``asl-signs`` (Google and the Deaf Professional Arts Network, 2023; CC BY 4.0): 250 isolated signs by 21 signers.

``train.csv`` has path, participant_id, sequence_id and sign; each path is a Parquet file with a row for each landmark of each frame:
frame, type (face, left_hand, pose, right_hand), landmark_index, x, y, z, of MediaPipe Holistic, as fractions of the picture.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from ms2sl.corpora.isolated import IsolatedConfig, IsolatedSigns, as_gloss
from ms2sl.corpora.records import Record, source
from ms2sl.data.mediapipe_landmarks import FACE, LEFT_HAND, POSE, RIGHT_HAND
from ms2sl.data.types import RawPoses
from ms2sl.errors import InputError
from ms2sl.io.tables import read_table

COLUMNS = {"path": ("path",), "signer": ("participant_id",), "id": ("sequence_id",), "sign": ("sign",)}
VALUES = ("frame", "type", "landmark_index", "x", "y", "z")
PARTS = {"face": FACE, "left_hand": LEFT_HAND, "pose": POSE, "right_hand": RIGHT_HAND}
JOINTS = tuple(joint for joints in PARTS.values() for joint in joints)
# As which it is read, whatever numbers the file has; a landmark that was not seen is null.
SCHEMA = pa.schema(
    [("frame", pa.int64()), ("type", pa.string()), ("landmark_index", pa.int64()), *((axis, pa.float32()) for axis in "xyz")]
)
MOST_FRAMES = 100_000
TERMS = "CC BY 4.0, Google and the Deaf Professional Arts Network"


class AslSignsConfig(IsolatedConfig):
    """Where the competition's files are."""

    table: str = Field("train.csv", description="the table of sequences, below the source")


class AslSigns(IsolatedSigns):
    """Clips are sequences."""

    name, Config = "asl_signs", AslSignsConfig
    spoken_language, signed_language = "en", "ase"
    usual_fps = 30.0

    def recordings(self) -> list[Record]:
        folder, records = source(self.config, self.name), []
        rows = read_table(folder.resolve(self.config.table), COLUMNS, required=tuple(COLUMNS), whole=tuple(COLUMNS))
        for place, row in rows:
            try:
                known: dict[str, Any] = {"poses": folder / row["path"]}
            except InputError as error:
                known = {"problem": f"{place}: {error}"}
            split = self.split(row["id"], row["signer"])
            records.append(Record(row["id"], split, row["sign"], as_gloss(row["sign"]), signer=row["signer"], path=row["path"], **known))
        return records

    def read(self, record: Record) -> RawPoses:
        try:
            with record.poses.open() as opened:
                file = pq.ParquetFile(opened)
                if lacking := [name for name in VALUES if name not in file.schema_arrow.names]:
                    raise InputError(f"{record.poses.name} has no column {lacking[0]}")
                table = file.read(columns=list(VALUES)).select(VALUES).cast(SCHEMA)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{record.poses.name} is no Parquet file of landmarks: {str(error).splitlines()[0]}") from None
        if lacking := [name for name in VALUES[:3] if table.column(name).null_count]:
            raise InputError(f"{record.poses.name} has a row without {lacking[0]}")
        if not table.num_rows:
            raise InputError(f"{record.poses.name} has no rows")
        frames, parts, index, *xyz = (table.column(name).to_numpy() for name in VALUES)
        kinds, kind = np.unique(parts.astype(str), return_inverse=True)
        if odd := next((part for part in kinds if part not in PARTS), None):
            raise InputError(f"{record.poses.name} has landmarks of type '{odd}'; there are: {', '.join(PARTS)}")
        joints = np.array([JOINTS.index(PARTS[part][0]) for part in kinds])[kind] + index
        sizes = np.array([len(PARTS[part]) for part in kinds])[kind]
        if (index < 0).any() or (index >= sizes).any():
            wrong = int(np.flatnonzero((index < 0) | (index >= sizes))[0])
            raise InputError(f"{record.poses.name} has a landmark {parts[wrong]} {index[wrong]}, of which there are {sizes[wrong]}")
        places = frames - frames.min()
        if places.max() >= MOST_FRAMES:
            raise InputError(f"its frames are numbered from {frames.min()} to {frames.max()}, which is no clip")
        values = np.full((int(places.max()) + 1, len(JOINTS), 3), np.nan, np.float32)
        values[places, joints] = np.stack(xyz, axis=1)
        return self.poses(values, np.ones(values.shape[:2], np.float32), JOINTS)

    def card(self) -> dict:
        return super().card() | {"terms": TERMS}
