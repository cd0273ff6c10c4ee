"""A small recogniser of letters: poses → text by CTC, trained on real poses only.

It judges produced signing. It does not see jitter or wrong places in the signing space well, so amplitude, jerk and
joint errors stand beside it.
"""

import copy
from collections.abc import Iterator, Sequence
from itertools import compress
from pathlib import Path

import numpy as np
import torch
from pydantic import Field, model_validator
from rapidfuzz.distance import Levenshtein
from torch import nn
from torch.nn import functional as F

from ms2sl.config import TRAINING_ONLY, Config
from ms2sl.data.batch_sampler import split_batches
from ms2sl.data.collate import Batch, Collate
from ms2sl.data.dataset import Dataset
from ms2sl.data.normalization import PoseNormalizer
from ms2sl.data.types import Poses
from ms2sl.errors import InputError
from ms2sl.nn.losses import best_path, ctc_loss
from ms2sl.nn.transformer import Trunk, check_heads, length_mask
from ms2sl.systems.registry import System
from ms2sl.training import checkpoint
from ms2sl.training.distributed import all_sum

KIND = "recogniser"
IMPOSSIBLE = -50.0  # nats a byte


class RecogniserConfig(Config):
    """Shape of the recogniser."""

    width: int = Field(96, gt=0, multiple_of=8, description="width of its transformer")
    heads: int = Field(4, gt=0, description="attention heads")
    layers: int = Field(2, gt=0, description="layers")
    noise: float = Field(
        0.2, ge=0, description="noise added to pose features in training, in standard deviations", json_schema_extra=TRAINING_ONLY
    )

    @model_validator(mode="after")
    def _divisible(self) -> "RecogniserConfig":
        check_heads(self.width, self.heads)
        return self


class Recogniser(nn.Module):
    """Shapes: B batch, F frames, D pose features, W width, C distinct bytes of the characters that it knows."""

    sentences = False

    def __init__(self, config: RecogniserConfig, collate: Collate, characters: str):
        super().__init__()
        self.collate = collate
        skeleton = collate.skeleton
        self.config, self.bytes = config, sorted(set(characters.encode()))
        self.space = PoseNormalizer(skeleton)
        features = skeleton.n_joints * skeleton.dims
        self.embed = nn.Linear(features, config.width)
        self.near = nn.Conv1d(config.width, config.width, 5, padding=2)
        self.trunk = Trunk(config.width, config.heads, config.layers, dropout=0.1)
        self.head = nn.Linear(config.width, len(self.bytes) + 1)

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> torch.Tensor:
        """CTC logits ``(B, F, C + 1)``, the blank last; a generator adds the noise of training."""
        return self.head(self.states(batch, generator))

    def states(self, batch: Batch, generator: torch.Generator | None = None) -> torch.Tensor:
        """``(B, F, W)``"""
        features, known = self.space.encode(batch.poses, batch.seen)
        if generator is not None:
            features = features + known * self.config.noise * torch.randn(features.shape, generator=generator).to(features.device)
        mask = length_mask(batch.n_frames, features.shape[1])
        x = self.embed(features) * mask[..., None]
        x = x + self.near(x.transpose(1, 2)).transpose(1, 2)
        return self.trunk(x, mask | (torch.arange(mask.shape[1], device=mask.device) == 0))

    @torch.no_grad()
    def read(self, clips: Sequence[Poses]) -> list[str]:
        """What is fingerspelled, by best path."""
        return [text for batch in self._batches(clips) for text in self.decode(self(batch), batch.n_frames)]

    @torch.no_grad()
    def likelihoods(self, clips: Sequence[Poses], texts: Sequence[str]) -> list[float]:
        """Mean log-likelihood of a byte of the true text, over all paths, at least ``IMPOSSIBLE``, which is what a clip gets that is too
        short to spell it; NaN for a text with bytes that it does not know."""
        encoded, found = [text.encode() for text in texts], []
        for batch in self._batches(clips):
            some, encoded = encoded[: len(batch)], encoded[len(batch) :]
            known = torch.tensor([bool(text) and set(text) <= set(self.bytes) for text in some])
            targets = [[self.bytes.index(byte) for byte in text] if can else [0] for text, can in zip(some, known.tolist(), strict=True)]
            n_targets = torch.tensor([len(target) for target in targets])
            padded = nn.utils.rnn.pad_sequence([torch.tensor(target) for target in targets], batch_first=True)
            log_p = self(batch).float().log_softmax(-1).transpose(0, 1).cpu()
            nll = F.ctc_loss(log_p, padded, batch.n_frames.cpu(), n_targets, blank=len(self.bytes), reduction="none")
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

    def decode(self, logits: torch.Tensor, n_frames: torch.Tensor) -> list[str]:
        """Texts of the best paths."""
        return [bytes(self.bytes[i] for i in path).decode(errors="replace") for path in best_path(logits, n_frames)]


