"""Any collection of ``.pose`` files, with a table of what is known of them, or with none: unlabelled signing is a corpus too.

The table is CSV, TSV, JSON lines or Parquet with the columns ``id``, ``pose``, ``speech`` (files below the source), ``text``, ``gloss``
(names of signs between spaces), ``gloss_times`` (the seconds of each of them: ``0.12-0.56 0.6-1.04``), ``signer``, ``split``,
``spoken_language``, ``signed_language``; all are optional, but each row has one of ``pose``, ``text`` and ``speech``.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from pydantic import Field

from ms2sl.audio.decoding import SUFFIXES
from ms2sl.config import Config
from ms2sl.corpora.records import Record, RecordCorpus, drawn_split, source
from ms2sl.data.pose_format_io import from_bytes
from ms2sl.data.skeleton_registry import skeleton
from ms2sl.data.types import RawPoses
from ms2sl.errors import InputError
from ms2sl.io.file_names import file_kind, nfc
from ms2sl.io.name_matching import by_name
from ms2sl.io.storage import StoragePath
from ms2sl.io.tables import read_table
from ms2sl.io.uri import PathOrUri

LABELS = ("text", "gloss", "gloss_times", "signer", "spoken_language", "signed_language")


class LabelledFilesConfig(Config):
    """Which files there are, what is known of them, and to which joints they are reduced."""

    source: PathOrUri = Field("", description="folder of the files, local or a URI")
    table: str = Field(
        "",
        description=".csv, .tsv, .jsonl or .parquet of what is known of each clip; by default every file is a clip",
    )
    skeleton: str = Field("holistic-178x3", description="joints to keep, by the name of a skeleton")
    fps: float = Field(25.0, gt=0, description="frames a second to which clips are resampled unless --poses.fps says otherwise")
    spoken_language: str = Field("und", description="BCP 47 tag, where the table has none")
    signed_language: str = Field("und", description="ISO 639-3 code, where the table has none")
    dev: float = Field(0.05, ge=0, lt=1, description="share of clips for dev, where the table has no split")
    test: float = Field(0.05, ge=0, lt=1, description="share of clips for test, where the table has no split")


class PoseFilesConfig(LabelledFilesConfig):
    """Which files, and to which joints they are reduced."""

    width: int = Field(0, ge=0, description="pixels of the pictures, for files with coordinates between 0 and 1 that do not say it")
    height: int = Field(0, ge=0, description="as --posefiles.width")


class LabelledFiles(RecordCorpus):
    """Clips are rows of the table, or files: one of signing and a recording of the same name are one clip.

    kind: the column of the files of signing; suffixes: of their names; sounds: of the names of recordings.
    """

    kind: str
    suffixes: tuple[str, ...]
    sounds = SUFFIXES

    def __init__(self, config: LabelledFilesConfig):
        super().__init__(config)
        self.skeleton, self.fps = skeleton(config.skeleton), config.fps
        self.spoken_language, self.signed_language = config.spoken_language, config.signed_language

    def records(self) -> list[Record]:
        folder = source(self.config, self.name)
        if not self.config.table:
            return [replace(self._record(folder, row), **told) for row, told in self._files(folder)]
        columns = {name: (name,) for name in ("id", self.kind, "speech", "split", *LABELS)}
        return [self._record(folder, row, place) for place, row in read_table(folder.resolve(self.config.table), columns, others=False)]

    def _record(self, folder: StoragePath, row: dict[str, str], place: str = "") -> Record:
        if place and not any(key in row for key in (self.kind, "text", "speech")):
            where = place.rpartition(", ")[2].replace(" ", "-")
            return Record(row.get("id", where), row.get("split", "train"), problem=f"{place} has neither {self.kind} nor text nor speech")
        path = next((_stem(row[key]) for key in (self.kind, "speech") if key in row), "")
        name = row.get("id") or path.split("/")[-1] or path or "text-" + hashlib.blake2b(row["text"].encode(), digest_size=6).hexdigest()
        rest: dict[str, Any] = {key: row.get(key) for key in LABELS}
        rest["path"] = "" if "id" in row else path
        try:
            rest |= {where: folder / row[key] for key, where in ((self.kind, "poses"), ("speech", "speech")) if key in row}
        except InputError as error:
            rest |= {"problem": str(error)}
        return Record(name, row.get("split") or self._split(name), **rest)

    def _split(self, name: str) -> str:
        return drawn_split(name, self.config.dev, self.config.test)

    def ignored(self) -> dict[str, int]:
        folder = source(self.config, self.name)
        files = folder.files(junk=True)
        if not self.config.table:
            kinds = map(file_kind, files)
            return dict(Counter(kind for kind in kinds if kind not in self.suffixes and kind not in self.sounds))
        named = [folder.resolve(self.config.table), *(record.poses for record in self.index), *(record.speech for record in self.index)]
        read = {nfc(str(where)) for where in named if where}
        return dict(Counter(file_kind(file) for file in files if nfc(str(folder / file)) not in read))

    def _files(self, folder: StoragePath) -> Iterator[tuple[dict, dict]]:
        """For each name its files, and why it has no speech or cannot be used at all: several files of one kind have it."""
        kinds = {self.kind: self.suffixes, "speech": self.sounds}
        files: dict[str, list[str]] = {kind: [] for kind in kinds}
        for file in folder.files():
            for kind, ends in kinds.items():
                if file.lower().endswith(ends):
                    files[kind].append(file)
        named = {kind: by_name((_stem(file), file) for file in some) for kind, some in files.items()}
        (poses, poses_twins), (_, speech_twins) = named.values()
        for name in dict.fromkeys(nfc(_stem(file)) for file in sorted([*files[self.kind], *files["speech"]])):
            row = {"id": name.replace("/", "-")} | {kind: found[name] for kind, (found, _) in named.items() if name in found}
            problem = poses_twins.get(name) or (None if name in poses else speech_twins.get(name))
            yield row, {"path": name, "problem": problem, "no_speech": speech_twins.get(name)}


class PoseFiles(LabelledFiles):
    """``.pose`` files."""

    name, Config = "posefiles", PoseFilesConfig
    kind, suffixes = "pose", (".pose",)

    def read(self, record: Record) -> RawPoses:
        return from_bytes(record.poses.read_bytes(), self.skeleton, self.config.width, self.config.height)


def _stem(file: str) -> str:
    """With its folders, without its suffix."""
    path = PurePosixPath(file)
    return str(path.parent / path.stem)
