"""MS2SL: the whole model, and the loss of one batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from ms2sl.data.collate import Batch
from ms2sl.data.label_fields import NULL
from ms2sl.data.normalization import PoseNormalizer, fill_unseen
from ms2sl.data.skeleton import Skeleton
from ms2sl.features.base import Features
from ms2sl.nn.diffusion import (
    SCHEDULES,
    SamplerName,
    diffuse,
    overhang,
    sample,
    sampling_times,
    smooth_noise,
)
from ms2sl.nn.transformer import length_mask
from ms2sl.random_numbers import normal, uniform
from ms2sl.systems.ms2sl.condition_encoders import Choices, Condition, ConditionEncoder, CrossModalMapper, GaussianUpsampler, Reorderer
from ms2sl.systems.ms2sl.config import ModelConfig
from ms2sl.systems.ms2sl.denoiser import Denoiser, SignEncoder, patch_mask, patch_times
from ms2sl.systems.ms2sl.loss_weights import ALL_LOSSES, LossWeights
from ms2sl.systems.ms2sl.losses import Computed, Loss
from ms2sl.training.distributed import is_together

NO_CHOICE: Mapping[str, int] = {}
# Shares of training clips of which nobody says in which sign language they are, or who signs. A language is nearly always asked for where
# there are several, a signer seldom.
UNCHOSEN = {"signed_language": 0.1, "signer": 0.5}
BOTH = 0.2  # share of the clips with text and speech that are conditioned on both


@dataclass(slots=True)
class InpaintingWindow:
    """A window of frames of a longer signing, of which some are made already (diffusion models complete what is given of a sample:
    Lugmayr et al. 2022, RePaint; Tevet et al. 2023, MDM).

    first ``(B,)``: frame of the whole at which the window begins; lengths ``(B, P)``: frames of each piece of the whole, 0 for none.
    known ``(B, F, joints, dims)``: normalised poses; seen ``(B, F, joints)``: which joints of them are; weight ``(B, F)``: how far the
    result is to be them, from 0 to 1.
    """

    first: torch.Tensor
    lengths: torch.Tensor
    known: torch.Tensor
    seen: torch.Tensor
    weight: torch.Tensor


class MS2SL(nn.Module):
    """Shapes: B batch, F frames, D features, T frame tokens, N condition tokens, W width, E embedding.

    Features are those of the poses, and where the model learns visibility, one of each part of the body (``PoseNormalizer.visibility``).
    """

    def __init__(
        self,
        config: ModelConfig,
        skeleton: Skeleton,
        text: Features,
        speech: Features,
        choices: Mapping[str, int] = NO_CHOICE,
        glosses: int = 0,
    ):
        """choices: how many values there are of what may be chosen (``Choices``). glosses: how many its training clips have."""
        super().__init__()
        self.config, self.skeleton = config, skeleton
        self.schedule = SCHEDULES[config.schedule]
        self.space = PoseNormalizer(skeleton)
        self.coordinates = skeleton.n_joints * skeleton.dims
        self.features = self.coordinates + (len(skeleton.parts) if config.visibility else 0)
        shape: dict[str, Any] = {"width": config.width, "heads": config.heads, "dropout": config.dropout}
        encoder = shape | {"layers": config.encoder_layers, "embedding": config.embedding}
        self.text = ConditionEncoder(text, **encoder, speech_rate=config.speech_rate)
        self.speech = ConditionEncoder(speech, **encoder, speech_rate=config.speech_rate)
        self.sign = SignEncoder(self.coordinates, patch=config.patch, **encoder)
        self.choices = Choices(choices, config.width)
        self.aligner = GaussianUpsampler(config.width)
        self.reorderer = Reorderer(layers=config.reordering_layers, glosses=glosses, **shape)
        self.text_to_speech, self.speech_to_text = CrossModalMapper(config.width), CrossModalMapper(config.width)
        self.ctc = nn.Linear(config.width, text.vocabulary + 1) if text.vocabulary else None
        self.log_scale = nn.Parameter(torch.tensor([2.7]))
        self.null = nn.Parameter(torch.zeros(config.width))
        self.denoiser = Denoiser(self.features, layers=config.denoiser_layers, patch=config.patch, overlap=config.overlap, **shape)
        self.register_buffer("limbs", torch.from_numpy(skeleton.limbs), persistent=False)

    def forward(self, batch: Batch, weights: LossWeights, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """The terms of the loss, unweighted, and their weighted sum as ``loss``.

        generator: it decides conditions, times and noise.
        """
        posed, has_text, has_speech = batch.n_frames > 0, batch.n_text > 0, batch.n_speech > 0
        x0, known = self._encode(batch.poses, batch.seen, batch.n_frames)
        chosen = self.choices(self._dropped(self.choices.ids(batch), generator), x0)
        text, speech = self.text(batch.text, batch.n_text, chosen), self.speech(batch.speech, batch.n_speech, chosen)
        frames = x0.shape[1]
        times = patch_times(frames, self.config.patch, x0.device)
        along_text, along_speech = self.aligner(text, batch.n_frames, times), self.aligner(speech, batch.n_frames, times)
        pseudo_speech, pseudo_text = self.text_to_speech(along_text), self.speech_to_text(along_speech)

        choice = self._choose(has_text, has_speech, weights.cross_modal > 0, generator)  # type: ignore[attr-defined]
        along_both = (along_text + along_speech) / 2
        aligned = torch.stack([self.null.expand_as(along_text), along_text, along_speech, pseudo_text, pseudo_speech, along_both])
        aligned = aligned[choice, torch.arange(len(batch), device=x0.device)]
        sources = (self.null.expand(len(batch), 1, -1), text.tokens, speech.tokens)
        from_text, from_speech = ((choice == one) | (choice == pseudo) | (choice == 5) for one, pseudo in ((1, 4), (2, 3)))
        context = torch.cat(sources, dim=1)
        context_mask = torch.cat([(choice == 0)[:, None], text.mask & from_text[:, None], speech.mask & from_speech[:, None]], dim=1)

        inside = patch_mask(batch.n_frames, frames, self.config.patch)
        aligned = self.reorderer(aligned, inside, context, context_mask)

        t = uniform(len(batch), generator=generator, device=x0.device)
        noise = self.noise(normal(len(batch), frames + self.overhang, self.features, generator=generator, device=x0.device))
        noisy = diffuse(x0, noise, t, self.schedule) * self._real(batch.n_frames, frames)
        predicted = self._denoise(noisy, t, batch.n_frames, chosen, aligned, context, context_mask)

        signs, both = self.sign(self._coordinates(x0 * known), batch.n_frames), has_text & has_speech
        computed = Computed(
            batch=batch,
            x0=x0,
            known=known,
            predicted=predicted,
            poses=self.space.decode(self._coordinates(predicted)),
            limbs=self.limbs,
            text=text,
            speech=speech,
            along_text=along_text,
            along_speech=along_speech,
            pseudo_text=pseudo_text,
            pseudo_speech=pseudo_speech,
            inside=inside,
            shared=both[:, None] & posed[:, None] & inside,
            speech_share=has_speech.sum() / (has_text.sum() + has_speech.sum()).clamp(min=1),
            signs=signs,
            returned=self._returned(self._coordinates(predicted * known), batch.n_frames),
            target=joint_embedding([text.embedding * from_text[:, None], speech.embedding * from_speech[:, None]]).detach(),
            conditioned=choice > 0,
            all_negatives=self.config.all_negatives and self.training and is_together(),
            log_scale=self.log_scale[0],
            ctc_logits=None if self.ctc is None else self.ctc(speech.tokens),
            gloss_logits=self.reorderer.gloss_logits(aligned),
        )
        losses = {loss.name: loss.term(computed) for loss in self.losses}
        return losses | {"loss": sum(getattr(weights, name) * value for name, value in losses.items())}

    @property
    def layers(self) -> list[nn.Module]:
        """Those that may be sharded, recomputed and compiled one by one; not of the sign encoder, of which the loss needs the weights."""
        return [*self.text.trunk.blocks, *self.speech.trunk.blocks, *self.reorderer.blocks, *self.denoiser.blocks]

    @property
    def losses(self) -> list[Loss]:
        """The terms of its loss."""
        there = {"text ids": self.ctc is not None, "glosses": self.reorderer.gloss is not None}
        return [loss for loss in ALL_LOSSES if loss.needs is None or there[loss.needs]]

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Keys of what ``forward`` returns."""
        return ("loss", *(loss.name for loss in self.losses))

    def _choose(self, has_text, has_speech, pseudo: bool, generator) -> torch.Tensor:
        """What each row is conditioned on ``(B,)``: 0 nothing, 1 text, 2 speech, 3 pseudo-text from speech, 4 pseudo-speech from text,
        5 text and speech.

        Both modalities get the same share where pseudo-features stand in for the missing one.
        """
        draw = uniform(2, len(has_text), generator=generator, device=has_text.device)
        wants_speech = draw[0] < 0.5
        either = torch.where((draw[0] - 0.5).abs() < BOTH / 2, 5, torch.where(wants_speech, 2, 1))
        without_speech = torch.where(wants_speech & pseudo, 4, 1)
        without_text = torch.where(wants_speech | (not pseudo), 2, 3)
        choice = torch.where(has_speech, torch.where(has_text, either, without_text), without_speech)
        return torch.where((draw[1] < self.config.cond_drop_prob) | ~(has_text | has_speech), 0, choice)

    def _dropped(self, ids: Mapping[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        """With some of them unknown, as they are of who asks for nothing."""
        return {
            name: torch.where(uniform(len(of_clips), generator=generator, device=of_clips.device) < UNCHOSEN[name], NULL, of_clips)
            for name, of_clips in ids.items()
        }

    def _denoise(self, noisy: torch.Tensor, t: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
        """The predicted clean features ``(B, F, D)``, whatever the denoiser's prediction type. given: what it takes after ``t``."""
        output = self.denoiser(noisy, t, *given)
        return output if self.config.prediction_type == "sample" else self.schedule.clean(noisy, output, t[:, None, None])

    @property
    def overhang(self) -> int:
        """Frames of white noise that come before those of a signing."""
        return overhang(self.config.noise_length)

    def noise(self, white: torch.Tensor) -> torch.Tensor:
        """The noise ``(B, F, D)`` from which signing is made, of white noise ``(B, overhang + F, D)``."""
        return smooth_noise(white, self.config.noise_length)

    def _real(self, n_frames: torch.Tensor, frames: int) -> torch.Tensor:
        """bool ``(B, F, D)``: features of frames within the length and of joints that the corpus has."""
        used = F.pad(self.space.used, (0, self.features - self.coordinates), value=True)
        return length_mask(n_frames, frames)[..., None] & used

    def _encode(self, poses: torch.Tensor, seen: torch.Tensor, n_frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features ``(B, F, D)`` of normalised poses, and which of them are known. What is not seen has a place too, so that what the
        denoiser looks at has no jumps."""
        features, known = self.space.encode(poses, seen)
        if not self.config.visibility:
            return features, known
        visibility = self.space.visibility(seen)
        inside = length_mask(n_frames, poses.shape[1])[..., None]
        features = torch.cat([fill_unseen(features, known), visibility], dim=2) * inside
        return features, torch.cat([known, inside.expand_as(visibility)], dim=2)

    def _coordinates(self, features: torch.Tensor) -> torch.Tensor:
        return features[..., : self.coordinates]

    def _returned(self, predicted, n_frames) -> torch.Tensor:
        """Embedding of the denoised pose. The sign encoder is held fixed, or it would learn to forgive."""
        fixed = {name: value.detach() for name, value in self.sign.named_parameters()}
        return functional_call(self.sign, fixed, (predicted, n_frames))

    def conditions(self, batch: Batch) -> Mapping[str, Condition]:
        chosen = self.chosen(batch)
        return {"text": self.text(batch.text, batch.n_text, chosen), "speech": self.speech(batch.speech, batch.n_speech, chosen)}

    def chosen(self, batch: Batch) -> torch.Tensor:
        """What is chosen for each row ``(B, W)``."""
        return self.choices(self.choices.ids(batch), batch.n_frames)

    @torch.no_grad()
    def embed_signs(self, batch: Batch) -> torch.Tensor:
        """Unit vectors of real or produced poses ``(B, E)``."""
        return self.sign(self.space.encode(batch.poses, batch.seen)[0], batch.n_frames)

    @torch.no_grad()
    def generate(
        self,
        conditions: Sequence[Condition],
        n_frames: torch.Tensor,
        noise: torch.Tensor,
        steps: int,
        guidance: float = 1.0,
        sampler: SamplerName = "ddim",
        part: InpaintingWindow | None = None,
        chosen: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Features ``(B, F, D)``, for ``decode``, from ``noise`` of this shape; F is a multiple of 4, rows end at ``n_frames``.

        conditions: text, speech or both. guidance: 1 follows the condition, more exaggerates it (Ho & Salimans 2022: null + guidance
        (conditional - null)), while there is much noise (``guidance_from``; Kynkäänniemi et al. 2024). part: of the signing of the
        conditions; None is all of it. chosen ``(B, W)``: None is nothing.
        """
        said = self._laid_out(conditions, n_frames, noise.shape[1], part)
        nothing = self._nothing(n_frames, noise.shape[1]) if guidance != 1.0 else ()
        chosen = self.choices({}, noise) if chosen is None else chosen
        real = self._real(n_frames, noise.shape[1])
        known = None if part is None else self._encode(part.known, part.seen, n_frames)[0]

        guided = iter(
            [guidance != 1.0 and t >= self.config.guidance_from for t in sampling_times(steps, self.config.sampling_shift).tolist()]
        )

        def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            predicted = self._denoise(x * real, t, n_frames, chosen, *said)
            if next(guided):
                free = self._denoise(x * real, t, n_frames, chosen, *nothing)
                predicted = free + guidance * (predicted - free)
            return predicted if part is None else torch.lerp(predicted, known, part.weight[..., None])

        return sample(denoise, noise, steps, self.schedule, sampler, self.config.sampling_shift)

    def _laid_out(
        self, conditions: Sequence[Condition], n_frames: torch.Tensor, frames: int, part: InpaintingWindow | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What is said, as the denoiser takes it for ``frames``: along the frame tokens in the order of signing, piece by piece, the tokens
        themselves and their mask."""
        patch = self.config.patch
        lengths = n_frames[:, None] if part is None else part.lengths
        first = torch.zeros_like(n_frames) if part is None else part.first
        ends = lengths.cumsum(dim=1)
        whole = ends[:, -1]
        times = patch_times(-(-int(whole.max()) // patch) * patch, patch, whole.device) + (first % patch)[:, None]
        aligned = torch.stack([self.aligner(condition, whole, times) for condition in conditions]).mean(dim=0)
        context, mask = (torch.cat([getattr(condition, name) for condition in conditions], dim=1) for name in ("tokens", "mask"))
        of_token = torch.cat(
            [torch.zeros_like(each.mask, dtype=torch.long) if each.piece is None else each.piece for each in conditions], dim=1
        )
        of_frame = torch.searchsorted(ends.to(times.dtype), times, right=True).minimum((lengths > 0).sum(dim=1, keepdim=True) - 1)
        alike = (of_frame[:, None] == of_frame[..., None]) & (times - patch / 2 < whole[:, None])[:, None]
        about = (of_token[:, None] == of_frame[..., None]) & mask[:, None]
        aligned = self.reorderer(aligned, alike, context, about)
        tokens = (first // patch)[:, None] + torch.arange(frames // patch, device=whole.device)
        aligned = aligned.take_along_dim(tokens.clamp(max=aligned.shape[1] - 1)[..., None], dim=1)
        return aligned, context, mask

    def _nothing(self, n_frames: torch.Tensor, frames: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same where nothing is said."""
        inside = patch_mask(n_frames, frames, self.config.patch)
        context, mask = self.null.expand(len(n_frames), 1, -1), torch.ones_like(inside[:, :1])
        return self.reorderer(self.null.expand(*inside.shape, -1), inside, context, mask), context, mask

    def decode(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised poses ``(B, F, joints, dims)``, and which joints are seen, bool ``(B, F, joints)``."""
        poses = self.space.decode(self._coordinates(features))
        if not self.config.visibility:
            return poses, self.space.seen.expand(poses.shape[:3])
        return poses, self.space.seen_joints(features[..., self.coordinates :])


def joint_embedding(embeddings: Sequence[torch.Tensor]) -> torch.Tensor:
    """The unit vector ``(B, E)`` between unit vectors of one clip; rows of zeros count for nothing."""
    return F.normalize(torch.stack(list(embeddings)).sum(dim=0), dim=-1)
