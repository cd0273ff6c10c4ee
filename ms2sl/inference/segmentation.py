"""Long utterances cut at natural places: sentences, clauses, words; pauses in speech."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from ms2sl.audio.loudness import ABOVE_NOISE, frame_length, frame_levels, is_silent, speech_level
from ms2sl.audio.speech import Speech
from ms2sl.data.types import Utterance
from ms2sl.errors import InputError
from ms2sl.text_normalization import normalise, plain
from ms2sl.training.checkpoint import ModelCard

LONGEST_TEXT = 120  # characters of a piece
QUOTED = 40  # characters of a text in an error
PLACES = (r"(?<=[.!?…。！？])\s*", r"(?<=[,;:،、，；：])\s*", r"\s+", r"")  # where to cut, the most natural first
MIDDLE = 0.6  # share of a piece, around its middle, in which it is halved
JOINER = "\u200d"  # makes one emoji of two
SILENT, NOISY = 40.0, 25.0  # decibels: how far below speech silence lies, at most and at least
PAUSE, MARGIN = 0.6, 0.06  # seconds: silence that parts utterances, and silence that is left around them


def segment(utterance: Utterance, card: ModelCard) -> Iterator[Utterance]:
    """Pieces that say the same one after the other, short enough to be heard at once.

    Their signing may still be too long (``split_in_two``). Text is normalised, and also cut at spaces and punctuation marks that a model of
    letters cannot read. The seconds are shared out. What has both text and speech is left whole. Raises InputError if there is nothing to
    sign, or what is no text.
    """
    if utterance.text is not None:
        try:
            utterance = replace(utterance, text=normalise(utterance.text))
        except InputError as error:
            raise InputError(f"{utterance.id}: {error}") from None
    if (utterance.text is None) == (utterance.speech is None):
        yield utterance
        return
    parts = _texts(utterance, card) if utterance.speech is None else _spoken(utterance)
    longest = LONGEST_TEXT if utterance.speech is None else card.longest / card.fps * utterance.speech.rate
    total = sum(map(_size, parts))
    for part in parts:
        share = _size(part) / total if len(parts) > 1 else 1
        yield from _short(replace(part, seconds=utterance.seconds and utterance.seconds * share), longest)


def check_readable(text: str, card: ModelCard) -> None:
    """Raises InputError if a model of letters never met one of these."""
    unknown = sorted(set(plain(text)) - set(card.characters))
    if card.text.vocabulary and unknown:
        quoted = text if len(text) <= QUOTED else f"{text[:QUOTED]}…"
        raise InputError(f"'{quoted}' has {', '.join(map(repr, unknown[:QUOTED]))} in it; the model learned only: {card.characters}")


def split_in_two(piece: Utterance) -> tuple[Utterance, ...]:
    """Two pieces that say the same one after the other, each with its share of the seconds; none if it cannot be cut."""
    if piece.text is not None and piece.speech is not None:
        return ()
    at = _natural_place(piece.text) if piece.speech is None else _quietest_place(piece.speech)
    if at is None:
        return ()
    if piece.speech is None:
        halves = [replace(piece, text=text.strip()) for text in (piece.text[:at], piece.text[at:])]
    else:
        halves = [replace(piece, speech=replace(piece.speech, waveform=half)) for half in np.split(piece.speech.waveform, [at])]
    if piece.seconds is None:
        return tuple(halves)
    share = _size(halves[0]) / sum(map(_size, halves))
    return replace(halves[0], seconds=piece.seconds * share), replace(halves[1], seconds=piece.seconds * (1 - share))


def _size(piece: Utterance) -> int:
    """Characters or samples."""
    return len(piece.text) if piece.speech is None else len(piece.speech.waveform)


def _short(piece: Utterance, longest: float) -> Iterator[Utterance]:
    halves = split_in_two(piece) if _size(piece) > longest else ()
    if not halves:
        yield piece
    for half in halves:
        yield from _short(half, longest)


def _texts(utterance: Utterance, card: ModelCard) -> list[Utterance]:
    text = utterance.text
    if card.text.vocabulary:
        readable = set(card.characters)
        text = "".join("\n" if c not in readable and _parts(c) else c for c in plain(text))
    texts = [stripped for part in text.split("\n") if (stripped := part.strip())] or [""]
    for part in texts:  # all of them, before the first is signed
        try:
            check_readable(part, card)
        except InputError as error:
            raise InputError(f"{utterance.id}: {error}") from None
    return [replace(utterance, text=part) for part in texts]


def _parts(character: str) -> bool:
    """Whether it may part words without being signed: spaces, punctuation marks, and what is invisible."""
    category = unicodedata.category(character)
    return category[0] in "ZP" or category == "Cf"


def _natural_place(text: str) -> int | None:
    for place in PLACES:
        found = [match.end() for match in re.finditer(place, text) if abs(match.end() / len(text) - 0.5) <= MIDDLE / 2]
        found = [at for at in found if text[:at].strip() and text[at:].strip() and not _joins(text[at - 1], text[at])]
        if found:
            return min(found, key=lambda at: abs(at - len(text) / 2))
    return None


def _joins(before: str, after: str) -> bool:
    """Whether the two make one character for those who read."""
    return unicodedata.category(after)[0] == "M" or JOINER in (before, after)


def _spoken(utterance: Utterance) -> list[Utterance]:
    """What is spoken between pauses, each with the level of the whole, so that what is quiet in it stays so."""
    speech, frame = utterance.speech, frame_length(utterance.speech.rate)
    loudness = frame_levels(speech.waveform, speech.rate)
    if speech.rate <= 0 or len(loudness) < 2 or not np.isfinite(loudness).all():
        return [utterance]  # of which the featurizer says what is wrong
    if is_silent(speech.waveform, speech.rate):
        raise InputError(f"{utterance.id}: nothing is heard in it: check the microphone")
    noise = np.percentile(loudness, 10)
    loud = loudness[loudness >= min(noise + ABOVE_NOISE, loudness.max())]
    loudest = np.percentile(loud, 95)
    heard = np.flatnonzero(loudness > min(max(loudest - SILENT, noise + ABOVE_NOISE), loudest - NOISY))
    breaks = [i + 1 for i, (a, b) in enumerate(pairwise(heard)) if (b - a) * frame > PAUSE * speech.rate]
    margin = round(MARGIN * speech.rate)
    spans = [(max(0, part[0] * frame - margin), (part[-1] + 1) * frame + margin) for part in np.split(heard, breaks)]
    whole = replace(speech, level=speech_level(speech.waveform, speech.rate))
    return [replace(utterance, speech=replace(whole, waveform=speech.waveform[begin:end])) for begin, end in spans]


def _quietest_place(speech: Speech) -> int | None:
    """Where a voice rests, near the middle."""
    loudness = np.convolve(frame_levels(speech.waveform, speech.rate), np.ones(3) / 3, mode="same")
    n = len(loudness)
    if n < 10:
        return None
    begin, end = round(n * (0.5 - MIDDLE / 2)), round(n * (0.5 + MIDDLE / 2))
    quietest = begin + int(loudness[begin:end].argmin())
    return quietest * frame_length(speech.rate) + frame_length(speech.rate) // 2
