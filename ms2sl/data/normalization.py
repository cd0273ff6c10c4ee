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
        self.parts = [(skeleton.part(part.name), part.name in skeleton.wrists) for part in skeleton.parts]
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

    def visibility(self, seen: torch.Tensor) -> torch.Tensor:
        """For each part of the body, whether it is seen: 1 where most joints of a hand are, or any of another part, else -1.
        ``(batch, frames, joints)`` → ``(batch, frames, parts)``. Joints that training never saw do not count. Bits as reals, as diffusion
        takes them (Chen et al. 2022, Analog Bits)."""
        seen = seen & self.seen
        least = [self.seen[part].sum() / 2 if hand else 0 for part, hand in self.parts]
        shown = [seen[..., part].sum(dim=-1) > fewest for (part, _), fewest in zip(self.parts, least, strict=True)]
        return torch.where(torch.stack(shown, dim=-1), 1.0, -1.0)

    def seen_joints(self, visibility: torch.Tensor) -> torch.Tensor:
        """bool ``(batch, frames, joints)``: those of parts that are seen by ``visibility``, without those that training never saw and hands
        whose wrist is not seen."""
        sizes = torch.tensor([part.stop - part.start for part, _ in self.parts], device=visibility.device)
        seen = (visibility >= 0).repeat_interleave(sizes, dim=-1) & self.seen
        return seen & seen[..., self.anchor]

    def decode(self, features: torch.Tensor) -> torch.Tensor:
        """The inverse of ``encode``: ``(batch, frames, joints * dims)`` → ``(batch, frames, joints, dims)``."""
        poses = features.unflatten(2, self.mean.shape) * self.deviation + self.mean
        return poses + self.relative * poses[..., self.anchor, :]


def fill_unseen(features: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Features ``(batch, frames, D)`` in which those that are not ``known`` are on a straight way in time between those that are, stay as
    the nearest at the ends, and are 0 where none of a clip is known."""
    frames = features.shape[1]
    now = torch.arange(frames, device=features.device)[None, :, None].expand(features.shape)
    before = torch.where(known, now, -1).cummax(dim=1).values
    after = torch.where(known, now, frames).flip(1).cummin(dim=1).values.flip(1)
    low, high = torch.where(before >= 0, before, after), torch.where(after < frames, after, before)
    low, high = low.clamp(0, frames - 1), high.clamp(0, frames - 1)
    share = (now - low) / (high - low).clamp(min=1)
    filled = torch.lerp(features.gather(1, low), features.gather(1, high), share.to(features.dtype))
    return torch.where(known, features, filled * known.any(dim=1, keepdim=True))
