"""The terms of the training loss. Each is a mean over what is present, and 0 where nothing is.

A term is one ``Loss``: its weight becomes an option of training, and its value is reported (``ms2sl.systems.ms2sl.loss_weights``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch.nn import functional as F

from ms2sl.data.collate import Batch
from ms2sl.data.label_fields import NULL
from ms2sl.nn.losses import cosine_distance, ctc_loss, in_fp32, info_nce, masked_mean
from ms2sl.systems.ms2sl.condition_encoders import Condition
from ms2sl.training.distributed import gathered, largest

FRAME_TEMPERATURE, FRAME_WEIGHT = 0.1, 0.2


@dataclass(frozen=True, slots=True)
class Computed:
    """What a step of training has computed of a batch. Shapes: B batch, F frames, D pose features, T frame tokens, W width, E embedding.

    x0, predicted, known ``(B, F, D)``: clean and predicted pose features, and which of the clean ones are known. poses ``(B, F, joints,
    dims)``: predicted, normalised. limbs ``(L, 2)``: joints. along_text, along_speech, pseudo_text, pseudo_speech ``(B, T, W)``: conditions
    along the frames, and what each says of the other; inside ``(B, T)``: where there are real frames; shared ``(B, T)``: where a clip has
    both and poses. speech_share: of the clips with text or speech, those with speech. signs, returned, target ``(B, E)``: embeddings of the
    clean and of the predicted pose, and of what it was conditioned on; conditioned ``(B,)``: whether it was. all_negatives: whether pairs
    are told from the clips of all ranks. log_scale: of the joint space.
    ctc_logits: of speech tokens, None where text is no ids. gloss_logits: of frame tokens, None where no glosses are known.
    """

    batch: Batch
    x0: torch.Tensor
    known: torch.Tensor
    predicted: torch.Tensor
    poses: torch.Tensor
    limbs: torch.Tensor
    text: Condition
    speech: Condition
    along_text: torch.Tensor
    along_speech: torch.Tensor
    pseudo_text: torch.Tensor
    pseudo_speech: torch.Tensor
    inside: torch.Tensor
    shared: torch.Tensor
    speech_share: torch.Tensor
    signs: torch.Tensor
    returned: torch.Tensor
    target: torch.Tensor
    conditioned: torch.Tensor
    all_negatives: bool
    log_scale: torch.Tensor
    ctc_logits: torch.Tensor | None
    gloss_logits: torch.Tensor | None

    @property
    def posed(self) -> torch.Tensor:
        """bool ``(B,)``"""
        return self.batch.n_frames > 0

    @property
    def has_text(self) -> torch.Tensor:
        """bool ``(B,)``"""
        return self.batch.n_text > 0

    @property
    def has_speech(self) -> torch.Tensor:
        """bool ``(B,)``"""
        return self.batch.n_speech > 0


@dataclass(frozen=True)
class Loss:
    """A term of the loss. weight: by default; 0 switches it off. term: a scalar, of what was computed. needs: that without which there
    is no such term. former: names that it had, under which a weight may still be given."""

    name: str
    weight: float
    description: str
    term: Callable[[Computed], torch.Tensor]
    needs: Literal["text ids", "glosses"] | None = None
    former: tuple[str, ...] = ()


@in_fp32
def x0_mse_loss(predicted: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean squared error of pose features ``(B, F, D)`` over those that are known."""
    return masked_mean((predicted - target) ** 2, mask)


