"""The depth that MediaPipe gives: fractions of the picture's width, from an origin of its own for each part of the body."""

import numpy as np

from ms2sl.data.skeleton import Skeleton

FLAT = 0.05  # of the breadth: whoever is flatter has depth in another unit


def scale_depth(joints: np.ndarray, confidence: np.ndarray, width: int, skeleton: Skeleton) -> np.ndarray:
    """Poses of MediaPipe ``(frames, joints, 3)`` with z in the unit of x, from one origin.

    MediaPipe gives z as a fraction of the width of the film, and pose-format writes it so beside x and y in pixels; where a pose was
    scaled or moved later, the header still has the film's width as ``depth``. z of the body begins at the hips, of a hand at its wrist,
    of the face at the head: hands are put to their wrists, and the face over the shoulders. Poses that are no flatter than people are
    stay as they are.
    """
    seen = (confidence > 0)[..., None]
    spread = np.where(seen, joints, -np.inf).max(axis=1) - np.where(seen, joints, np.inf).min(axis=1)
    breadth, _, depth = np.median(spread[seen.any(axis=(1, 2))], axis=0) if seen.any() else (0, 0, 0)
    if depth > FLAT * breadth:
        return joints
    z = joints[..., 2] * width
    shoulders = [skeleton.index(joint) for joint in skeleton.shoulders]
    anchors = {part: ([skeleton.index(wrist)], [skeleton.part(part).start]) for part, wrist in skeleton.wrists.items()}
    if any(part.name == "face" for part in skeleton.parts):
        anchors["face"] = (shoulders, list(range(skeleton.n_joints))[skeleton.part("face")])
    for part, (body, own) in anchors.items():
        frames = np.flatnonzero((confidence[:, body + own] > 0).all(axis=1))
        if len(frames):
            apart = z[frames][:, body].mean(axis=1) - z[frames][:, own].mean(axis=1)
            z[:, skeleton.part(part)] += np.interp(np.arange(len(z)), frames, apart)[:, None]
    return np.where(seen, np.concatenate([joints[..., :2], z[..., None]], axis=2), 0).astype(np.float32)
