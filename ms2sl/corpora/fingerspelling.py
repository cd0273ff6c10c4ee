"""The embedded corpus: words and codes fingerspelled, from real recordings of manual alphabets.

It is fingerspelling stitched from ONE recording a letter. A model of it shows composition, alignment and generalisation to
unseen letter sequences; it shows nothing of new handshapes or signers, and it is no sign language as a whole.

Terms: the package ``spoken-to-signed`` is MIT; the recordings in it carry no licence or credit of their own. They are read
from the installed package and never redistributed.
"""

import itertools
from importlib.metadata import version
from importlib.resources import files

import numpy as np
from pydantic import Field, model_validator

from ms2sl.audio.speech import Speech
from ms2sl.config import Config
from ms2sl.corpora import stitching
from ms2sl.corpora.augmentation import degraded
from ms2sl.corpora.letters import alphabet, spoken_language
from ms2sl.data import speech_synthesis
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.data.types import Clip
from ms2sl.errors import InputError

SPLITS = ("test", "dev", "long", "train")
ENGLISH_VOICES = ("en-us", "en-us+f2", "en-us+m3", "en-us+f4", "en-gb-x-rp", "en-gb-x-rp+f3", "en-gb-scotland", "en-gb-x-rp+m2")
VARIANTS = ("", "+f2", "+m3", "+f4", "+m1", "+f3", "+m4", "+m2")
WORDS_PER_MINUTE = 150  # of speech that goes with signing at ordinary speed


class FingerspellingConfig(Config):
    """What to spell, how much of it, and what to leave out."""

    signed_language: str = Field("ase", description="ISO 639-3 code of the sign language; ase is American")
    train: int = Field(3000, gt=0, description="training clips")
    dev: int = Field(200, gt=0, description="clips to validate on")
    test: int = Field(200, gt=0, description="clips to judge by")
    long: int = Field(0, ge=0, description="clips of a fourth split: longer than any in training")
    min_letters: int = Field(3, gt=0, description="letters of the shortest clips")
    max_letters: int = Field(5, gt=0, description="letters of the longest clips")
    fps: float = Field(12.5, gt=0, le=100, description="frames a second")
    words: float = Field(0.1, ge=0, le=1, description="share of English words, as far as they reach; the others are codes")
    doubled: float = Field(0.1, ge=0, lt=1, description="chance that a letter of a code repeats the one before")
    missing_speech: float = Field(0.1, ge=0, le=1, description="share of training clips without speech")
    missing_text: float = Field(0.1, ge=0, le=1, description="share of training clips without text")
    degraded: float = Field(0.8, ge=0, le=1, description="share of training clips whose speech sounds like a poor recording")
    seed: int = Field(0, ge=0, description="seed of everything")

    @model_validator(mode="after")
    def _possible(self) -> "FingerspellingConfig":
        if self.max_letters < self.min_letters:
            raise ValueError("max_letters is below min_letters")
        if self.missing_speech + self.missing_text > 1:
            raise ValueError("missing_speech and missing_text add up to more than 1, so some clips would have neither")
        return self


