"""A small recogniser of letters or glosses: poses → their sequence by CTC, trained on real poses only.

It judges produced signing. It does not see jitter or wrong places in the signing space well, so amplitude, jerk and
joint errors stand beside it.
"""

import copy
from collections.abc import Iterator, Sequence
from itertools import compress
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from rapidfuzz.distance import Levenshtein
from torch import nn
from torch.nn import functional as F

from ms2sl.config import TRAINING_ONLY, Config
from ms2sl.data.batch_sampler import split_batches
from ms2sl.data.collate import POSES, STANDARD, Batch, Collate
from ms2sl.data.dataset import Dataset
from ms2sl.data.label_fields import gloss_ids
from ms2sl.data.normalization import PoseNormalizer
from ms2sl.data.pose_augmentation import AugmentConfig, augmented
from ms2sl.data.types import Poses
from ms2sl.errors import InputError
from ms2sl.io.storage import AnyPath
from ms2sl.nn.losses import best_path, ctc_loss
from ms2sl.nn.transformer import Trunk, check_heads, length_mask
from ms2sl.random_numbers import normal
from ms2sl.systems.registry import System
from ms2sl.training import checkpoint
from ms2sl.training.distributed import all_sum

KIND = "recogniser"
DEV_ERROR = {"letters": "dev_letter_error", "glosses": "dev_gloss_error"}
IMPOSSIBLE = -50.0  # nats a byte


class RecogniserConfig(Config):
    """Shape of the recogniser, what it reads, and what it learns from beside the recordings themselves."""

    reads: Literal["letters", "glosses"] = Field("letters", description="what it writes: the letters of the text, or glosses")
    width: int = Field(96, gt=0, multiple_of=8, description="width of its transformer")
    heads: int = Field(4, gt=0, description="attention heads")
    layers: int = Field(2, gt=0, description="layers")
    noise: float = Field(
        0.2, ge=0, description="noise added to pose features in training, in standard deviations", json_schema_extra=TRAINING_ONLY
    )

    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of its transformer", json_schema_extra=TRAINING_ONLY)
    augment: AugmentConfig = AugmentConfig()

    @model_validator(mode="after")
    def _divisible(self) -> "RecogniserConfig":
        check_heads(self.width, self.heads)
        return self


