"""Sentences composed of recordings of single signs.

Recordings come from a prepared dataset: its clips of one sign (``jobs.prepare --corpus takes``), or the stretches that its gloss times
name. Sentences come from a grammar or a table (``ms2sl.corpora.grammar``). Neither a recording nor a sentence of one split is in another,
except where a split is for just that:

=================  =========================  =========================
split              recordings of              sentences of
=================  =========================  =========================
train              train                      train
dev                dev                        dev
test               test                       test
unseen_take        test                       train
unseen_sentence    train                      test
unseen_signer      unseen_signer              test
=================  =========================  =========================
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import Field

from ms2sl.config import Config
from ms2sl.corpora.grammar import Grammar, Sentence, SentenceList, read_sentences, split_of
from ms2sl.corpora.signs import Sign, Signs
from ms2sl.corpora.stitching import FINE_RATE, Segment, join, resample, transition
from ms2sl.data.dataset import Dataset
from ms2sl.data.types import Clip, Poses
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath
from ms2sl.io.uri import PathOrUri

# Of each split, those of the recordings and of the sentences.
SPLITS = {
    "test": ("test", "test"),
    "dev": ("dev", "dev"),
    "unseen_take": ("test", "train"),
    "unseen_sentence": ("train", "test"),
    "unseen_signer": ("unseen_signer", "test"),
    "train": ("train", "train"),
}
SHORTEST, LONGEST, REACH = 0.2, 0.5, 4.0  # seconds of the way from sign to sign, and shoulder widths a second at which it is gone
TRIES = 2000  # draws without a sentence of the split that somebody can sign


class ComposedConfig(Config):
    """Which signs, which sentences, how many of each split."""

    takes: PathOrUri = Field("", description="prepared dataset of single signs, or of clips with gloss times")
    sentences: PathOrUri = Field("", description="grammar (.yaml), or table with text, gloss and perhaps split")
    signers: Literal["one", "several"] = Field("one", description="who signs a sentence: one person, or any person each sign")
    only_signers: str = Field("", description="whose recordings are used, with commas between them; by default everybody's")
    train: int = Field(3000, gt=0, description="training sentences")
    dev: int = Field(200, ge=0, description="sentences to validate on")
    test: int = Field(200, ge=0, description="sentences to judge by, of recordings and sentences that training has not")
    unseen_take: int = Field(0, ge=0, description="sentences of training, of recordings that it has not")
    unseen_sentence: int = Field(0, ge=0, description="sentences that training has not, of its recordings")
    unseen_signer: int = Field(0, ge=0, description="sentences that training has not, by signers that it has not")
    dev_sentences: float = Field(0.1, ge=0, lt=1, description="share of sentences for dev, where a table does not say the split")
    test_sentences: float = Field(0.2, ge=0, lt=1, description="share of sentences for test, where a table does not say the split")
    speed: float = Field(0.1, ge=0, lt=0.5, description="how much faster or slower than it was recorded a sign may be, as a share")
    spoken_language: str = Field("", description="BCP 47 tag of the sentences, where a grammar does not say it")
    seed: int = Field(0, ge=0, description="seed of everything")


@dataclass(frozen=True, slots=True)
class _Plan:
    """A clip before it is made: signer is "" where several sign."""

    split: str
    number: int
    sentence: Sentence
    signer: str


class Composed:
    """Clips by index; the same seed gives the same clips in any order and any process."""

    name, Config = "composed", ComposedConfig

    def __init__(self, config: ComposedConfig):
        for option in ("takes", "sentences"):
            if not getattr(config, option):
                raise InputError(f"say where the {option} are: --composed.{option} PATH")
        self.config, self.dataset = config, Dataset(config.takes)
        self.skeleton, self.fps = self.dataset.skeleton, self.dataset.card.fps
        self.only = {name.strip() for name in config.only_signers.split(",") if name.strip()}

    @cached_property
    def sentences(self) -> Grammar | SentenceList:
        return read_sentences(StoragePath(self.config.sentences))

    @cached_property
    def signs(self) -> dict[str, Signs]:
        """Of each split of recordings that is needed."""
        needed = dict.fromkeys(recordings for split, (recordings, _) in SPLITS.items() if getattr(self.config, split))
        if lacking := [split for split in needed if split not in self.dataset.card.splits]:
            wanted = [split for split, (recordings, _) in SPLITS.items() if recordings == lacking[0]]
            reason = f"{self.dataset} has no split {lacking[0]}, of which {' and '.join(wanted)} would be made"
            raise InputError(f"{reason}; it has: {', '.join(self.dataset.card.splits)}")
        found = {split: self._of_some(Signs(self.dataset, split)) for split in needed}
        there = set().union(*(signs.by_gloss for signs in found.values()))
        if lacking := sorted(self.sentences.glosses - there):
            raise InputError(
                f"{self.config.sentences} has glosses without a recording: {', '.join(lacking)}; there are: {', '.join(sorted(there))}"
            )
        return found

    def _of_some(self, signs: Signs) -> Signs:
        if lacking := sorted(self.only - {name for by in signs.by_gloss.values() for name in by}) if self.only else []:
            raise InputError(f"--composed.only-signers: there is no {', '.join(lacking)} in the split {signs.split} of {self.dataset}")
        if self.only:
            kept = {gloss: {name: some for name, some in by.items() if name in self.only} for gloss, by in signs.by_gloss.items()}
            signs.by_gloss = {gloss: by for gloss, by in kept.items() if by}
        return signs

    @cached_property
    def plans(self) -> list[_Plan]:
        plans = []
        for place, split in enumerate(SPLITS):
            rng = np.random.default_rng((self.config.seed, place))
            plans += [self._plan(split, number, rng) for number in range(getattr(self.config, split))]
        return plans

    def _plan(self, split: str, number: int, rng: np.random.Generator) -> _Plan:
        recordings, wanted = SPLITS[split]
        signs, unsigned, sentences = self.signs[recordings], 0, self.sentences
        if isinstance(sentences, SentenceList):
            sentences = sentences.of(wanted, self.config.dev_sentences, self.config.test_sentences)
        for _ in range(TRIES if sentences.count else 0):
            sentence = sentences.draw(rng)
            if not (sentence.text and sentence.glosses):  # of slots that may be empty
                continue
            if split_of(sentence, self.config.dev_sentences, self.config.test_sentences) != wanted:
                continue
            if self.config.signers == "several":
                if all(gloss in signs.by_gloss for gloss in sentence.glosses):
                    return _Plan(split, number, sentence, "")
            elif signers := signs.signers(sentence.glosses):
                return _Plan(split, number, sentence, signers[rng.integers(len(signers))])
            unsigned += 1
        reason = f"nobody in its split {recordings} has a recording of all signs" if unsigned else "none came"
        hint = "--composed.signers several joins recordings of several people" if unsigned else "see --composed.test-sentences"
        raise InputError(f"no sentence for the split {split} was found in {TRIES} draws: of those of {wanted}, {reason} ({hint})")

    @cached_property
    def splits(self) -> dict[str, range]:
        splits: dict[str, range] = {}
        for i, plan in enumerate(self.plans):
            splits[plan.split] = range(splits[plan.split].start if plan.split in splits else i, i + 1)
        return splits

    def id(self, index: int) -> str:
        return f"{self.plans[index].split}-{self.plans[index].number:05d}"

    def digest(self) -> str:
        return f"{self.dataset.card.fingerprint} {StoragePath(self.config.sentences).stamp()}"

    def clip(self, index: int) -> Clip:
        """Joined of recordings, in shoulder widths."""
        plan, config = self.plans[index], self.config
        rng = np.random.default_rng((config.seed, list(SPLITS).index(plan.split), plan.number, 1))
        signs = self.signs[SPLITS[plan.split][0]]
        chosen = [self._recording(signs, gloss, plan.signer, rng) for gloss in plan.sentence.glosses]
        most = config.speed / 2  # of the sentence, and as much again of each sign
        pace = rng.uniform(-most, most)
        segments = [_at_speed(signs.poses(sign), 1 + pace + rng.uniform(-most, most)) for sign in chosen]
        hands = self.skeleton.hands
        between = [transition(one, other, _seconds(one, other, hands)) for one, other in pairwise(segments)]
        joints, confidence, times = join(segments, between, self.fps)
        languages = {sign.signed_language for sign in chosen}
        return Clip(
            id=self.id(index),
            split=plan.split,
            spoken_language=config.spoken_language or self.sentences.spoken_language,
            signed_language=languages.pop() if len(languages) == 1 else "und",
            text=plan.sentence.text,
            gloss=" ".join(plan.sentence.glosses),
            gloss_times=times,
            signer=plan.signer or None,
            poses=Poses(joints.astype(np.float32), confidence.astype(np.float32), self.fps),
        )

    def _recording(self, signs: Signs, gloss: str, signer: str, rng: np.random.Generator) -> Sign:
        by_signer = signs.by_gloss[gloss]
        some = by_signer[signer] if self.config.signers == "one" else [sign for name in sorted(by_signer) for sign in by_signer[name]]
        return some[rng.integers(len(some))]

    def card(self) -> dict:
        recordings = {split: signs.count for split, signs in self.signs.items()}
        handless = sum(signs.handless for signs in self.signs.values())
        return {
            "description": "Sentences joined from recordings of single signs; the way from sign to sign is computed.",
            "takes": {
                "dataset": str(self.dataset),
                "fingerprint": self.dataset.card.fingerprint,
                "recordings": recordings,
                "handless": handless,
            },
            "sentences": self.sentences.count,
            "options": self.config.model_dump(mode="json"),
        }


def _at_speed(poses: Poses, speed: float) -> Segment:
    """At the fine rate, ``speed`` times as fast as it was recorded."""
    frames = max(2, round(poses.seconds / speed * FINE_RATE))
    places = np.minimum(np.arange(frames) * speed * poses.fps / FINE_RATE, poses.n_frames - 1)
    return Segment(_resample_seen(poses, places), poses.confidence[np.round(places).astype(int)])


def _resample_seen(poses: Poses, places: np.ndarray) -> np.ndarray:
    """Where a joint is seen at one side alone, it stands there: what is unseen is at no place."""
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, poses.n_frames - 1)
    seen = poses.confidence > 0
    joints = resample(poses.joints, places)
    only_low, only_high = seen[low] & ~seen[high], ~seen[low] & seen[high]
    joints = np.where(only_low[..., None], poses.joints[low], joints)
    return np.where(only_high[..., None], poses.joints[high], joints)


def _seconds(one: Segment, other: Segment, hands: np.ndarray) -> float:
    """Of the way from one sign to the next: by how far the hands that both see have to go."""
    both = (one.confidence[-1, hands] > 0) & (other.confidence[0, hands] > 0)
    if not both.any():
        return (SHORTEST + LONGEST) / 2
    far = np.linalg.norm(one.joints[-1, hands] - other.joints[0, hands], axis=-1)[both].max()
    return float(np.clip(far / REACH, SHORTEST, LONGEST))