@in_fp32
def frame_delta_loss(predicted: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean squared error of frame-to-frame differences (Tevet et al. 2022, L_vel)."""
    return masked_mean((predicted.diff(dim=1) - target.diff(dim=1)) ** 2, mask[:, 1:] & mask[:, :-1])


@in_fp32
def joint_mse_loss(predicted: torch.Tensor, target: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Mean squared distance of joints in shoulder widths; poses ``(B, F, J, dims)``, seen ``(B, F, J)``."""
    return masked_mean(((predicted - target) ** 2).sum(dim=-1), seen)


@in_fp32
def bone_loss(predicted: torch.Tensor, target: torch.Tensor, seen: torch.Tensor, limbs: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of limb lengths in shoulder widths; poses ``(B, F, J, dims)``, seen ``(B, F, J)``, limbs ``(L, 2)``."""

    def lengths(poses):
        return torch.linalg.vector_norm(poses[..., limbs[:, 0], :] - poses[..., limbs[:, 1], :] + 1e-6, dim=-1)

    return masked_mean((lengths(predicted) - lengths(target)).abs(), seen[..., limbs[:, 0]] & seen[..., limbs[:, 1]])


@in_fp32
def frame_contrastive_loss(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
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


def x0_mse(c: Computed) -> torch.Tensor:
    return x0_mse_loss(c.predicted, c.x0, c.known)


def frame_delta(c: Computed) -> torch.Tensor:
    return frame_delta_loss(c.predicted, c.x0, c.known)


def joint_mse(c: Computed) -> torch.Tensor:
    return joint_mse_loss(c.poses, c.batch.poses, c.batch.seen)


def bone(c: Computed) -> torch.Tensor:
    return bone_loss(c.poses, c.batch.poses, c.batch.seen, c.limbs)


def length(c: Computed) -> torch.Tensor:
    of_text = masked_mean(c.text.length_nll(c.batch.n_frames), c.has_text & c.posed)
    return of_text + masked_mean(c.speech.length_nll(c.batch.n_frames), c.has_speech & c.posed)


def contrastive(c: Computed) -> torch.Tensor:
    loss = info_nce_of_all_ranks if c.all_negatives else info_nce
    of_text = loss(c.text.embedding, c.signs, c.has_text & c.posed, c.log_scale)
    of_speech = loss(c.speech.embedding, c.signs, c.has_speech & c.posed, c.log_scale)
    return of_text + of_speech + loss(c.text.embedding, c.speech.embedding, c.has_text & c.has_speech, c.log_scale)


@in_fp32
def info_nce_of_all_ranks(a: torch.Tensor, b: torch.Tensor, present: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """``info_nce`` of the rows of this rank ``(B, E)``, told from those of all ranks. Where ranks have as many of them, its mean over
    ranks, and that of its gradients, are as of one rank that has all rows. All ranks must call it."""
    longest = largest(len(a), a.device)
    first, there = dist.get_rank() * longest, gathered(present, longest)
    target = first + torch.arange(len(a), device=a.device)
    each = torch.zeros(len(a), device=a.device)
    for own, other in ((a, b), (b, a)):
        logits = log_scale.exp().clamp(max=100) * own @ gathered(other, longest).T
        logits = logits.masked_fill(~(present[:, None] & there[None]), -1e4)
        each = each + F.cross_entropy(logits, target, reduction="none") / 2
    return masked_mean(each, present)


def cycle(c: Computed) -> torch.Tensor:
    return cosine_distance(c.returned, c.target, c.posed & c.conditioned)


def frame_contrastive(c: Computed) -> torch.Tensor:
    """The modality that more clips have learns more, and is the one to follow."""
    by_speech = (1 - c.speech_share) * frame_contrastive_loss(c.along_speech, c.along_text, c.shared)
    return by_speech + c.speech_share * frame_contrastive_loss(c.along_text, c.along_speech, c.shared)


def cross_modal(c: Computed) -> torch.Tensor:
    of_speech = cosine_distance(c.pseudo_speech, c.along_speech.detach(), c.shared)
    return of_speech + cosine_distance(c.pseudo_text, c.along_text.detach(), c.shared)


def ctc(c: Computed) -> torch.Tensor:
    return ctc_loss(c.ctc_logits, c.speech.mask.sum(dim=1), c.batch.text, c.batch.n_text, c.has_text & c.has_speech)


def gloss_ctc(c: Computed) -> torch.Tensor:
    gloss = c.batch["gloss"]
    all_known = (gloss.lengths > 0) & ((gloss.values > NULL).sum(dim=1) == gloss.lengths)
    classes = (gloss.values - NULL - 1).clamp(min=0)
    return ctc_loss(c.gloss_logits, c.inside.sum(dim=1), classes, gloss.lengths, c.posed & c.conditioned & all_known)


LOSSES = (
    Loss("x0_mse", 1.0, "squared error of the predicted clean pose", x0_mse, former=("denoise",)),
    Loss("frame_delta", 0.5, "squared error of its frame-to-frame differences", frame_delta, former=("velocity",)),
    Loss(
        "joint_mse",
        20.0,
        "squared error of where its joints are, in shoulder widths: where a hand is counts for all its joints",
        joint_mse,
        former=("position",),
    ),
    Loss("bone", 0.1, "error of its limb lengths", bone),
    Loss("length", 0.1, "negative log-likelihood of the length", length),
    Loss("contrastive", 0.1, "InfoNCE over the pairs of text, speech and sign that are present", contrastive),
    Loss("cycle", 0.1, "ECL: the predicted pose must come back to the condition's embedding", cycle),
    Loss(
        "frame_contrastive", 0.5, "ECL: text and speech of one clip must agree along the frames", frame_contrastive, former=("agreement",)
    ),
    Loss("cross_modal", 0.5, "ECL: the priors behind pseudo-features; 0 also stops conditioning on them", cross_modal, former=("pseudo",)),
    Loss("ctc", 0.3, "CTC of the text from speech tokens (text ids only)", ctc, needs="text ids"),
    Loss("gloss_ctc", 0.3, "CTC of the glosses, in the order of signing, from what is said (glosses only)", gloss_ctc, needs="glosses"),
)
