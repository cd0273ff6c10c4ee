"""Poses at other moments than those at which they were recorded."""

import numpy as np

from ms2sl.clip import Poses


def at(poses: Poses, positions: np.ndarray, fps: float) -> Poses:
    """Poses at ``positions`` (frames, fractions allowed), linearly between neighbours; a joint is as sure as the less sure of the two."""
    positions = np.clip(positions, 0, poses.n_frames - 1)
    low = np.floor(positions).astype(int)
    high = np.minimum(low + 1, poses.n_frames - 1)
    share = (positions - low).astype(np.float32)[:, None, None]
    joints = poses.joints[low] * (1 - share) + poses.joints[high] * share
    confidence = np.where(share[..., 0] > 0, np.minimum(poses.confidence[low], poses.confidence[high]), poses.confidence[low])
    return Poses(joints, confidence, fps)


def resample(poses: Poses, fps: float) -> Poses:
    """The same movement in as many seconds at another number of frames a second."""
    if fps == poses.fps:
        return poses
    frames = max(1, round(poses.seconds * fps))
    return at(poses, np.arange(frames) * poses.fps / fps, fps)


def stretch(poses: Poses, frames: int) -> Poses:
    """The same movement in another number of frames, at the same frames a second."""
    return at(poses, np.linspace(0, poses.n_frames - 1, frames), poses.fps)
