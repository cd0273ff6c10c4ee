"""Poses at other moments than those at which they were recorded."""

from collections.abc import Sequence

import numpy as np

from ms2sl.data.types import Poses


def at(poses: Poses, positions: np.ndarray, fps: float) -> Poses:
    """Poses at ``positions`` (frames, fractions allowed), linearly between neighbours; a joint is as sure as the less sure of the two."""
    positions = np.clip(np.round(positions, 6), 0, poses.n_frames - 1)
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


class Resampler:
    """``resample`` for poses that come part by part: all that is returned, one after another, is what it makes of the whole."""

    def __init__(self, fps: float):
        self.fps = fps
        self._kept: Poses | None = None  # frames from the one before the next moment
        self._begins, self._made = 0, 0  # frames before those kept, and frames returned

    def __call__(self, part: Poses, *, last: bool) -> Poses:
        """The frames that lie within what has come so far. last: whether nothing follows."""
        if part.fps == self.fps:
            return part
        kept = part if self._kept is None else joined([self._kept, part])
        came = self._begins + kept.n_frames
        frames = max(1, round(came / part.fps * self.fps))
        until = frames if last else min(frames, int((came - 1) * self.fps / part.fps) + 1)
        positions = np.arange(self._made, until) * part.fps / self.fps - self._begins
        made = at(kept, positions, self.fps)
        self._made = until
        needed = min(int(until * part.fps / self.fps), came - 1) - self._begins
        self._kept = Poses(kept.joints[needed:], kept.confidence[needed:], part.fps)
        self._begins += needed
        return made


def joined(parts: Sequence[Poses]) -> Poses:
    """One after another."""
    if len(parts) == 1:
        return parts[0]
    return Poses(np.concatenate([p.joints for p in parts]), np.concatenate([p.confidence for p in parts]), parts[0].fps)


def stretch(poses: Poses, frames: int) -> Poses:
    """The same movement in another number of frames, at the same frames a second."""
    return at(poses, np.linspace(0, poses.n_frames - 1, frames), poses.fps)
