"""Landmarks of MediaPipe Holistic as people keep them in arrays: of the body, the face and both hands, as fractions of the picture."""

from collections.abc import Sequence

import numpy as np

from ms2sl.data.mediapipe_depth import scale_depth
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.data.types import Poses, RawPoses
from ms2sl.errors import InputError

# fmt: off
BODY = (
    "NOSE", "LEFT_EYE_INNER", "LEFT_EYE", "LEFT_EYE_OUTER", "RIGHT_EYE_INNER", "RIGHT_EYE", "RIGHT_EYE_OUTER", "LEFT_EAR", "RIGHT_EAR",
    "MOUTH_LEFT", "MOUTH_RIGHT", "LEFT_SHOULDER", "RIGHT_SHOULDER", "LEFT_ELBOW", "RIGHT_ELBOW", "LEFT_WRIST", "RIGHT_WRIST", "LEFT_PINKY",
    "RIGHT_PINKY", "LEFT_INDEX", "RIGHT_INDEX", "LEFT_THUMB", "RIGHT_THUMB", "LEFT_HIP", "RIGHT_HIP", "LEFT_KNEE", "RIGHT_KNEE",
    "LEFT_ANKLE", "RIGHT_ANKLE", "LEFT_HEEL", "RIGHT_HEEL", "LEFT_FOOT_INDEX", "RIGHT_FOOT_INDEX",
)
# fmt: on
POSE = tuple(f"body/{joint}" for joint in BODY)
FACE = tuple(f"face/{number}" for number in range(468))
LEFT_HAND, RIGHT_HAND = (tuple(joint for joint in HOLISTIC_49X2.joints if joint.startswith(f"{side}_hand/")) for side in ("left", "right"))
HOLISTIC = frozenset((*POSE, *FACE, *LEFT_HAND, *RIGHT_HAND))
PALM = 0.33  # shoulder widths from the wrist to the first joint of the middle finger where a hand is flat to the camera
GUESSED = "the body is not in it: the shoulders were put in the middle of the picture, at a distance that goes with the size of the hands"


def to_poses(
    values: np.ndarray, confidence: np.ndarray, joints: Sequence[str], skeleton: Skeleton, fps: float, width: int, height: int
) -> RawPoses:
    """The joints of a skeleton, in pixels.

    values: ``(frames, joints, 2 or 3)``, x and y as fractions of the picture, z (if any) of its width; what is not finite, or lies at
    0, 0, is unseen. confidence: ``(frames, joints)`` in [0, 1]. joints: the name of each, ``part/JOINT``. fps: frames a second; width,
    height: pixels of the picture. Where there is no body, hands stand where they would if the signer stood in the middle of the picture.
    Raises InputError if a joint of the skeleton is missing.
    """
    if values.shape[-1] < skeleton.dims:
        raise InputError(f"it has {values.shape[-1]} coordinates a joint, but skeleton {skeleton.name} has {skeleton.dims}")
    where, remarks = {joint: i for i, joint in enumerate(joints)}, ()
    if not any(joint.startswith("body/") for joint in joints):
        values, confidence, where = _with_shoulders(values, confidence, where, skeleton, width, height)
        remarks = (GUESSED,)
    lacking = [joint for joint in skeleton.joints if joint not in where]
    if lacking:
        raise InputError(f"it has no {lacking[0]}, which skeleton {skeleton.name} has: choose another skeleton")
    chosen = [where[joint] for joint in skeleton.joints]
    chosen_values, confidence = values[:, chosen, : skeleton.dims], confidence[:, chosen]
    seen = np.isfinite(chosen_values).all(axis=2) & (chosen_values[..., :2] != 0).any(axis=2)
    confidence = np.where(seen & np.isfinite(confidence), confidence, 0).clip(0, 1).astype(np.float32)
    scaled = np.where(seen[..., None], chosen_values, 0).astype(np.float32)
    scaled[..., 0] *= width
    scaled[..., 1] *= height
    if skeleton.dims == 3:
        scaled = scale_depth(scaled, confidence, width, skeleton)
    return RawPoses(Poses(scaled * (confidence[..., None] > 0), confidence, fps), width, height, remarks)


def _with_shoulders(values: np.ndarray, confidence: np.ndarray, where: dict[str, int], skeleton: Skeleton, width: int, height: int):
    """With shoulders that do not move, wrists of the body where the hands have theirs, and the rest of the body unseen."""
    pixels = np.array([width, height], np.float32)
    palms = []
    for side in ("left", "right"):
        palm = [where[f"{side}_hand/{joint}"] for joint in ("WRIST", "MIDDLE_FINGER_MCP")]
        seen = (confidence[:, palm] > 0).all(axis=1) & (values[:, palm, :2] != 0).any(axis=(1, 2))
        palms.append(np.linalg.norm((values[seen, palm[0], :2] - values[seen, palm[1], :2]) * pixels, axis=1))
    lengths = np.concatenate(palms)
    lengths = lengths[np.isfinite(lengths)]
    if not len(lengths):
        raise InputError("no hand is seen in it, and it has nothing but hands")
    half = float(np.quantile(lengths, 0.9)) / PALM / 2 / width  # hands are seldom quite flat to the camera
    body = [joint for joint in skeleton.joints if joint.startswith("body/")]
    added = np.full((len(values), len(body), values.shape[-1]), np.nan, np.float32)
    sure = np.zeros((len(values), len(body)), np.float32)
    for joint, place in zip(skeleton.shoulders, (0.5 + half, 0.5 - half), strict=True):
        added[:, body.index(joint)] = (place, 0.5, 0.0)[: values.shape[-1]]
        sure[:, body.index(joint)] = 1
    for hand, wrist in skeleton.wrists.items():
        added[:, body.index(wrist)] = values[:, where[f"{hand}/WRIST"]]
        sure[:, body.index(wrist)] = confidence[:, where[f"{hand}/WRIST"]]
    names = where | {joint: values.shape[1] + i for i, joint in enumerate(body)}
    return np.concatenate([values, added], axis=1), np.concatenate([confidence, sure], axis=1), names
