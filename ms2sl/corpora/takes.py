"""Isolated signs with several recordings (takes) of each, as MediaPipe's landmarks.

A folder ``<sign>/<take>/<frame>.npy`` or ``<sign>/<take>.npy``, as the common webcam tutorial makes it, with or without a folder of the
signer above; or one Parquet file with a row a take: ``gloss``, ``joints`` (float16 bytes of ``(n_frames, 75, 3)``: 33 of the body, 21 of
each hand), ``n_frames`` and any of ``confidence`` (uint8 bytes ``(n_frames, 75)``; 255 is 1), ``id``, ``signer``, ``fps``,
``signed_language``, ``text``.
"""

import io
import zipfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from ms2sl.corpora.frame_files import frame_places
from ms2sl.corpora.isolated import IsolatedConfig, IsolatedSigns, as_gloss, as_text
from ms2sl.corpora.records import Record, source
from ms2sl.data.mediapipe_landmarks import FACE, LEFT_HAND, POSE, RIGHT_HAND
from ms2sl.data.types import RawPoses
from ms2sl.errors import InputError
from ms2sl.io.file_names import file_kind
from ms2sl.io.storage import StoragePath
from ms2sl.io.tables import read_table

HANDS = (*LEFT_HAND, *RIGHT_HAND)
# Values of a frame: whether the body's visibility is in it, and its joints.
WIDTHS = {
    1662: (True, (*POSE, *FACE, *HANDS)),
    1629: (False, (*POSE, *FACE, *HANDS)),
    258: (True, (*POSE, *HANDS)),
    225: (False, (*POSE, *HANDS)),
    126: (False, HANDS),
}
TABLE = (*POSE, *HANDS)
COLUMNS = {name: (name,) for name in ("id", "gloss", "signer", "fps", "signed_language", "text", "n_frames")}


class TakesConfig(IsolatedConfig):
    """Where the takes are. Landmarks are fractions of the picture."""

    table: str = Field("", description="a Parquet file of takes below the source, instead of a tree of .npy files")
    spoken_language: str = Field("und", description="BCP 47 tag of the names of signs, where the table has no text of its own")
    signed_language: str = Field("und", description="ISO 639-3 code, where the table has none")
    signer: str = Field("", description="who signs, where neither a folder nor the table says it")


@dataclass(frozen=True)
class _Frames:
    """Files of a take in the tree: one of all frames, or one each."""

    folder: StoragePath
    names: tuple[str, ...]

    def stamp(self) -> str:
        return "".join((self.folder / name).stamp() for name in self.names) if len(self.names) == 1 else self.folder.stamp()


