"""What corpora of files have in common: an index of records, from which each clip is read when it is asked for."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ms2sl.audio.decoding import SUFFIXES
from ms2sl.audio.speech import Speech
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Clip, Placement, RawPoses
from ms2sl.errors import InputError
from ms2sl.io.file_names import nfc, split_name
from ms2sl.io.folder_stamps import FolderStamps
from ms2sl.io.name_matching import by_name, unique_ids
from ms2sl.io.storage import StoragePath
from ms2sl.io.uri import public_uri
from ms2sl.text_normalization import normalise

STRETCH = re.compile(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)")
READING = 3  # how files are read: another where clips come out otherwise than before


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a clip before its poses are read.

    split: in any spelling that ``split_name`` knows. poses: where they are, in whatever way the corpus knows it; problem: why it cannot be
    used, if that is known already; no_text, no_gloss, no_speech: why it has none, where it should have one. gloss_times: seconds of each
    sign, as ``0.12-0.56 0.6-1.04``. path: of what it comes from, with its folders, which make its id unique where others have the same.
    """

    id: str
    split: str
    text: str | None = None
    gloss: str | None = None
    poses: Any = None
    speech: StoragePath | None = None
    spoken_language: str | None = None
    signed_language: str | None = None
    fps: float | None = None
    problem: str | None = None
    no_text: str | None = None
    no_gloss: str | None = field(default=None, repr=False)
    no_speech: str | None = None
    path: str = ""
    gloss_times: str | None = field(default=None, repr=False)
    signer: str | None = field(default=None, repr=False)


class RecordCorpus(ABC):
    """Clips by index, in the order of their splits. A subclass says what records there are and how to read poses.

    The index is in memory, poses and speech never more than one clip at a time. It may be pickled to any worker.
    """

    name: str
    skeleton: Skeleton
    fps = 25.0
    spoken_language = "und"
    signed_language = "und"

    def __init__(self, config: Any):
        self.config = config
        self.stamps = FolderStamps()

    @abstractmethod
    def records(self) -> list[Record]:
        """Raises InputError where the corpus is not what it should be as a whole."""

    @abstractmethod
    def read(self, record: Record) -> RawPoses:
        """Raises InputError if the poses of this clip cannot be read."""

    @cached_property
    def index(self) -> list[Record]:
        found = self.records()
        if not found:
            raise InputError(f"{self.name}: no clip was found")
        splits = [split_name(each.split, f"{each.id}: the split") for each in found]
        ids = unique_ids([nfc(each.id) for each in found], splits, [nfc(each.path) for each in found])
        records = [normalised(replace(each, id=name, split=split)) for each, name, split in zip(found, ids, splits, strict=True)]
        splits = list(dict.fromkeys(record.split for record in records))
        return sorted(records, key=lambda record: splits.index(record.split))

    @cached_property
    def splits(self) -> dict[str, range]:
        splits: dict[str, range] = {}
        for i, record in enumerate(self.index):
            splits[record.split] = range(splits[record.split].start if record.split in splits else i, i + 1)
        return splits

    @cached_property
    def _first(self) -> dict[str, int]:
        first: dict[str, int] = {}
        for i, record in enumerate(self.index):
            first.setdefault(record.id, i)
        return first

    def id(self, index: int) -> str:
        return self.index[index].id

    def digest(self) -> str:
        return _hash(self._clip_digests)

    def clip_digest(self, index: int) -> str:
        return self._clip_digests[index]

    @cached_property
    def _clip_digests(self) -> list[str]:
        return [_hash(self._deciding(i, record)) for i, record in enumerate(self.index)]

    def _deciding(self, index: int, record: Record) -> list[Any]:
        """All that decides a clip. What is not said of it is not in there, so that clips of an earlier version stay as they are."""
        first = self._first[record.id]
        said = [(name, value) for name in ("gloss_times", "signer") if (value := getattr(record, name))]
        return [READING, replace(record, poses=None, speech=None), self.stamp(record), *said, *([first] if first != index else [])]

    def stamp(self, record: Record) -> str:
        """Of the files of a clip, unread: another where they are others. A subclass says it whose poses are no ``StoragePath``."""
        files = (where for where in (record.poses, record.speech) if isinstance(where, StoragePath))
        return " ".join(f"{where.name} {self.stamps.of(where)}" for where in files)

    def clip(self, index: int) -> Clip:
        """Parts that cannot be read are left out with a remark. Raises InputError if none is left, or the clip is none of its own."""
        record = self.index[index]
        if record.problem:
            raise InputError(record.problem)
        if self._first[record.id] != index:
            raise InputError(f"a clip of this name is there already, as number {self._first[record.id]} of the corpus")
        broken: dict[str, object] = {"text": record.no_text, "speech": record.no_speech}
        signing = speech = None
        try:
            signing = self.read(record) if record.poses is not None else None
        except InputError as error:
            broken["poses"] = error
        try:
            speech = Speech.decode(record.speech.read_bytes(), record.speech.name) if record.speech else None
        except InputError as error:
            broken["speech"] = error
        times, odd = gloss_times(record.gloss_times)
        clip = Clip(
            id=record.id,
            split=record.split,
            spoken_language=record.spoken_language or self.spoken_language,
            signed_language=record.signed_language or self.signed_language,
            text=record.text,
            gloss=record.gloss,
            gloss_times=times,
            signer=record.signer,
            speech=speech,
            poses=signing.poses if signing else None,
            placement=Placement((0.0,) * self.skeleton.dims, 1.0, signing.width, signing.height) if signing else None,
            remarks=((f"gloss left out: {record.no_gloss}",) if record.no_gloss else ())
            + (*odd, *(signing.remarks if signing else ()), *(speech.remarks if speech else ())),
        )
        for part, reason in filter(lambda each: each[1], broken.items()):
            clip = clip.without(part, reason)
        return clip

    def ignored(self) -> dict[str, int]:
        """How many files and rows of the source are no clips and no part of one, by kind."""
        return {}

    def card(self) -> dict:
        return {"options": self.config.model_dump(mode="json"), "ignored": self.ignored()}


