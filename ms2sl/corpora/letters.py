"""Recordings of manual alphabets, from the package ``spoken-to-signed``, cut to the letter itself."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ms2sl.data.pose_format_io import from_bytes
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.data.types import Poses
from ms2sl.errors import InputError
from ms2sl.extras import extra
from ms2sl.io.storage import StoragePath
from ms2sl.io.tables import read_table

COLUMNS = {name: (name,) for name in ("path", "spoken_language", "signed_language", "words")}
FINGERSPELLING = "fingerspelling"  # name of the dictionary of letters alone
QUIET = 1.0  # shoulder widths a second: hands slower than this hold a handshape
MOVING = 0.35  # shoulder widths: hands that travel farther within a letter move as part of it
LONGEST_MOVEMENT = 1.5  # seconds


@dataclass(frozen=True, eq=False)
class Letter:
    """The part of a recording that is the letter, normalised.

    moves: whether movement belongs to the letter (in American Sign Language J and Z); others are one handshape, held.
    """

    poses: Poses
    moves: bool


@cache
def lexicon() -> Path:
    """Folder of the recordings and their ``index.csv``. Raises InputError if the package is not installed."""
    with extra("corpora"):
        import spoken_to_signed
    return Path(spoken_to_signed.__file__).parent / "assets" / "fingerspelling_lexicon"


def index() -> list[dict[str, str]]:
    """Rows of the lexicon."""
    rows = read_table(StoragePath(lexicon() / "index.csv"), COLUMNS, required=tuple(COLUMNS), whole=tuple(COLUMNS))
    return [row for _, row in rows]


@cache
def spoken_language(signed_language: str) -> str:
    """BCP 47 tag of the spoken language whose letters are signed. Raises InputError for a sign language that is not there."""
    languages = {row["signed_language"]: row["spoken_language"] for row in index()}
    if signed_language not in languages:
        raise InputError(f"there is no manual alphabet of '{signed_language}'; there are: {', '.join(sorted(languages))}")
    return languages[signed_language]


@cache
def alphabet(signed_language: str) -> dict[str, Letter]:
    """Letters, in lower case and order. Entries of several characters are left out, and so are recordings without a hand."""
    spoken_language(signed_language)
    letters = {}
    for row in index():
        word = row["words"].lower()
        if row["signed_language"] == signed_language and len(word) == 1:
            letter = _cut(_read(lexicon() / row["path"], HOLISTIC_49X2))
            if letter is not None:
                letters.setdefault(word, letter)
    return dict(sorted(letters.items()))


def _read(path: Path, skeleton: Skeleton) -> Poses:
    return skeleton.normalise(only_seen_wrists(from_bytes(path.read_bytes(), skeleton).poses, skeleton))


def only_seen_wrists(poses: Poses, skeleton: Skeleton) -> Poses:
    """Confidence is 0 or 1, and 0 of a wrist without a hand: the body model guesses it, and a guess is not an observation."""
    confidence = (poses.confidence > 0).astype(np.float32)
    for part, wrist in skeleton.wrists.items():
        confidence[:, skeleton.index(wrist)] *= confidence[:, skeleton.part(part)].max(axis=1)
    return Poses(poses.joints, confidence, poses.fps)


def _cut(poses: Poses) -> Letter | None:
    """From the end of the onset to the beginning of the way back; None if no hand is seen."""
    hands = HOLISTIC_49X2.hands
    seen = poses.confidence[:, hands] > 0
    speed = hand_speed(poses.joints[:, hands], seen) * poses.fps
    quiet = np.flatnonzero((speed < QUIET) & seen.any(axis=1))
    if not len(quiet):
        return None
    start, stop = quiet[0], min(quiet[-1] + 1, quiet[0] + round(LONGEST_MOVEMENT * poses.fps))
    fast = np.flatnonzero(speed[start:stop] >= QUIET)
    if speed[start:stop][fast].sum() / poses.fps > MOVING:
        stop = min(stop, start + fast[-1] + 3)
        return Letter(_part(poses, start, stop), moves=True)
    runs = np.split(quiet, np.flatnonzero(np.diff(quiet) > 1) + 1)
    run = max(runs, key=len)
    return Letter(_part(poses, run[0], run[-1] + 1), moves=False)


def hand_speed(joints: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Mean speed a frame of the joints seen in it and in the one before; infinite where there are none."""
    moved = np.linalg.norm(np.diff(joints, axis=0), axis=-1)
    both = seen[1:] & seen[:-1]
    mean = (moved * both).sum(axis=1) / np.maximum(both.sum(axis=1), 1)
    return np.concatenate([[np.inf], np.where(both.any(axis=1), mean, np.inf)])


def _part(poses: Poses, start: int, stop: int) -> Poses:
    """The frames, with joints that are seen in some of them held where they are not, and confidence of the whole part."""
    joints, seen = poses.joints[start:stop].copy(), poses.confidence[start:stop] > 0
    for joint in np.flatnonzero(seen.any(axis=0) & ~seen.all(axis=0)):
        frames = np.flatnonzero(seen[:, joint])
        for dim in range(joints.shape[2]):
            joints[:, joint, dim] = np.interp(np.arange(len(joints)), frames, joints[frames, joint, dim])
    confidence = np.broadcast_to(seen.any(axis=0).astype(np.float32), seen.shape)
    return Poses(joints, confidence, poses.fps)
