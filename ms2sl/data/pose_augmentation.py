"""Poses as other signers, cameras and detectors would have them: what a reader of signs learns from beside the recordings themselves."""

import math

import torch
from pydantic import Field

from ms2sl.config import TRAINING_ONLY, Config
from ms2sl.data.collate import FRAME_MULTIPLE, BatchField, padded_length
from ms2sl.data.skeleton import Skeleton
from ms2sl.random_numbers import uniform


class AugmentConfig(Config):
    """How far training poses may be changed; 0 leaves them as they are. Each clip is changed in its own way, all of its frames alike."""

    speed: float = Field(
        0.0, ge=0, le=0.5, description="share by which a clip is faster or slower, at most", json_schema_extra=TRAINING_ONLY
    )
    mirror: float = Field(0.0, ge=0, le=1, description="chance that left and right are swapped", json_schema_extra=TRAINING_ONLY)
    rotation: float = Field(0.0, ge=0, lt=90, description="degrees in the plane of the picture, at most", json_schema_extra=TRAINING_ONLY)
    scale: float = Field(
        0.0, ge=0, lt=1, description="share by which each axis is longer or shorter, at most", json_schema_extra=TRAINING_ONLY
    )
    shift: float = Field(0.0, ge=0, description="shoulder widths to any side, at most", json_schema_extra=TRAINING_ONLY)
    joint_dropout: float = Field(0.0, ge=0, lt=1, description="chance that a joint is unseen all along", json_schema_extra=TRAINING_ONLY)
    gap: float = Field(0.0, ge=0, lt=1, description="share of a clip in which nothing is seen, at most", json_schema_extra=TRAINING_ONLY)


def augmented(poses: BatchField, skeleton: Skeleton, config: AugmentConfig, generator: torch.Generator) -> BatchField:
    """The field ``poses`` of a batch, each clip changed; a faster clip has fewer frames."""
    joints, seen, lengths = poses.values, poses.mask, poses.lengths
    assert seen is not None
    n, device = len(joints), joints.device

    def draw(*shape: int) -> torch.Tensor:
        return uniform(n, *shape, generator=generator, device=device)

    if config.speed:
        joints, seen, lengths = _at_speed(joints, seen, lengths, 1 + config.speed * (2 * draw() - 1))
    if config.mirror:
        swap = (draw() < config.mirror)[:, None, None]
        order = torch.from_numpy(skeleton.mirrored).to(device)
        flipped = joints[:, :, order].clone()
        flipped[..., 0] *= -1
        joints, seen = torch.where(swap[..., None], flipped, joints), torch.where(swap, seen[:, :, order], seen)
    if config.rotation or config.scale or config.shift:
        joints = _moved(joints, config, draw)
    if config.joint_dropout:
        seen = seen & (draw(1, joints.shape[2]) >= config.joint_dropout)
    if config.gap:
        share = config.gap * draw()
        start = (1 - share) * draw()
        place = torch.arange(joints.shape[1], device=device)[None] / lengths.clamp(min=1)[:, None]
        seen = seen & ~((place >= start[:, None]) & (place < (start + share)[:, None]))[..., None]
    return BatchField(joints, lengths, seen, poses.multiple)


def _moved(joints: torch.Tensor, config: AugmentConfig, draw) -> torch.Tensor:
    """Turned in the plane, stretched along each axis, and shifted."""
    angle = math.radians(config.rotation) * (2 * draw() - 1)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    dims = joints.shape[-1]
    plane = torch.einsum("bij,bfkj->bfki", turn, joints[..., :2])
    joints = torch.cat([plane, joints[..., 2:]], dim=-1)
    stretch = 1 + config.scale * (2 * draw(dims) - 1)
    return joints * stretch[:, None, None] + config.shift * (2 * draw(dims) - 1)[:, None, None]


def _at_speed(joints: torch.Tensor, seen: torch.Tensor, lengths: torch.Tensor, speed: torch.Tensor):
    """Resampled in time, linearly; where a joint is seen at one side of a moment alone, it is where that side has it."""
    new = torch.where(lengths > 0, (lengths / speed).round().clamp(min=1), 0).long()
    frames = padded_length(int(new.max()), FRAME_MULTIPLE)
    place = torch.arange(frames, device=joints.device)[None] * ((lengths - 1).clamp(min=0) / (new - 1).clamp(min=1))[:, None]
    place = torch.minimum(place, (lengths - 1).clamp(min=0)[:, None].float())
    low = place.floor().long()
    high = torch.minimum(low + 1, (lengths - 1).clamp(min=0)[:, None])
    row = torch.arange(len(joints), device=joints.device)[:, None]
    before, after, seen_before, seen_after = joints[row, low], joints[row, high], seen[row, low], seen[row, high]
    share = (place - low)[..., None, None].to(joints.dtype)
    mixed = before * (1 - share) + after * share
    mixed = torch.where((seen_before & ~seen_after)[..., None], before, mixed)
    mixed = torch.where((seen_after & ~seen_before)[..., None], after, mixed)
    inside = (torch.arange(frames, device=joints.device)[None] < new[:, None])[..., None]
    nearer = torch.where((share[..., 0] < 0.5), seen_before, seen_after)
    return mixed * inside[..., None], nearer & inside, new
