"""The terms of the training loss. Each is a mean over what is present, and 0 where nothing is."""

import torch
from pydantic import Field
from torch.nn import functional as F

from ms2sl.config import Config
from ms2sl.nn.losses import cosine_distance, in_fp32, masked_mean

FRAME_TEMPERATURE, FRAME_WEIGHT = 0.1, 0.2


class LossWeights(Config):
    """Weight of each term in the loss; 0 switches it off."""

    denoise: float = Field(1.0, ge=0, description="squared error of the predicted clean pose")
    velocity: float = Field(0.5, ge=0, description="squared error of its frame-to-frame differences")
    position: float = Field(
        20.0, ge=0, description="squared error of where its joints are, in shoulder widths: where a hand is counts for all its joints"
    )
    bone: float = Field(0.1, ge=0, description="error of its limb lengths")
    length: float = Field(0.1, ge=0, description="negative log-likelihood of the length")
    contrastive: float = Field(0.1, ge=0, description="InfoNCE over the pairs of text, speech and sign that are present")
    cycle: float = Field(0.1, ge=0, description="ECL: the predicted pose must come back to the condition's embedding")
    agreement: float = Field(0.5, ge=0, description="ECL: text and speech of one clip must agree along the frames")
    pseudo: float = Field(0.5, ge=0, description="ECL: the priors behind pseudo-features; 0 also stops conditioning on them")
    ctc: float = Field(0.3, ge=0, description="CTC of the text from speech tokens (text ids only)")


@in_fp32
def denoise_loss(predicted: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean squared error of pose features ``(B, F, D)`` over those that are known."""
    return masked_mean((predicted - target) ** 2, mask)


@in_fp32
def velocity_loss(predicted: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean squared error of frame-to-frame differences (Tevet et al. 2022, L_vel)."""
    return masked_mean((predicted.diff(dim=1) - target.diff(dim=1)) ** 2, mask[:, 1:] & mask[:, :-1])


@in_fp32
def position_loss(predicted: torch.Tensor, target: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Mean squared distance of joints in shoulder widths; poses ``(B, F, J, dims)``, seen ``(B, F, J)``."""
    return masked_mean(((predicted - target) ** 2).sum(dim=-1), seen)


@in_fp32
def bone_loss(predicted: torch.Tensor, target: torch.Tensor, seen: torch.Tensor, limbs: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of limb lengths in shoulder widths; poses ``(B, F, J, dims)``, seen ``(B, F, J)``, limbs ``(L, 2)``."""

    def lengths(poses):
        return torch.linalg.vector_norm(poses[..., limbs[:, 0], :] - poses[..., limbs[:, 1], :] + 1e-6, dim=-1)

    return masked_mean((lengths(predicted) - lengths(target)).abs(), seen[..., limbs[:, 0]] & seen[..., limbs[:, 1]])


@in_fp32
def agreement_loss(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """How far the student's features along the frames ``(B, T, W)`` are from the teacher's, which are held fixed; over ``mask`` ``(B, T)``.

    Cosine distance, and InfoNCE among the frames of a clip: a frame must be told from the others of its clip, so that what is
    small but decides, such as which of two equal letters it is, is not lost.
    """
    teacher = teacher.detach()
    near = F.normalize(student, dim=-1) @ F.normalize(teacher, dim=-1).transpose(1, 2) / FRAME_TEMPERATURE
    near = near.masked_fill(~mask[:, None], -1e4)
    target = torch.arange(near.shape[1], device=near.device).expand(len(near), -1)
    told_apart = masked_mean(F.cross_entropy(near.transpose(1, 2), target, reduction="none"), mask)
    return cosine_distance(student, teacher, mask) + FRAME_WEIGHT * told_apart