def _hash(parts: list) -> str:
    return hashlib.blake2b("\n".join(map(repr, parts)).encode(), digest_size=8).hexdigest()


def normalised(record: Record) -> Record:
    """With text and gloss as ``normalise`` makes them; those that it refuses are left out, with its reason."""
    changed: dict[str, Any] = {}
    for part in ("text", "gloss"):
        try:
            changed[part] = normalise(getattr(record, part) or "") or None
        except InputError as error:
            changed |= {part: None, f"no_{part}": str(error)}
    return replace(record, **changed)


def gloss_times(written: str | None) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """float32 ``(signs, 2)``, seconds, of ``0.12-0.56 0.6-1.04``; None and a remark where something else is written."""
    if not written:
        return None, ()
    found = [STRETCH.fullmatch(each) for each in written.split()]
    if not all(found):
        return None, (f"gloss_times left out: '{written[:40]}' is not seconds such as '0.12-0.56 0.6-1.04'",)
    return np.array([each.groups() for each in found if each], np.float32), ()


def drawn_split(name: str, dev: float, test: float) -> str:
    """train, dev or test, by the name alone, so that a corpus that grows keeps its test clips; dev, test: shares."""
    draw = int.from_bytes(hashlib.blake2b(nfc(name).encode(), digest_size=4).digest()) / 2**32
    return "test" if draw < test else "dev" if draw < test + dev else "train"


def flag(name: str) -> str:
    """How the options of a corpus begin on the command line."""
    return f"--{name.replace('_', '-')}"


def source(config: Any, name: str) -> StoragePath:
    """The folder of the corpus. Raises InputError if it was not said or is not there."""
    if not config.source:
        raise InputError(f"say where the corpus is: {flag(name)}.source FOLDER (a path, or a URI such as s3://bucket/folder)")
    where = StoragePath(config.source)
    if not where.is_folder():
        raise InputError(f"{flag(name)}.source {public_uri(config.source)} is not a folder that can be found")
    return where


def audio_files(folder: StoragePath) -> Iterator[StoragePath]:
    """Those directly in a folder."""
    return (file for file in folder.children() if file.name.lower().endswith(SUFFIXES))


def recordings(folder: StoragePath) -> tuple[dict[str, StoragePath], dict[str, str]]:
    """Audio files directly in a folder, by their names without suffix, and reasons for names that several files have."""
    return by_name((file.stem, file) for file in audio_files(folder))