class Takes(IsolatedSigns):
    """Clips are takes; their gloss is the sign and their text its name."""

    name, Config = "takes", TakesConfig
    usual_fps = 15.0  # what detecting leaves of a webcam's 30

    def __init__(self, config: TakesConfig):
        super().__init__(config)
        self.spoken_language, self.signed_language = config.spoken_language, config.signed_language

    def recordings(self) -> list[Record]:
        folder = source(self.config, self.name)
        return self._table_records() if self.config.table else self._tree_records(folder)

    def _tree_records(self, folder: StoragePath) -> list[Record]:
        frames: dict[tuple[str, ...], list[str]] = defaultdict(list)
        takes: list[tuple[tuple[str, ...], _Frames]] = []
        for file in folder.files():
            parts = file.split("/")
            if file.lower().endswith(".npy"):
                frames[tuple(parts[:-1])].append(parts[-1])
        deep = next((above for above in frames if len(above) > 1), None)
        whole = deep is not None and self._is_take(folder, deep, frames[deep])
        for above, names in frames.items():
            where = folder / "/".join(above) if above else folder
            if len(above) < 2 or whole:
                takes.extend(((*above, name[: -len(".npy")]), _Frames(where, (name,))) for name in names)
            else:
                takes.append((above, _Frames(where, tuple(names))))
        return [self._tree_record(parts, found) for parts, found in takes]

    @staticmethod
    def _is_take(folder: StoragePath, above: tuple[str, ...], names: list[str]) -> bool:
        """Whether a file of this folder holds all frames of a take; those of the other folders then do too."""
        for name in names:
            try:
                array = _load((folder / "/".join(above) / name).read_bytes())
            except InputError:
                continue
            return array.ndim == 2 and len(array) != 1
        return False

    def _tree_record(self, parts: tuple[str, ...], found: _Frames) -> Record:
        if len(parts) < 2:
            return Record(parts[0], "train", problem=f"{parts[0]}.npy is in no folder of a sign: takes are <sign>/<take>/<frame>.npy")
        sign, take, signer = parts[-2], parts[-1], parts[-3] if len(parts) > 2 else self.config.signer
        name = "_".join(filter(None, (signer, as_gloss(sign), take)))
        return Record(
            name, self.split(name, signer), as_text(sign), as_gloss(sign), poses=found, signer=signer or None, path="/".join(parts)
        )

    @cached_property
    def _file(self) -> StoragePath:
        return source(self.config, self.name).resolve(self.config.table)

    def _table_records(self) -> list[Record]:
        rows = list(read_table(self._file, COLUMNS, required=("gloss", "n_frames"), whole=("gloss",)))
        return [self._table_record(number, row) for number, (_, row) in enumerate(rows)]

    def _table_record(self, number: int, row: dict[str, str]) -> Record:
        sign, signer, told = row["gloss"], row.get("signer") or self.config.signer, row.get("fps", "")
        fps = float(told) if told.replace(".", "", 1).isdecimal() else 0.0
        name = row.get("id") or f"{as_gloss(sign)}-{number:05d}"
        return Record(
            name,
            self.split(name, signer),
            row.get("text") or as_text(sign),
            as_gloss(sign),
            poses=number,
            signer=signer or None,
            signed_language=row.get("signed_language"),
            fps=fps or None,
            problem=f"its fps is '{told}', which is no number above 0" if told and not fps else None,
        )

    def stamp(self, record: Record) -> str:
        if self.config.table:
            return f"{record.poses} {self.stamps.of(self._file)}"
        return record.poses.stamp() if record.poses is not None else ""

    def read(self, record: Record) -> RawPoses:
        if self.config.table:
            return self.poses(*self._row(record.poses), TABLE, record.fps)
        values, confidence, joints = _frames(record.poses)
        return self.poses(values, confidence, joints)

    def _row(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks and confidence of a row; its row group stays in memory until one of another is asked for."""
        kept = self.__dict__.get("_kept")
        if kept is None or not kept[0] <= number < kept[0] + len(kept[1]):
            kept = self.__dict__["_kept"] = _row_group(self._file, number)
        row = kept[1].slice(number - kept[0], 1).to_pylist()[0]
        frames, encoded = int(row["n_frames"] or 0), row["joints"]
        if not frames or encoded is None or len(encoded) != frames * len(TABLE) * 3 * 2:
            raise InputError(f"its joints are {len(encoded or b'')} bytes, not float16 of ({frames}, {len(TABLE)}, 3)")
        values = np.frombuffer(encoded, np.float16).reshape(frames, len(TABLE), 3).astype(np.float32)
        sure = row.get("confidence")
        if sure is not None and len(sure) != frames * len(TABLE):
            raise InputError(f"its confidence is {len(sure)} bytes, not uint8 of ({frames}, {len(TABLE)})")
        confidence = np.ones(values.shape[:2], np.float32) if sure is None else np.frombuffer(sure, np.uint8).reshape(frames, -1) / 255
        return values, confidence.astype(np.float32)

    def ignored(self) -> dict[str, int]:
        files = source(self.config, self.name).files(junk=True)
        if self.config.table:
            return dict(Counter(file_kind(file) for file in files if file.split("/")[-1] != self._file.name))
        return dict(Counter(kind for kind in map(file_kind, files) if kind != ".npy"))

    def __getstate__(self) -> dict:
        return {key: value for key, value in self.__dict__.items() if key != "_kept"}


def _row_group(where: StoragePath, number: int) -> tuple[int, pa.Table]:
    """The rows that are stored together with one, and the number of the first of them."""
    try:
        with where.open() as opened:
            file, first = pq.ParquetFile(opened), 0
            names = [name for name in ("n_frames", "joints", "confidence") if name in file.schema_arrow.names]
            _check_types(where, file.schema_arrow)
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if number < first + rows:
                    return first, file.read_row_group(group, columns=names)
                first += rows
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{where} cannot be read: {str(error).splitlines()[0]}") from None
    raise InputError(f"{where} has no row {number}")


def _check_types(where: StoragePath, schema: pa.Schema) -> None:
    """Raises InputError if a column of the table is not what it must be."""
    number = (pa.types.is_integer, pa.types.is_floating)
    binary = (pa.types.is_binary, pa.types.is_large_binary)
    for name, kinds in (("n_frames", number), ("joints", binary), ("confidence", binary)):
        if name not in schema.names:
            if name == "confidence":
                continue
            raise InputError(f"{where.name} has no column {name}")
        if not any(kind(schema.field(name).type) for kind in kinds):
            raise InputError(
                f"{where.name}: its column {name} is of type {schema.field(name).type}, not {'bytes' if kinds is binary else 'numbers'}"
            )


def _load(encoded: bytes) -> np.ndarray:
    try:
        array = np.load(io.BytesIO(encoded), allow_pickle=False)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"it is cut short or no .npy file of numbers ({str(error).splitlines()[0]})") from None
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.number):
        raise InputError("it is no .npy file of numbers")
    return array


def _frames(take: _Frames) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Landmarks ``(frames, joints, 3)``, their confidence and names."""
    arrays = [_load((take.folder / name).read_bytes()) for name in take.names]
    if not all(array.size for array in arrays):
        raise InputError("it has no frames, or one that is empty")
    if len(arrays) == 1 and arrays[0].ndim == 2:
        values = arrays[0]
    else:
        places, _ = frame_places(take.names)
        odd = next((name for name, array in zip(take.names, arrays, strict=True) if array.size != arrays[0].size), None)
        if odd:
            raise InputError(f"{odd} has {arrays[take.names.index(odd)].size} values, {take.names[0]} has {arrays[0].size}")
        values = np.full((max(places) + 1, arrays[0].size), np.nan, np.float32)
        values[places] = [array.ravel() for array in arrays]
    if values.shape[1] not in WIDTHS:
        known = ", ".join(map(str, WIDTHS))
        raise InputError(f"a frame has {values.shape[1]} values of type {values.dtype}; those of MediaPipe are {known}")
    visibility, joints = WIDTHS[values.shape[1]]
    values = values.astype(np.float32)
    confidence = np.ones((len(values), len(joints)), np.float32)
    if visibility:
        body, rest = values[:, : 4 * len(POSE)].reshape(len(values), -1, 4), values[:, 4 * len(POSE) :].reshape(len(values), -1, 3)
        confidence[:, : len(POSE)] = body[..., 3]
        return np.concatenate([body[..., :3], rest], axis=1), confidence, joints
    return values.reshape(len(values), -1, 3), confidence, joints