class RecogniserTask:
    """Trains the recogniser; batches must have text ids, that is the featurizer ``bytes``."""

    def __init__(self, dataset: Dataset, config: RecogniserConfig, card: checkpoint.ModelCard):
        described = dataset.card
        if described.text.featurizer != "bytes":
            raise InputError(f"the letter recogniser needs a dataset whose text features are 'bytes', not '{described.text.featurizer}'")
        self.dataset, self.card = dataset, card
        self.collate = Collate(described.skeleton, described.text, described.speech)
        self.module = Recogniser(config, self.collate, card.characters)
        self.module.space.set_statistics(described.statistics)
        self._averaged = copy.deepcopy(self.module).eval()
        self._classes = torch.zeros(256, dtype=torch.int64)
        self._classes[torch.tensor(self.module.bytes)] = torch.arange(len(self.module.bytes))

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        present = (batch.n_text > 0) & (batch.n_frames > 0)
        targets = self._classes.to(batch.text.device)[batch.text]
        return {"loss": ctc_loss(module(batch, generator), batch.n_frames, targets, batch.n_text, present)}

    @torch.no_grad()
    def validate(self, weights: dict[str, torch.Tensor], rank: int, world_size: int, device: torch.device) -> dict[str, float]:
        """Letter error on the dev split, in per cent."""
        model = self._averaged.to(device)
        model.load_state_dict(weights)
        errors = letters = 0
        for batch in split_batches(self.dataset, self.dataset.validation, self.collate, 64, rank, world_size):
            read = model.decode(model(batch.to(device)), batch.n_frames)
            given = ((batch.n_text > 0) & (batch.n_frames > 0)).tolist()
            for hypothesis, ids, n in compress(zip(read, batch.text.tolist(), batch.n_text.tolist(), strict=True), given):
                errors += Levenshtein.distance(hypothesis, bytes(ids[:n]).decode(errors="replace"))
                letters += n
        sums = all_sum({"errors": errors, "letters": letters}, device)
        return {"dev_letter_error": 100 * sums["errors"] / max(1, sums["letters"])}

    def save(self, folder: Path, weights: dict[str, torch.Tensor]) -> None:
        checkpoint.save(folder, self.card, weights)


def load(folder: Path) -> Recogniser:
    """A trained recogniser. Raises InputError if the folder holds none."""
    card = checkpoint.read_card(folder, KIND)
    collate = Collate(card.skeleton, card.text, card.speech)
    model = Recogniser(checkpoint.model_config(card, RecogniserConfig, folder), collate, card.characters)
    checkpoint.load_weights(model, folder)
    return model.eval()


SYSTEM = System(
    kind=KIND,
    description="Reads letters (CTC): the judge of fingerspelling.",
    inputs=frozenset({"poses"}),
    output="text",
    load=lambda source, context: load(Path(source)).to(context.device),
    Config=RecogniserConfig,
    task=lambda dataset, sections, card: RecogniserTask(dataset, sections[KIND], card),
)
