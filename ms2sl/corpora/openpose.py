"""Keypoints as OpenPose writes them: a folder a clip, a JSON file a frame, ``people[i]`` with x, y, confidence of each joint."""

import json

import numpy as np

from ms2sl.errors import InputError
from ms2sl.storage import Location

PARTS = {"pose": 25, "face": 70, "hand_left": 21, "hand_right": 21}
NOSE, SHOULDERS = 0, (2, 5)


def read_frames(folder: Location) -> tuple[np.ndarray, tuple[str, ...]]:
    """float32 ``(frames, 137, 3)``, x and y in pixels and confidence, and remarks; frames without a person have confidence 0.

    Where several people are in a frame, the signer is the one nearest to where the signer was before, at first the one with the
    widest shoulders. Raises InputError if a file is broken or nobody is in any frame.
    """
    files = [file for file in folder.children() if file.name.endswith(".json")]
    if not files:
        raise InputError(f"{folder} has no JSON files, so no frames")
    frames, crowded, nobody, signer = [], 0, 0, None
    for file in files:
        people = _people(file)
        crowded += len(people) > 1
        nobody += not people
        signer = _signer(people, signer) if people else signer
        frames.append(signer if people else np.zeros((sum(PARTS.values()), 3), np.float32))
    if nobody == len(files):
        raise InputError(f"there is nobody in any of the {len(files)} frames of {folder}")
    remarks = [f"several people in {crowded} of {len(files)} frames; the signer was followed"] * (crowded > 0)
    remarks += [f"nobody in {nobody} of {len(files)} frames"] * (nobody > 0)
    return np.stack(frames), tuple(remarks)


def _people(file: Location) -> list[np.ndarray]:
    try:
        found = json.loads(file.read_bytes())["people"]
        people = [np.concatenate([_part(person, part, joints) for part, joints in PARTS.items()]) for person in found]
    except json.JSONDecodeError as error:
        raise InputError(f"{file} is cut short or not JSON ({error.msg} at character {error.pos})") from None
    except (KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not what OpenPose writes: {error!r}") from None
    return [person for person in people if (person[:, 2] > 0).any()]


def _part(person: dict, part: str, joints: int) -> np.ndarray:
    numbers = np.array(person[f"{part}_keypoints_2d"], np.float32)
    if numbers.size == 0:
        return np.zeros((joints, 3), np.float32)
    if numbers.size != joints * 3:
        raise ValueError(f"{part} has {numbers.size} numbers instead of {joints * 3}")
    return numbers.reshape(joints, 3)


def _signer(people: list[np.ndarray], before: np.ndarray | None) -> np.ndarray:
    if len(people) == 1:
        return people[0]
    if before is None:
        return max(people, key=lambda person: abs(person[SHOULDERS[0], 0] - person[SHOULDERS[1], 0]) * person[list(SHOULDERS), 2].min())

    def distance(person: np.ndarray) -> float:
        both = (person[:, 2] > 0) & (before[:, 2] > 0)
        return float(np.linalg.norm((person - before)[both, :2], axis=1).mean()) if both.any() else np.inf

    return min(people, key=distance)