class Recogniser(nn.Module):
    """Shapes: B batch, F frames, D pose features, W width, C distinct symbols that it knows: bytes of characters, or glosses."""

    def __init__(self, config: RecogniserConfig, collate: Collate, symbols: Sequence[int] | Sequence[str]):
        super().__init__()
        self.collate = collate
        skeleton = collate.skeleton
        self.config, self.symbols, self.reads = config, list(symbols), config.reads
        self._class = {symbol: i for i, symbol in enumerate(self.symbols)}
        self.space = PoseNormalizer(skeleton)
        features = skeleton.n_joints * skeleton.dims
        self.embed = nn.Linear(features, config.width)
        self.near = nn.Conv1d(config.width, config.width, 5, padding=2)
        self.trunk = Trunk(config.width, config.heads, config.layers, dropout=config.dropout)
        self.head = nn.Linear(config.width, len(self.symbols) + 1)

    @property
    def layers(self) -> list[nn.Module]:
        """Those that may be sharded, recomputed and compiled one by one."""
        return [*self.trunk.blocks]

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> torch.Tensor:
        """CTC logits ``(B, F, C + 1)``, the blank last; a generator adds the noise of training."""
        return self.head(self.states(batch, generator))

    def states(self, batch: Batch, generator: torch.Generator | None = None) -> torch.Tensor:
        """``(B, F, W)``"""
        features, known = self.space.encode(batch.poses, batch.seen)
        if generator is not None:
            features = features + known * self.config.noise * normal(*features.shape, generator=generator, device=features.device)
        mask = length_mask(batch.n_frames, features.shape[1])
        x = self.embed(features) * mask[..., None]
        x = x + self.near(x.transpose(1, 2)).transpose(1, 2)
        return self.trunk(x, mask | (torch.arange(mask.shape[1], device=mask.device) == 0))

    @torch.no_grad()
    def read(self, clips: Sequence[Poses]) -> list[str]:
        """The letters or glosses of the best path."""
        return [text for batch in self._batches(clips) for text in self.decode(self(batch), batch.n_frames)]

    @torch.no_grad()
    def likelihoods(self, clips: Sequence[Poses], texts: Sequence[str]) -> list[float]:
        """Mean log-likelihood of a byte of the true text (of a gloss), over all paths, at least ``IMPOSSIBLE``, which is what a clip gets
        that is too short to spell it; NaN for a text with symbols that it does not know."""
        encoded, found = [self.classes(text) for text in texts], []
        for batch in self._batches(clips):
            some, encoded = encoded[: len(batch)], encoded[len(batch) :]
            known = torch.tensor([bool(classes) for classes in some])
            targets = [classes or [0] for classes in some]
            n_targets = torch.tensor([len(target) for target in targets])
            padded = nn.utils.rnn.pad_sequence([torch.tensor(target) for target in targets], batch_first=True)
            log_p = self(batch).float().log_softmax(-1).transpose(0, 1).cpu()
            nll = F.ctc_loss(log_p, padded, batch.n_frames.cpu(), n_targets, blank=len(self.symbols), reduction="none")
            found += torch.where(known, (-nll / n_targets).clamp(min=IMPOSSIBLE), torch.nan).tolist()
        return found

    @torch.no_grad()
    def embeddings(self, clips: Sequence[Poses]) -> np.ndarray:
        """Mean state over the frames of each clip ``(clips, width)``."""
        means = []
        for batch in self._batches(clips):
            states = self.states(batch) * length_mask(batch.n_frames, batch.poses.shape[1])[..., None]
            means.append((states.sum(dim=1) / batch.n_frames[:, None]).float().cpu().numpy())
        return np.concatenate(means)

    def _batches(self, clips: Sequence[Poses]) -> Iterator[Batch]:
        for start in range(0, len(clips), 64):
            some = clips[start : start + 64]
            yield self.collate.batch(some, [None] * len(some), [None] * len(some)).to(self.head.weight.device)

    def classes(self, text: str) -> list[int] | None:
        """Of the symbols of a text; None if it has one that is not known."""
        pieces: Sequence = text.split() if self.reads == "glosses" else text.encode()
        return [self._class[piece] for piece in pieces] if all(piece in self._class for piece in pieces) else None

    def decode(self, logits: torch.Tensor, n_frames: torch.Tensor) -> list[str]:
        """Texts of the best paths."""
        return [self.text([self.symbols[i] for i in path]) for path in best_path(logits, n_frames)]

    def text(self, symbols: Sequence) -> str:
        return " ".join(symbols) if self.reads == "glosses" else bytes(symbols).decode(errors="replace")


