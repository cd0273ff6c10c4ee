"""Kaggle's ``asl-fingerspelling`` (Google and the Deaf Professional Arts Network, 2023; CC BY 4.0): phrases, addresses and telephone
numbers, three million letters by more than 100 Deaf signers.

``train.csv`` and ``supplemental_metadata.csv`` have path, file_id, sequence_id, participant_id and phrase; each path is a Parquet file of
many sequences, with a row a frame: sequence_id, frame, and x_face_0 … z_right_hand_20, of MediaPipe Holistic, as fractions of the picture.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from ms2sl.corpora.asl_signs import TERMS
from ms2sl.corpora.isolated import IsolatedConfig, IsolatedSigns
from ms2sl.corpora.records import Record, source
from ms2sl.data.mediapipe_landmarks import BODY, LEFT_HAND
from ms2sl.data.types import RawPoses
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath
from ms2sl.io.tables import read_table

COLUMNS = {"path": ("path",), "signer": ("participant_id",), "id": ("sequence_id",), "phrase": ("phrase",)}
SEQUENCE = ("sequence_id", "__index_level_0__")  # pandas writes an index without a name as the latter
AXES = ("x", "y", "z")
HAND = tuple(joint.partition("/")[2] for joint in LEFT_HAND)


class AslFingerspellingConfig(IsolatedConfig):
    """Where the competition's files are."""

    tables: str = Field("train.csv", description="tables of sequences below the source, with commas between them")


class AslFingerspelling(IsolatedSigns):
    """Clips are sequences; their gloss is the letters of the phrase."""

    name, Config = "asl_fingerspelling", AslFingerspellingConfig
    spoken_language, signed_language = "en", "ase"
    usual_fps = 30.0

    def recordings(self) -> list[Record]:
        folder, records = source(self.config, self.name), []
        for table in filter(None, map(str.strip, self.config.tables.split(","))):
            for place, row in read_table(folder.resolve(table), COLUMNS, required=tuple(COLUMNS), whole=("path", "signer", "id")):
                try:
                    known: dict[str, Any] = {"poses": (folder / row["path"], row["id"])}
                except InputError as error:
                    known = {"problem": f"{place}: {error}"}
                phrase = row.get("phrase")
                gloss = " ".join(phrase.replace(" ", "")) if phrase else None
                split = self.split(row["id"], row["signer"])
                records.append(Record(row["id"], split, phrase, gloss, signer=row["signer"], path=row["path"], **known))
        return records

    def stamp(self, record: Record) -> str:
        if record.poses is None:
            return ""
        where = record.poses[0]
        return f"{where.name} {self.stamps.of(where)}"

    def read(self, record: Record) -> RawPoses:
        where, sequence = record.poses
        kept = self.__dict__.get("_kept")
        if kept is None or kept[0] != where:
            kept = self.__dict__["_kept"] = (where, _Sequences(where, self.skeleton.joints, self.skeleton.dims))
        values = kept[1].of(sequence)
        return self.poses(values, np.ones(values.shape[:2], np.float32), self.skeleton.joints)

    def card(self) -> dict:
        return super().card() | {"terms": TERMS}

    def __getstate__(self) -> dict:
        return {key: value for key, value in self.__dict__.items() if key != "_kept"}


class _Sequences:
    """The landmarks of one file, of the joints of a skeleton alone: a file has about a thousand sequences and 1,629 columns."""

    def __init__(self, where: StoragePath, joints: tuple[str, ...], dims: int):
        self.where = where
        names = [[f"{axis}_{_landmark(joint)}" for axis in AXES[:dims]] for joint in joints]
        try:
            with where.open() as opened:
                file = pq.ParquetFile(opened)
                there = set(file.schema_arrow.names)
                key = next((name for name in SEQUENCE if name in there), None)
                lacking = [name for axes in names for name in axes if name not in there]
                if lacking or key is None:
                    raise InputError(f"{where.name} has no column {lacking[0] if lacking else SEQUENCE[0]}")
                table = file.read(columns=[key, *(name for axes in names for name in axes)])
            axes = [[table.column(each[i]).cast(pa.float32()).to_numpy() for each in names] for i in range(dims)]
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{where.name} is no Parquet file of landmarks: {str(error).splitlines()[0]}") from None
        self.sequences = np.array([str(value) for value in table.column(key).to_pylist()])
        self.values = np.stack([np.stack(each, axis=1) for each in axes], axis=2)

    def of(self, sequence: str) -> np.ndarray:
        """``(frames, joints, dims)``; NaN is unseen. Raises InputError if it is not in the file."""
        frames = np.flatnonzero(self.sequences == sequence)
        if not len(frames):
            raise InputError(f"{self.where.name} has no sequence {sequence}")
        return self.values[frames]


def _landmark(joint: str) -> str:
    """The competition's name of a joint: ``pose_11`` of ``body/LEFT_SHOULDER``, ``left_hand_0`` of ``left_hand/WRIST``."""
    part, name = joint.split("/")
    if part == "face":
        return f"face_{name}"
    if part == "body":
        return f"pose_{BODY.index(name)}"
    return f"{part}_{HAND.index(name)}"
