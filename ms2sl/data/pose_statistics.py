"""What is known of the coordinates of a dataset's poses: their means, their deviations, and how often joints are seen."""

from collections.abc import Iterable

import numpy as np

from ms2sl.config import Config
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Poses


class PoseStatistics(Config):
    """Of the coordinates with hands relative to wrists, over the training frames in which they are seen.

    mean, deviation: shoulder widths ``(joints, dims)``; seen: share of frames in which a joint is seen ``(joints,)``.
    """

    mean: tuple[tuple[float, ...], ...]
    deviation: tuple[tuple[float, ...], ...]
    seen: tuple[float, ...]


def anchors(skeleton: Skeleton) -> np.ndarray:
    """For each joint the joint that it is relative to: its wrist for a hand's, itself (meaning none) for others."""
    anchor = np.arange(skeleton.n_joints)
    for part, wrist in skeleton.wrists.items():
        anchor[skeleton.part(part)] = skeleton.index(wrist)
    return anchor


class PoseSums(Config):
    """Sums over clips from which their statistics follow, and those of many shards together by adding them up.

    total, squares: of coordinates ``(joints, dims)``; seen: frames in which a joint is seen ``(joints,)``; frames: of all clips.
    """

    total: tuple[tuple[float, ...], ...]
    squares: tuple[tuple[float, ...], ...]
    seen: tuple[float, ...]
    frames: int

    @classmethod
    def of(cls, clips: Iterable[Poses], skeleton: Skeleton) -> "PoseSums":
        """One pass over normalised poses."""
        anchor = anchors(skeleton)
        relative = (anchor != np.arange(skeleton.n_joints))[:, None]
        total, squares = np.zeros((2, skeleton.n_joints, skeleton.dims))
        count, frames = np.zeros(skeleton.n_joints), 0
        for poses in clips:
            seen = (poses.confidence > 0) & (poses.confidence[:, anchor] > 0)
            coordinates = (poses.joints - np.where(relative, poses.joints[:, anchor], 0)) * seen[..., None]
            total += coordinates.sum(axis=0, dtype=np.float64)
            squares += (coordinates.astype(np.float64) ** 2).sum(axis=0)
            count += seen.sum(axis=0)
            frames += poses.n_frames
        return cls(total=total.tolist(), squares=squares.tolist(), seen=count.tolist(), frames=frames)

    def __add__(self, other: "PoseSums") -> "PoseSums":
        """Of the clips of both."""
        both = {name: (np.array(getattr(self, name)) + np.array(getattr(other, name))).tolist() for name in ("total", "squares", "seen")}
        return PoseSums(**both, frames=self.frames + other.frames)

    def statistics(self) -> PoseStatistics:
        total, squares, seen = (np.array(getattr(self, name)) for name in ("total", "squares", "seen"))
        n = np.maximum(seen, 1)[:, None]
        mean = total / n
        deviation = np.sqrt(np.maximum(squares / n - mean**2, 0))
        return PoseStatistics(mean=mean.tolist(), deviation=deviation.tolist(), seen=(seen / max(self.frames, 1)).tolist())
