"""The space in which poses are learned: hands relative to their wrists, each coordinate near unit scale."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from ms2sl.config import Config
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Poses

# Shoulder widths. Coordinates that hardly vary are noise; dividing by less would teach the model noise.
SMALLEST_DEVIATION = 0.03
SELDOM = 0.01  # share of frames in which a joint is seen


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

    def statistics(self, *others: "PoseSums") -> PoseStatistics:
        """Of these clips and others."""
        every = (self, *others)
        total, squares, seen = (sum(np.array(getattr(sums, name)) for sums in every) for name in ("total", "squares", "seen"))
        n = np.maximum(seen, 1)[:, None]
        mean = total / n
        deviation = np.sqrt(np.maximum(squares / n - mean**2, 0))
        frames = max(sum(sums.frames for sums in every), 1)
        return PoseStatistics(mean=mean.tolist(), deviation=deviation.tolist(), seen=(seen / frames).tolist())


class PoseNormalizer(nn.Module):
    """Normalised poses ↔ features ``(batch, frames, joints * dims)``. Its buffers travel with the checkpoint."""

    def __init__(self, skeleton: Skeleton):
        super().__init__()
        anchor = torch.from_numpy(anchors(skeleton))
        self.register_buffer("anchor", anchor, persistent=False)
        self.register_buffer("relative", (anchor != torch.arange(len(anchor))).float()[:, None], persistent=False)
        self.register_buffer("mean", torch.zeros(skeleton.n_joints, skeleton.dims))
        self.register_buffer("deviation", torch.ones(skeleton.n_joints, skeleton.dims))
        self.register_buffer("share_seen", torch.ones(skeleton.n_joints))

    def set_statistics(self, statistics: PoseStatistics) -> None:
        self.mean.copy_(torch.tensor(statistics.mean))
        self.deviation.copy_(torch.tensor(statistics.deviation).clamp(min=SMALLEST_DEVIATION))
        self.share_seen.copy_(torch.tensor(statistics.seen))

    @property
    def used(self) -> torch.Tensor:
        """bool ``(joints * dims)``: features that training ever saw."""
        return (self.share_seen > 0).repeat_interleave(self.mean.shape[1])

    @property
    def seen(self) -> torch.Tensor:
        """bool ``(joints)``: joints that training saw in more than a few frames."""
        return self.share_seen > SELDOM

    def encode(self, poses: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """poses ``(batch, frames, joints, dims)``, seen ``(batch, frames, joints)`` → features and their mask, both
        ``(batch, frames, joints * dims)``; features that are not known are 0."""
        known = seen & seen[..., self.anchor]
        features = (poses - self.relative * poses[..., self.anchor, :] - self.mean) / self.deviation
        mask = known[..., None].expand_as(features)
        return (features * mask).flatten(2), mask.flatten(2)

    def decode(self, features: torch.Tensor) -> torch.Tensor:
        """The inverse of ``encode``: ``(batch, frames, joints * dims)`` → ``(batch, frames, joints, dims)``."""
        poses = features.unflatten(2, self.mean.shape) * self.deviation + self.mean
        return poses + self.relative * poses[..., self.anchor, :]
