"""The terms of the training loss. Each is a mean over what is present, and 0 where nothing is."""

import functools
from collections.abc import Callable

import torch
from pydantic import Field
from torch.nn import functional as F

from ms2sl.config import Config

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


def in_fp32(loss: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The loss computed in fp32 even under autocast, which would round its matrix products to the 8 bits of bf16."""

    @functools.wraps(loss)
    def computed(first: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        tensors = (each.float() if each.is_floating_point() else each for each in (first, *others))
        with torch.autocast(first.device.type, enabled=False):
            return loss(*tensors)

    return computed


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of ``values`` where ``mask``, of the same shape; 0 if it is nowhere."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


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
def info_nce(a: torch.Tensor, b: torch.Tensor, present: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """Symmetric InfoNCE (van den Oord et al. 2018; CLIP) of unit vectors ``(B, E)`` over the rows that are ``present``."""
    logits = log_scale.exp().clamp(max=100) * a @ b.T
    logits = logits.masked_fill(~(present[:, None] & present[None]), -1e4)
    target = torch.arange(len(a), device=a.device)
    each = (F.cross_entropy(logits, target, reduction="none") + F.cross_entropy(logits.T, target, reduction="none")) / 2
    return masked_mean(each, present)


@in_fp32
def cosine_distance(a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """1 - cosine of the last axis, over ``mask`` (the shape without that axis)."""
    return masked_mean(1 - F.cosine_similarity(a, b, dim=-1), mask)


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


@in_fp32
def ctc_loss(logits, n_tokens, targets, n_targets, present) -> torch.Tensor:
    """CTC (Graves et al. 2006) a target token, over rows ``present``; the last class is the blank. logits ``(B, N, classes)``."""
    blank = logits.shape[-1] - 1
    each = F.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1), targets, n_tokens, n_targets, blank=blank, reduction="none", zero_infinity=True
    )
    return masked_mean(each / n_targets.clamp(min=1), present)


def best_path(logits: torch.Tensor, lengths: torch.Tensor) -> list[list[int]]:
    """What CTC decodes: the likeliest class of each position, repeats merged, blanks (the last class) dropped.

    logits ``(B, N, classes)``, lengths ``(B,)``.
    """
    blank = logits.shape[-1] - 1
    merged = (torch.unique_consecutive(best[:n]).tolist() for best, n in zip(logits.argmax(-1).cpu(), lengths.tolist(), strict=True))
    return [[i for i in path if i != blank] for path in merged]
