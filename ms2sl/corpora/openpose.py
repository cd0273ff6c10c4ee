"""Keypoints as OpenPose writes them: a folder a clip, a JSON file a frame, ``people[i]`` with x, y, confidence of each joint."""

import json
from collections import defaultdict

import numpy as np

from ms2sl.corpora.frame_files import frame_places
from ms2sl.data.detections import fractions
from ms2sl.data.person_tracking import follow, remarks
from ms2sl.errors import InputError
from ms2sl.io.file_names import file_kind
from ms2sl.io.storage import StoragePath

PARTS = {"pose": 25, "face": 70, "hand_left": 21, "hand_right": 21}
JOINTS = sum(PARTS.values())
BODY, SHOULDERS = slice(0, 25), (2, 5)


def read_frames(folder: StoragePath, width: int, height: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """float32 ``(frames, 137, 3)``, x and y in pixels and confidence, and remarks; frames without the signer have confidence 0.

    Frames are in the order of the numbers in their names, and unseen where a number is missing. Where several people are in a frame, the
    signer is followed (``ms2sl.data.person_tracking``). Coordinates that OpenPose wrote as fractions of a picture of ``width`` × ``height``
    (``--keypoint_scale`` 3 or 4) become pixels. Raises InputError if a file is broken or nobody is in any frame.
    """
    kinds: dict[str, list[StoragePath]] = defaultdict(list)
    for child in folder.children():
        kinds[file_kind(child.name)].append(child)
    files = kinds.pop(".json", [])
    if not files:
        raise InputError(f"{folder} has no JSON files, so no frames")
    places, ordered = frame_places([file.name for file in files])
    there = dict(zip(places, map(_people, files), strict=True))
    people = np.zeros((max(places) + 1, max(1, *map(len, there.values())), JOINTS, 3), np.float32)
    for place, found in there.items():
        people[place, : len(found)] = np.reshape(found, (-1, JOINTS, 3))
    joints, confidence = people[..., :2], people[..., 2]
    if not confidence.any():
        raise InputError(f"there is nobody in any of the {len(files)} frames of {folder}")
    edges = fractions(joints, confidence, SHOULDERS)
    if edges:
        joints[:] = (joints - edges[0]) / (edges[1] - edges[0]) * [width, height]
    chosen = follow(joints, confidence, BODY, SHOULDERS)
    frames = people[np.arange(len(people)), chosen] * (chosen >= 0)[:, None, None]
    present = np.isin(np.arange(len(people)), places)
    told = [*ordered, *remarks(chosen[present], confidence[present])]
    told += [f"{len(others)} files of its folder are no frames ({suffix})" for suffix, others in sorted(kinds.items())]
    told += [f"{(~present).sum()} of {len(people)} frames have no file and are unseen"] * (not present.all())
    scaled = f"its coordinates lie between {edges[0]:g} and {edges[1]:g}: taken as fractions of {width} × {height} pixels" if edges else ""
    return frames, (*told, *[scaled] * bool(edges))


def _people(file: StoragePath) -> list[np.ndarray]:
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
    numbers = numbers.reshape(joints, 3)
    return numbers * (numbers[:, :2] != 0).any(axis=1, keepdims=True)  # a corner of the picture is where nothing was seen
