"""Folders of recordings as utterances, each read where it is signed: unpacked they take 40 MB for ten minutes."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from ms2sl.audio.decoding import LONGEST, SUFFIXES
from ms2sl.audio.speech import SAMPLE_RATE, Speech
from ms2sl.data.types import Utterance
from ms2sl.errors import InputError
from ms2sl.io.file_names import check_name, file_kind, is_junk, nfc, own_name
from ms2sl.io.name_matching import unique_ids
from ms2sl.io.storage import AnyPath, StoragePath


@dataclass(frozen=True, slots=True)
class Recording:
    """An utterance whose speech is still in its file. seconds, signed_language, signer: as of an Utterance. stamp: of a file in a store,
    which is not read for its digest."""

    id: str
    path: StoragePath
    seconds: float | None = None
    signed_language: str | None = None
    signer: str | None = None
    stamp: str = ""

    def digest(self) -> str:
        """Hash of the file, or its stamp; "" if it cannot be read."""
        if self.stamp:
            return self.stamp
        try:
            with open(self.path, "rb") as file:
                return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
        except OSError:
            return ""

    def read(self) -> Utterance:
        """Raises InputError if the file cannot be read or is no recording."""
        speech = read_speech(self.path)
        return Utterance(self.id, speech=speech, seconds=self.seconds, signed_language=self.signed_language, signer=self.signer)


def read_speech(place: AnyPath) -> Speech:
    """A recording at ``SAMPLE_RATE``. Raises InputError if the file cannot be read or is none."""
    path = StoragePath(place)
    try:
        content = path.local_path().read_bytes() if path.is_local else path.read_bytes()  # whose name may be no UTF-8
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    return Speech.decode(content, path.name, rate=SAMPLE_RATE)


def recording_remarks(utterance: Utterance) -> tuple[str, ...]:
    """What was odd about its recording, if it has one."""
    return utterance.speech.remarks if utterance.speech else ()


def find_recordings(folder: StoragePath) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Of each recording directly in a folder, by name: its ``id``, its ``file`` (the name) and its ``stamp``. And how many of what else is
    there, by suffix, but for what operating systems leave.

    Their ids are their names without suffix; where two have the same, with it, and where it cannot name a file, made so that it can.
    """
    files: dict[str, str] = {}
    others: Counter[str] = Counter()
    for name, is_folder, stamp in _inside(folder):
        suffix = PurePath(name).suffix.lower()
        if is_junk(name):
            continue
        if is_folder or suffix not in SUFFIXES:
            others["folder" if is_folder else suffix or "file without suffix"] += 1
        else:
            files[name] = stamp
    ids = unique_ids([_id(PurePath(name).stem) for name in files], [""] * len(files), list(map(nfc, files)))
    rows = zip(ids, files.items(), strict=True)
    return [{"id": name, "file": os.fsencode(file), "stamp": stamp} for name, (file, stamp) in rows], others


def _inside(folder: StoragePath) -> Iterable[tuple[str, bool, str]]:
    """What is directly in a folder, by name, as ``StoragePath.entries``; also what has a name that is no UTF-8, which pyarrow cannot open.
    Files of this machine have no stamps: they are read for their digests."""
    if not folder.is_local:
        return folder.entries(junk=True)
    with os.scandir(folder.local_path()) as entries:
        return sorted((entry.name, entry.is_dir(), "") for entry in entries)


def hidden(where: StoragePath) -> Counter[str]:
    """How many files and folders in a folder are what operating systems leave, or hidden, by kind."""
    return Counter(file_kind(name) for name, *_ in _inside(where) if is_junk(name)) if where.is_folder() else Counter()


def _id(stem: str) -> str:
    try:
        return check_name(nfc(stem))
    except InputError:
        return own_name(stem, os.fsencode(stem))


def read_in_groups(
    utterances: Sequence[Utterance | Recording], failed: list[tuple[str, str]], longest: float = LONGEST
) -> Iterator[list[Utterance]]:
    """The utterances with their speech, in order, in groups that end with the one that brings them to ``longest`` seconds of speech;
    ids and reasons of those that cannot be read are added to ``failed``."""
    group: list[Utterance] = []
    for each in utterances:
        try:
            group.append(each.read() if isinstance(each, Recording) else each)
        except InputError as error:
            failed.append((each.id, str(error)))
        if sum(one.speech.seconds for one in group if one.speech) >= longest:
            yield group
            group = []
    if group:
        yield group
