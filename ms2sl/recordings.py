"""Folders of recordings as utterances, each read where it is signed: unpacked they take 40 MB for ten minutes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ms2sl.audio import LONGEST, SUFFIXES
from ms2sl.clip import SAMPLE_RATE, Speech, Utterance
from ms2sl.errors import InputError
from ms2sl.names import is_junk


@dataclass(frozen=True, slots=True)
class Recording:
    """An utterance whose speech is still in its file. seconds: as of an Utterance."""

    id: str
    path: Path
    seconds: float | None = None

    def read(self) -> Utterance:
        """Raises InputError if the file cannot be read or is no recording."""
        return Utterance(self.id, speech=read_speech(self.path), seconds=self.seconds)


def read_speech(path: Path) -> Speech:
    """A recording at ``SAMPLE_RATE``. Raises InputError if the file cannot be read or is none."""
    try:
        return Speech.decode(path.read_bytes(), path.name, rate=SAMPLE_RATE)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def find_recordings(folder: Path) -> tuple[list[Recording], Counter[str]]:
    """The recordings directly in a folder, by name, and how many of what else is there, by suffix; what operating systems leave aside."""
    there = sorted(item for item in folder.iterdir() if not is_junk(item.name))
    kinds = ["folder" if item.is_dir() else item.suffix.lower() for item in there]
    found = [Recording(item.stem, item.absolute()) for item, kind in zip(there, kinds, strict=True) if kind in SUFFIXES]
    return found, Counter(kind or "file without suffix" for kind in kinds if kind not in SUFFIXES)


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