class RecogniserTask:
    """Trains the recogniser; to read letters, batches must have text ids, that is the featurizer ``bytes``.

    Raises InputError if the dataset has not what is read.
    """

    def __init__(self, dataset: Dataset, config: RecogniserConfig, card: checkpoint.ModelCard):
        described = dataset.card
        if config.reads == "glosses":
            glosses = card.glosses or described.glosses  # the former of the model that it begins with
            if not described.splits["train"].with_gloss:
                raise InputError(f"{dataset} has no training clip with glosses, so there are none to read")
            if not set(described.glosses) & set(glosses):
                raise InputError(f"{dataset} has none of the glosses that the model reads, such as {', '.join(glosses[:3])}")
            card, fields = card.model_copy(update={"glosses": glosses}), [POSES, gloss_ids(glosses)]
        elif described.text.featurizer != "bytes":
            raise InputError(f"the letter recogniser needs a dataset whose text features are 'bytes', not '{described.text.featurizer}'")
        else:
            fields = list(STANDARD)
        if config.augment.mirror:
            described.skeleton.mirrored  # noqa: B018  raises where there is none
        self.dataset, self.card, self.config = dataset, card, config
        self.collate = Collate(described.skeleton, described.text, described.speech, fields)
        plain_collate = Collate(described.skeleton, described.text, described.speech)
        self.module = Recogniser(config, plain_collate, symbols(config, card))
        self.module.space.set_statistics(described.statistics)
        self._averaged = copy.deepcopy(self.module).eval()
        self._classes = torch.full((256,), -1)
        if config.reads == "letters":
            self._classes[torch.tensor(self.module.symbols)] = torch.arange(len(self.module.symbols))

    def _targets(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Classes ``(B, L)``, -1 of a symbol that is not known, how many; bool ``(B,)``: which clips have them and poses, and of which of
        these all are known, so that they can be learned from."""
        if self.config.reads == "letters":
            classes, lengths = self._classes.to(batch.text.device)[batch.text], batch.n_text
        else:
            classes, lengths = batch["gloss"].values - 1, batch["gloss"].lengths
        present = (lengths > 0) & (batch.n_frames > 0)
        return classes, lengths, present, present & ((classes >= 0) | ~length_mask(lengths, classes.shape[1])).all(dim=1)

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        if any(value for _, value in self.config.augment):
            batch = batch.having(poses=augmented(batch["poses"], self.collate.skeleton, self.config.augment, generator))
        targets, lengths, _, known = self._targets(batch)
        return {"loss": ctc_loss(module(batch, generator), batch.n_frames, targets.clamp(min=0), lengths, known)}

    @torch.no_grad()
    def validate(self, weights: dict[str, torch.Tensor], rank: int, world_size: int, device: torch.device) -> dict[str, float]:
        """Letter or gloss error on the dev split, in per cent."""
        model = self._averaged.to(device)
        model.load_state_dict(weights)
        edits = pieces = 0
        for batch in split_batches(self.dataset, self.dataset.validation, self.collate, 64, rank, world_size):
            batch = batch.to(device)
            read = best_path(model(batch), batch.n_frames)
            targets, lengths, present, _ = (each.tolist() for each in self._targets(batch))
            for hypothesis, classes, n in compress(zip(read, targets, lengths, strict=True), present):
                edits += Levenshtein.distance(hypothesis, classes[:n])
                pieces += n
        sums = all_sum({"edits": edits, "pieces": pieces}, device)
        return {DEV_ERROR[self.config.reads]: 100 * sums["edits"] / max(1, sums["pieces"])}

    def save(self, folder: Path, weights: dict[str, torch.Tensor]) -> None:
        checkpoint.save(folder, self.card, weights)


def symbols(config: RecogniserConfig, card: checkpoint.ModelCard) -> Sequence[int] | Sequence[str]:
    """What a recogniser writes: the glosses of its training, or the bytes of the characters."""
    return card.glosses if config.reads == "glosses" else sorted(set(card.characters.encode()))


def load(folder: AnyPath) -> Recogniser:
    """A trained recogniser. Raises InputError if the folder holds none."""
    card = checkpoint.read_card(folder, KIND)
    collate = Collate(card.skeleton, card.text, card.speech)
    config = checkpoint.model_config(card, RecogniserConfig, folder)
    model = Recogniser(config, collate, symbols(config, card))
    checkpoint.load_weights(model, folder)
    return model.eval()


SYSTEM = System(
    kind=KIND,
    description="Reads letters or glosses (CTC): the judge of fingerspelling and of signs.",
    inputs=frozenset({"poses"}),
    output="text",
    load=lambda source, context: load(source).to(context.device),
    Config=RecogniserConfig,
    task=lambda dataset, sections, card: RecogniserTask(dataset, sections[KIND], card),
)
