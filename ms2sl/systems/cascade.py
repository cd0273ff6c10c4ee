"""Speech → text → signing: what a producer from text makes of what a recogniser of speech heard."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from ms2sl.audio.loudness import USUAL_LEVEL
from ms2sl.audio.speech import Speech
from ms2sl.config import Config
from ms2sl.data.types import Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.inference.producer import Producer, WholeProducer
from ms2sl.nn.losses import best_path
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from ms2sl.systems.registry import Context, System, load_producer
from ms2sl.text_normalization import plain

OWN = "own"


class SpeechRecognizer(Protocol):
    """Hears what is said."""

    def __call__(self, speech: Sequence[Speech]) -> list[str]: ...


class Cascade(WholeProducer):
    """Listens to speech alone, and signs what it understood: of that, with a producer that knows some characters only, those."""

    name = "cascade"

    def __init__(self, ear: SpeechRecognizer, producer: Producer, characters: str | None = None):
        self.ear, self.producer, self.characters = ear, producer, characters
        self.skeleton, self.fps, self.Options, self.options = producer.skeleton, producer.fps, producer.Options, producer.options

    def sign(self, utterances: Sequence[Utterance], options: Config, seed: int) -> list[Poses]:
        for utterance in utterances:
            if utterance.speech is None:
                raise InputError(f"{utterance.id}: a cascade needs speech")
        heard = self.ear([utterance.speech for utterance in utterances]) if utterances else []
        texts = [replace(utterance, text=self._known(text), speech=None) for utterance, text in zip(utterances, heard, strict=True)]
        return self.producer.produce(texts, options, seed=seed)

    def _known(self, text: str) -> str:
        return text if self.characters is None else "".join(letter for letter in plain(text) if letter in self.characters)


class OwnSpeechRecognizer:
    """The head by which MS2SL learned to hear: best path of the CTC that trains its speech encoder. Raises InputError if it has none."""

    def __init__(self, producer: MS2SLProducer):
        if producer.model.ctc is None:
            raise InputError("this model has no ear of its own, since its text features are no bytes: give it a recogniser of speech")
        self.producer = producer

    @torch.no_grad()
    def __call__(self, speech: Sequence[Speech]) -> list[str]:
        features = [self.producer.features(Utterance(str(i), speech=each)) for i, each in enumerate(speech)]
        batch = self.producer.collate.batch([None] * len(speech), *zip(*features, strict=True)).to(self.producer.device)
        encoded = self.producer.model.conditions(batch)["speech"]
        logits = self.producer.model.ctc(encoded.tokens)
        return [bytes(path).decode(errors="replace") for path in best_path(logits, encoded.mask.sum(dim=1))]


class PretrainedSpeechRecognizer:
    """A recogniser of speech of ``transformers`` (CTC or Whisper's kind), from a folder or by its name on the hub.

    Raises InputError if there is none of that name.
    """

    def __init__(self, name: str, device: str = "cpu"):
        from transformers import pipeline

        try:
            self.recognise = pipeline("automatic-speech-recognition", model=name, device=device)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = (str(error) or repr(error)).splitlines()[0]
            raise InputError(f"'{name}' is no recogniser of speech that transformers can load: {reason}") from None

    def __call__(self, speech: Sequence[Speech]) -> list[str]:
        rate = self.recognise.feature_extractor.sampling_rate
        return [self._hear(each.at_level(USUAL_LEVEL).resampled(rate).waveform, rate) for each in speech]

    def _hear(self, waveform: np.ndarray, rate: int) -> str:
        try:
            return self.recognise({"raw": waveform, "sampling_rate": rate})["text"].strip()
        except (RuntimeError, ValueError) as error:
            advice = ", record at least one word" if len(waveform) < rate / 10 else ""
            raise InputError(f"the recogniser makes nothing of {len(waveform) / rate:.3f} s of speech{advice}: {error}") from None


def open_recognizer(name: str, producer: Producer, device: str = "cpu") -> SpeechRecognizer:
    """The model's own recogniser of speech (``own``), or a pretrained one. Raises InputError if there is none."""
    if name != OWN:
        return PretrainedSpeechRecognizer(name, device)
    if not isinstance(producer, MS2SLProducer):
        raise InputError(f"a {producer.name} model has no recogniser of speech of its own: name a pretrained one")
    return OwnSpeechRecognizer(producer)


def load(source: str, context: Context, asr: str = OWN) -> Cascade:
    """source: folder of the model that signs the text. asr: ``own``, or a recogniser of speech of ``transformers``."""
    producer = load_producer(source, context)
    card = producer.card
    return Cascade(open_recognizer(asr, producer, context.device), producer, card.characters if card.text.vocabulary else None)


SYSTEM = System("cascade", "Speech is written down, and the text signed by a model.", frozenset({"speech"}), "poses", load)
