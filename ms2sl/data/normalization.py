"""The space in which poses are learned: hands relative to their wrists, each coordinate near unit scale."""

import torch
from torch import nn

from ms2sl.data.pose_statistics import PoseStatistics, anchors
from ms2sl.data.skeleton import Skeleton

# Shoulder widths. Coordinates that hardly vary are noise; dividing by less would teach the model noise.
SMALLEST_DEVIATION = 0.03
SELDOM = 0.01  # share of frames in which a joint is seen


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

    @torch.no_grad()
    def adapt(self, of_data: "PoseNormalizer") -> None:
        """For weights that were learned in this space and go on learning from other data, whose statistics ``of_data`` has.

        Means and deviations stay where training saw the joint: with others, the same weights would be of other poses. Joints that it
        never saw get those of the data; what of a pose is seen is as in the data from now on.
        """
        new = ~self.seen[:, None]
        self.mean.copy_(torch.where(new, of_data.mean, self.mean))
        self.deviation.copy_(torch.where(new, of_data.deviation, self.deviation))
        self.share_seen.copy_(of_data.share_seen)

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
