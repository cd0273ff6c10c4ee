"""Synthesised speech by espeak-ng, called through ctypes (library and data from the package ``espeakng-loader``).

espeak-ng is GPL-3: an optional part at run time, not linked into anything that is shipped.
"""

import ctypes
from functools import cache

import espeakng_loader
import numpy as np
import soxr

from ms2sl.clip import Speech
from ms2sl.errors import InputError

RATE = 16_000
SYNCHRONOUS, UTF8, SSML = 2, 1, 0x10
SPEED, PITCH = 1, 3
SILENCE = 0.01
SampleCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """espeak-ng in this process; there can be one only, since the library keeps its state in globals."""

    def __init__(self):
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._rate = self._library.espeak_Initialize(SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
        assert self._rate > 0, "espeak-ng did not start"
        self._pieces: list[np.ndarray] = []
        self._callback = SampleCallback(self._collect)  # kept alive, or the library would call freed memory
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples, count: int, _events) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, text: str, voice: str, words_per_minute: int, pitch: int, ssml: bool) -> Speech:
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise InputError(f"espeak-ng has no voice '{voice}'")
        self._library.espeak_SetParameter(SPEED, words_per_minute, 0)
        self._library.espeak_SetParameter(PITCH, pitch, 0)
        self._pieces.clear()
        encoded = text.encode("utf-8")
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, UTF8 | (SSML if ssml else 0), None, None)
        if not self._pieces:
            raise InputError(f"espeak-ng says nothing for '{text}'")
        return Speech(_trim(np.concatenate(self._pieces).astype(np.float32) / 32768, self._rate), RATE)


def _trim(waveform: np.ndarray, rate: int) -> np.ndarray:
    loud = np.flatnonzero(np.abs(waveform) > SILENCE)
    if len(loud):
        waveform = waveform[loud[0] : loud[-1] + 1]
    return soxr.resample(waveform, rate, RATE)


@cache
def _engine() -> Espeak:
    return Espeak()


def synthesise(text: str, voice: str = "en-us", words_per_minute: int = 160, pitch: int = 50) -> Speech:
    """Speech at 16 kHz without silence around it. ``pitch`` is 0 to 99. Raises InputError for an unknown voice."""
    return _engine().say(text, voice, words_per_minute, pitch, ssml=False)


def spell(word: str, voice: str = "en-us", words_per_minute: int = 160, pitch: int = 50) -> Speech:
    """A word spelled aloud, letter by letter; a doubled letter is said twice."""
    letters = " ".join(f'<say-as interpret-as="characters">{letter}</say-as>' for letter in word)
    return _engine().say(f"<speak>{letters}</speak>", voice, words_per_minute, pitch, ssml=True)