class Fingerspelling:
    """Clips by index; the same seed gives the same clips in any order and any process."""

    name, Config = "fingerspelling", FingerspellingConfig
    skeleton = HOLISTIC_49X2

    def __init__(self, config: FingerspellingConfig):
        self.config, self.fps = config, config.fps
        self.letters = alphabet(config.signed_language)
        self.spoken_language = spoken_language(config.signed_language)
        self._texts: list[str] = []
        self.splits: dict[str, range] = {}
        taken: set[str] = set()
        # Test first: a larger training set then leaves it as it is.
        for split in SPLITS:
            start = len(self._texts)
            self._texts += self._sequences(split, taken)
            if len(self._texts) > start:
                self.splits[split] = range(start, len(self._texts))

    def __len__(self) -> int:
        return len(self._texts)

    def id(self, index: int) -> str:
        split, number = self._place(index)
        return f"{self.config.signed_language}-{split}-{number:05d}"

    def digest(self) -> str:
        return ""  # its options say all

    def _place(self, index: int) -> tuple[str, int]:
        split = next(name for name, span in self.splits.items() if index in span)
        return split, index - self.splits[split].start

    def clip(self, index: int) -> Clip:
        """The clip at ``index``, 0 to ``len`` - 1; poses are in pixels, as in a corpus of videos."""
        split, number = self._place(index)
        rng = np.random.default_rng((self.config.seed, SPLITS.index(split), number))
        lacks, text = rng.random(), self._texts[index]
        speed = rng.uniform(0.8, 1.25)
        manner = stitching.Manner(speed, rng.uniform(80, 130), (rng.normal(256, 20), rng.normal(256, 20)))
        repeats = [False, *(before == after for before, after in itertools.pairwise(text))]
        poses, times = stitching.spell([self.letters[letter] for letter in text], repeats, manner, self.fps, rng)
        without_speech = split == "train" and lacks < self.config.missing_speech
        speech = None if without_speech else self._speech(text, speed, rng)
        if speech is not None and split == "train":
            speech = self._recorded(speech, number)
        without_text = split == "train" and lacks >= 1 - self.config.missing_text
        return Clip(
            id=self.id(index),
            split=split,
            spoken_language=self.spoken_language,
            signed_language=self.config.signed_language,
            text=None if without_text else text,
            gloss=" ".join(text),
            gloss_times=times,
            speech=speech,
            speech_source=None if speech is None else "synthesised",
            poses=poses,
        )

    def card(self) -> dict:
        """What the corpus is, for ``dataset.json``."""
        return {
            "description": "Fingerspelled words and codes, stitched from one real recording a letter; not sign language as a whole.",
            "source": f"spoken-to-signed {version('spoken-to-signed')}: {len(self.letters)} letters of {self.config.signed_language}",
            "speech": f"synthesised: espeak-ng from espeakng-loader {version('espeakng-loader')}",
            "terms": "The package is MIT; the recordings carry no licence of their own. Do not redistribute them.",
            "letters": "".join(self.letters),
            "options": self.config.model_dump(),
        }

    def _speech(self, text: str, speed: float, rng: np.random.Generator) -> Speech:
        language = self.spoken_language
        voices = ENGLISH_VOICES if language == "en" else [language + variant for variant in VARIANTS]
        pace = WORDS_PER_MINUTE * speed * rng.uniform(0.95, 1.05)
        return speech_synthesis.spell(text, voices[rng.integers(len(voices))], round(pace), int(rng.integers(35, 66)))

    def _recorded(self, speech: Speech, number: int) -> Speech:
        """As training clip ``number`` has it. It draws by itself, so that nothing else of a clip depends on how much is degraded."""
        rng = np.random.default_rng((self.config.seed, SPLITS.index("train"), number, 1))
        return degraded(speech, rng) if rng.random() < self.config.degraded else speech

    def _sequences(self, split: str, taken: set[str]) -> list[str]:
        """As many new letter sequences as the split needs; adds them to ``taken``."""
        config = self.config
        shortest, longest = (
            (config.max_letters + 1, config.max_letters + 3) if split == "long" else (config.min_letters, config.max_letters)
        )
        needed, possible = getattr(config, split), sum(len(self.letters) ** n for n in range(shortest, longest + 1))
        if needed > possible / 2:
            raise InputError(
                f"{needed} clips for {split} are too many: there are only {possible} sequences of {shortest} to {longest} letters"
            )
        rng = np.random.default_rng((config.seed, SPLITS.index(split)))
        words = [word for word in self._words() if shortest <= len(word) <= longest]
        rng.shuffle(words)
        found: list[str] = []
        while len(found) < needed:
            sequence = words.pop() if words and rng.random() < config.words else self._code(rng, int(rng.integers(shortest, longest + 1)))
            if sequence not in taken:
                taken.add(sequence)
                found.append(sequence)
        return found

    def _code(self, rng: np.random.Generator, length: int) -> str:
        letters = list(self.letters)
        code = [letters[rng.integers(len(letters))]]
        while len(code) < length:
            code.append(code[-1] if rng.random() < self.config.doubled else letters[rng.integers(len(letters))])
        return "".join(code)

    def _words(self) -> list[str]:
        if self.spoken_language != "en":
            return []
        words = files("ms2sl.corpora").joinpath("words_en.txt").read_text(encoding="utf-8").split()
        return sorted({word for word in words if set(word) <= set(self.letters)})
