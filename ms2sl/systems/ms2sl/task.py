"""MS2SL as a task of the training loop."""

import copy
from pathlib import Path

import torch
from torch import nn

from ms2sl.data.batch_sampler import split_batches
from ms2sl.data.collate import SPEECH, STANDARD, Batch, Collate
from ms2sl.data.dataset import Dataset, DatasetCard
from ms2sl.data.label_fields import category, gloss_ids
from ms2sl.data.modality_masking import MaskConfig, MaskingCollate
from ms2sl.data.signed_language import UNDETERMINED
from ms2sl.data.speech_augmentation import SpeechAugmentConfig, augmented_speech
from ms2sl.data.types import Poses
from ms2sl.io.storage import AnyPath
from ms2sl.metrics.motion import movement
from ms2sl.random_numbers import normal
from ms2sl.systems.ms2sl.condition_encoders import expected_frames
from ms2sl.systems.ms2sl.config import ModelConfig
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.model import MS2SL
from ms2sl.training import checkpoint
from ms2sl.training.distributed import all_sum

KIND = "ms2sl"
NOTHING_MASKED, NOTHING_CHANGED = MaskConfig(), SpeechAugmentConfig()
VALIDATION_BATCH, SAMPLING_STEPS = 64, 8


def choices(described: DatasetCard, model: ModelConfig) -> dict[str, tuple[str, ...]]:
    """What a model lets choose: in which sign language and like whom it signs, where it learns that from several."""
    learned = {
        "signed_language": described.signed_languages if model.language_condition else (),
        "signer": described.signers if model.signer_condition else (),
    }
    known = {name: tuple(value for value in values if value != UNDETERMINED) for name, values in learned.items()}
    return {name: values for name, values in known.items() if len(values) > 1}


def sizes(card: checkpoint.ModelCard) -> dict[str, int]:
    return {name: len(known) for name, known in (card.choices or {}).items()}


class MS2SLTask:
    """Trains MS2SL on a prepared dataset."""

    def __init__(
        self,
        dataset: Dataset,
        model: ModelConfig,
        weights: LossWeights,
        card: checkpoint.ModelCard,
        mask: MaskConfig = NOTHING_MASKED,
        augment: SpeechAugmentConfig = NOTHING_CHANGED,
    ):
        described = dataset.card
        if card.choices is None:
            glosses = described.glosses if model.reordering_layers else ()
            card = card.model_copy(update={"choices": choices(described, model), "glosses": glosses})
        self.dataset, self.weights, self.card = dataset, weights, card
        fields = [*STANDARD, *(category(name, known) for name, known in card.choices.items())]
        if card.glosses:
            fields.append(gloss_ids(card.glosses))
        self.whole = Collate(described.skeleton, described.text, described.speech, fields)
        heard = [augmented_speech(augment) if field is SPEECH else field for field in fields]
        self.collate = MaskingCollate(Collate(described.skeleton, described.text, described.speech, heard), mask)
        self.module = MS2SL(model, described.skeleton, described.text, described.speech, sizes(card), len(card.glosses))
        self.module.space.set_statistics(described.statistics)
        self._averaged = copy.deepcopy(self.module).eval()

    @property
    def lockstep(self) -> bool:
        return self.module.config.all_negatives

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        return module(batch, self.weights, generator)

    @torch.no_grad()
    def validate(self, weights: dict[str, torch.Tensor], rank: int, world_size: int, device: torch.device) -> dict[str, float]:
        """Every loss term over the validation split, and how much and how long the first samples move beside the real clips."""
        model = self._averaged.to(device)
        model.load_state_dict(weights)
        # Every rank sums the same values, even one that has no batch.
        motion = {f"{modality}_{what}": 0.0 for modality in ("real", "text", "speech") for what in ("moved", "frames")}
        sums = {"clips": 0.0} | {f"dev_{name}": 0.0 for name in model.loss_names} | motion
        batches = split_batches(self.dataset, self.dataset.validation, self.whole, VALIDATION_BATCH, rank, world_size)
        for index, batch in enumerate(batches):
            batch = batch.to(device)
            for name, value in model(batch, self.weights, torch.Generator().manual_seed(index * world_size + rank)).items():
                sums[f"dev_{name}"] += float(value) * len(batch)
            sums["clips"] += len(batch)
            if index == 0 and rank == 0:
                sums |= self._motion(model, batch)
        sums = all_sum(sums, device)
        metrics = {name: value / sums["clips"] for name, value in sums.items() if name.startswith("dev_")}
        for modality in ("text", "speech"):
            metrics[f"dev_amplitude_{modality}"] = sums[f"{modality}_moved"] / max(sums["real_moved"], 1e-9)
            metrics[f"dev_length_{modality}"] = sums[f"{modality}_frames"] / max(sums["real_frames"], 1)
        return metrics

    def _motion(self, model: MS2SL, batch: Batch) -> dict[str, float]:
        """Sums of hand speed and of frames, of real clips and of samples."""
        fps, skeleton = self.card.fps, self.card.skeleton

        def total(poses: torch.Tensor, seen: torch.Tensor, n_frames: torch.Tensor) -> float:
            clips = (Poses(p[:n].cpu().numpy(), c[:n].cpu().numpy(), fps) for p, c, n in zip(poses, seen, n_frames.tolist(), strict=True))
            return float(sum(movement(clip, skeleton) for clip in clips))

        sums = {"real_moved": total(batch.poses, batch.seen, batch.n_frames), "real_frames": float(batch.n_frames.sum())}
        for modality, condition in model.conditions(batch).items():
            n_frames = expected_frames([condition]).round().long().clamp(4, 4 * self.card.longest)
            size = len(batch), model.overhang + -(-int(n_frames.max()) // 4) * 4, model.features
            noise = model.noise(normal(*size, generator=torch.Generator().manual_seed(0), device=n_frames.device))
            made = model.generate([condition], n_frames, noise, SAMPLING_STEPS, chosen=model.chosen(batch))
            sums[f"{modality}_moved"] = total(*model.decode(made), n_frames)
            sums[f"{modality}_frames"] = float(n_frames.sum())
        return sums

    def save(self, folder: Path, weights: dict[str, torch.Tensor]) -> None:
        checkpoint.save(folder, self.card, weights)


def load(folder: AnyPath) -> tuple[MS2SL, checkpoint.ModelCard]:
    """A trained model, ready to sample. Raises InputError if the folder holds none."""
    card = checkpoint.read_card(folder, KIND)
    model = MS2SL(checkpoint.model_config(card, ModelConfig, folder), card.skeleton, card.text, card.speech, sizes(card), len(card.glosses))
    checkpoint.load_weights(model, folder)
    return model.eval(), card
