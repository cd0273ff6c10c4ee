"""Losses that several systems share, each a mean over what is present and 0 where nothing is; and CTC decoding."""

import functools
from collections.abc import Callable

import torch
from torch.nn import functional as F


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
