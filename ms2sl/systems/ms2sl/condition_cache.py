"""What a model hears in utterances: features, and the conditions that its encoders make of them.

Shapes: B batch, N condition tokens, W width.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from cachetools import LRUCache
from torch.nn.utils.rnn import pad_sequence

from ms2sl.data.collate import TEXT_MULTIPLE, Collate
from ms2sl.data.label_fields import category_field
from ms2sl.data.signed_language import UNDETERMINED
from ms2sl.data.types import MODALITIES, Utterance
from ms2sl.errors import InputError
from ms2sl.features import same_featurizer
from ms2sl.inference.segmentation import check_readable
from ms2sl.systems.ms2sl.condition_encoders import Condition, expected_frames
from ms2sl.systems.ms2sl.model import MS2SL
from ms2sl.training.checkpoint import ModelCard

REMEMBERED = 64 * 2**20  # bytes of conditions that are kept for those who say the same again
BATCH = 32

SaidFeatures = tuple[np.ndarray | None, np.ndarray | None]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedUtterance:
    """One utterance: a Condition of one row by modality, its features as bytes, the frames that its signing takes, and what is chosen
    beside, ``(1, W)``."""

    conditions: Mapping[str, Condition]
    said: bytes
    frames: float
    chosen: torch.Tensor

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.said) + sum(condition.tokens.nbytes + condition.log_durations.nbytes for condition in self.conditions.values())

    def noise_seed(self, seed: int) -> int:
        """Another for each seed and for each thing said."""
        digest = hashlib.blake2b(self.said, digest_size=7, salt=(seed % 2**64).to_bytes(8, "little"))
        return int.from_bytes(digest.digest(), "little")


class ConditionEncoderCache:
    """Hears utterances by the featurizers and encoders of a model, and remembers what it heard last."""

    def __init__(self, model: MS2SL, card: ModelCard, device: torch.device):
        self.model, self.card, self.device = model, card, device
        self.collate = Collate(card.skeleton, card.text, card.speech)
        self._known: LRUCache[bytes, EncodedUtterance] = LRUCache(REMEMBERED, getsizeof=lambda heard: heard.size)

    def features(self, utterance: Utterance) -> SaidFeatures:
        """Features of its text and of its speech; None for what it lacks.

        Raises InputError if the model cannot say it: nothing to say, unknown letters, another sign language, a stranger.
        """
        self._check_choices(utterance)
        if utterance.text is None and utterance.speech is None:
            raise InputError(f"{utterance.id}: it has neither text nor speech")
        try:
            text = None if utterance.text is None else self._text(utterance.text)
            return text, None if utterance.speech is None else same_featurizer(self.card.speech, str(self.device))([utterance.speech])[0]
        except InputError as error:
            raise InputError(f"{utterance.id}: {error}") from None

    def _check_choices(self, utterance: Utterance) -> None:
        """Raises InputError if it asks for what the model did not learn."""
        for name, known in (self.card.choices or {}).items():
            asked = getattr(utterance, name)
            if asked not in (None, UNDETERMINED, *known):
                raise InputError(f"{utterance.id}: the model does not know the {name} {asked}; it learned {', '.join(known)}")

    def _text(self, text: str) -> np.ndarray:
        check_readable(text, self.card)
        return same_featurizer(self.card.text, str(self.device))([text])[0]

    @torch.no_grad()
    def __call__(self, utterances: Sequence[Utterance]) -> list[EncodedUtterance]:
        """Raises InputError as ``features`` does."""
        keys = [_key(utterance) for utterance in utterances]
        found = {key: self._known[key] for key in keys if key in self._known}
        new = {key: utterance for key, utterance in zip(keys, utterances, strict=True) if key not in found}
        said = {key: self.features(utterance) for key, utterance in new.items()}
        for given in {_given(features) for features in said.values()}:
            alike = [key for key in said if _given(said[key]) == given]
            alike.sort(key=lambda key: max(len(each) for each in said[key] if each is not None))
            for start in range(0, len(alike), BATCH):
                some = alike[start : start + BATCH]
                found |= zip(some, self._encode([said[key] for key in some], given, [new[key] for key in some]), strict=True)
        for key in new:
            if found[key].size <= self._known.maxsize:
                self._known[key] = found[key]
        return [found[key] for key in keys]

    def _encode(self, said: Sequence[SaidFeatures], given: tuple[str, ...], utterances: Sequence[Utterance]) -> list[EncodedUtterance]:
        batch = self.collate.batch([None] * len(said), *zip(*said, strict=True))
        choices = (self.card.choices or {}).items()
        asked = {name: category_field([getattr(utterance, name) for utterance in utterances], known) for name, known in choices}
        batch = batch.having(**asked).to(self.device)
        encoded, vectors = self.model.conditions(batch), self.model.chosen(batch)
        rows = [{modality: _row(encoded[modality], i) for modality in given} for i in range(len(said))]
        frames = expected_frames([encoded[modality] for modality in given]).tolist()
        content = [b"".join(each.tobytes() for each in features if each is not None) for features in said]
        return [EncodedUtterance(*each) for each in zip(rows, content, frames, vectors.split(1), strict=True)]


def one_after_another(sayings: Sequence[Sequence[Condition]], lengths: Sequence[Sequence[int]]) -> Condition:
    """A Condition with a row for each saying, whose parts, Conditions of one row, are said one after another.

    lengths: the frames of each part, in which its tokens keep their shares; so durations are in frames.
    """
    tokens = [torch.cat([part.tokens[0] for part in parts]) for parts in sayings]
    durations = [
        torch.cat([part.log_durations[0].log_softmax(dim=0) + np.log(n) for part, n in zip(parts, frames, strict=True)])
        for parts, frames in zip(sayings, lengths, strict=True)
    ]
    pieces = [torch.cat([torch.full_like(part.mask[0], i, dtype=torch.long) for i, part in enumerate(parts)]) for parts in sayings]
    n = torch.tensor([len(row) for row in tokens], device=tokens[0].device)
    fill = -int(n.max()) % TEXT_MULTIPLE
    padded = torch.nn.functional.pad(pad_sequence(tokens, batch_first=True), (0, 0, 0, fill))
    log_durations, piece = (torch.nn.functional.pad(pad_sequence(each, batch_first=True), (0, fill)) for each in (durations, pieces))
    mask = torch.arange(padded.shape[1], device=n.device) < n[:, None]
    first = sayings[0][0]
    return Condition(padded, mask, log_durations, torch.cat([parts[0].embedding for parts in sayings]), first.log_deviation, piece)


def _row(condition: Condition, i: int) -> Condition:
    row, real = slice(i, i + 1), condition.mask[i]
    of_row = (condition.tokens[row, real], real[None, real], condition.log_durations[row, real], condition.embedding[row])
    return Condition(*(each.clone() for each in of_row), condition.log_deviation)  # type: ignore[call-arg]


def _given(said: SaidFeatures) -> tuple[str, ...]:
    return tuple(modality for modality, features in zip(MODALITIES, said, strict=True) if features is not None)


def _key(utterance: Utterance) -> bytes:
    speech = utterance.speech and (utterance.speech.rate, utterance.speech.level)
    key = hashlib.blake2b(repr((utterance.text, utterance.signed_language, utterance.signer, speech)).encode())
    if utterance.speech is not None:
        key.update(np.ascontiguousarray(utterance.speech.waveform).data)
    return key.digest()
