"""The back-translator as a task of the training loop."""

import copy
from pathlib import Path

import pyarrow as pa
import torch
from rapidfuzz.distance import Levenshtein
from torch import nn
from torch.nn import functional as F

from ms2sl.data.batch_sampler import split_batches
from ms2sl.data.collate import POSES, Batch, BatchField, Collate, FieldSpec
from ms2sl.data.dataset import Dataset
from ms2sl.errors import InputError
from ms2sl.io.storage import AnyPath
from ms2sl.nn.vocabulary import PAD, Vocabulary
from ms2sl.systems.translator.model import KIND, Translator, TranslatorConfig, target_field
from ms2sl.training import checkpoint
from ms2sl.training.distributed import all_sum

VALIDATION_BATCH = 64


def targets(vocabulary: Vocabulary) -> FieldSpec:
    """The field of the ids of what is said."""

    def make(table: pa.Table, collate: Collate) -> BatchField:
        return target_field(vocabulary, table["text"].to_pylist())

    return FieldSpec("targets", ("text",), make)


class TranslationTask:
    """Trains the back-translator on the real poses of a prepared dataset; clips without text or poses count for nothing."""

    def __init__(self, dataset: Dataset, config: TranslatorConfig, card: checkpoint.ModelCard):
        described = dataset.card
        if not described.splits["train"].with_text:
            raise InputError(f"{dataset.folder} has no training clip with text, so a back-translator has nothing to learn")
        if card.vocabulary:  # of the model that it begins with
            vocabulary = Vocabulary.load(card.vocabulary)
        else:
            texts = (text for table in dataset.tables("train", ["text"]) for text in table["text"].to_pylist() if text)
            vocabulary = Vocabulary.learn(texts, config.vocabulary, config.pieces)
        self.dataset, self.card = dataset, card.model_copy(update={"vocabulary": vocabulary.dump()})
        plain_collate = Collate(described.skeleton, described.text, described.speech)
        self.collate = Collate(described.skeleton, described.text, described.speech, (POSES, targets(vocabulary)))
        self.module = Translator(config, plain_collate, vocabulary)
        self.module.space.set_statistics(described.statistics)
        self._averaged = copy.deepcopy(self.module).eval()

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        logits = module(batch, generator)
        targets = torch.where((batch.n_frames > 0)[:, None], batch["targets"].values, PAD)
        options = {"ignore_index": PAD, "label_smoothing": self.module.config.smoothing, "reduction": "sum"}
        total = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), **options)
        return {"loss": total / (targets != PAD).sum().clamp(min=1)}

    @torch.no_grad()
    def validate(self, weights: dict[str, torch.Tensor], rank: int, world_size: int, device: torch.device) -> dict[str, float]:
        """Over the validation split: mean negative log-likelihood of a piece of the true text, letter and word error of what is read
        without a beam, in per cent."""
        model = self._averaged.to(device)
        model.load_state_dict(weights)
        sums = dict.fromkeys(("nll", "clips", "letter_edits", "letters", "word_edits", "words"), 0.0)
        for batch in split_batches(self.dataset, self.dataset.validation, self.collate, VALIDATION_BATCH, rank, world_size):
            batch = batch.to(device)
            there = ((batch["targets"].values != PAD).any(dim=1) & (batch.n_frames > 0)).tolist()
            likelihoods, read = model.log_likelihood(batch).tolist(), model.write(batch, beams=1)
            for given, likelihood, hypothesis, reference in zip(
                there, likelihoods, read, model.vocabulary.decode(batch["targets"].values), strict=True
            ):
                if not given:
                    continue
                words = reference.split()
                edits = Levenshtein.distance(hypothesis, reference), Levenshtein.distance(hypothesis.split(), words)
                found = {"nll": -likelihood, "clips": 1, "letter_edits": edits[0], "letters": len(reference)}
                found |= {"word_edits": edits[1], "words": len(words)}
                sums = {name: sums[name] + value for name, value in found.items()}
        sums = all_sum(sums, device)
        return {
            "dev_nll": sums["nll"] / max(1, sums["clips"]),
            "dev_letter_error": 100 * sums["letter_edits"] / max(1, sums["letters"]),
            "dev_word_error": 100 * sums["word_edits"] / max(1, sums["words"]),
        }

    def save(self, folder: Path, weights: dict[str, torch.Tensor]) -> None:
        checkpoint.save(folder, self.card, weights)


def load(folder: AnyPath) -> Translator:
    """A trained back-translator. Raises InputError if the folder holds none."""
    card = checkpoint.read_card(folder, KIND)
    collate = Collate(card.skeleton, card.text, card.speech)
    config = checkpoint.model_config(card, TranslatorConfig, folder)
    model = Translator(config, collate, Vocabulary.load(card.vocabulary))
    checkpoint.load_weights(model, folder)
    return model.eval()
