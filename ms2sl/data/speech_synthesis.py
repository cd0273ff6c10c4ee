"""Synthesised speech, and phonemes, by espeak-ng, called through ctypes (library and data from the package ``espeakng-loader``).

espeak-ng is GPL-3: an optional part at run time, not linked into anything that is shipped.
"""

import _ctypes
import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import soxr

from ms2sl.audio.speech import Speech
from ms2sl.errors import InputError
from ms2sl.extras import extra

RATE = 16_000
SYNCHRONOUS, UTF8, SSML, IPA = 2, 1, 0x10, 2
SPEED, PITCH = 1, 3
SILENCE = 0.01
SampleCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def espeak() -> ModuleType:
    """The package that holds espeak-ng. Raises InputError if it is not installed."""
    with extra("corpora"):
        import espeakng_loader
    return espeakng_loader


def _say(text: str, voice: str, words_per_minute: int, pitch: int, *, ssml: bool) -> Speech:
    with _library() as (library, rate, pieces):
        _choose(library, voice)
        library.espeak_SetParameter(SPEED, words_per_minute, 0)
        library.espeak_SetParameter(PITCH, pitch, 0)
        encoded = text.encode("utf-8")
        library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, UTF8 | (SSML if ssml else 0), None, None)
    loud = np.concatenate([np.zeros(0, np.int16), *pieces]).astype(np.float32) / 32768
    if not (np.abs(loud) > SILENCE).any():
        raise InputError(f"espeak-ng says nothing for '{text}'")
    return Speech(trimmed(loud, rate), RATE)


def _choose(library: ctypes.CDLL, voice: str) -> None:
    """Of a name of espeak-ng's or a BCP 47 tag; a region without a voice of its own has the one of the language."""
    names = voice, voice.split("-")[0]
    if all(library.espeak_SetVoiceByName(name.encode()) != 0 for name in names):
        raise InputError(f"espeak-ng has no voice for the language '{voice}': say which language is spoken")


@contextmanager
def _library() -> Iterator[tuple[ctypes.CDLL, int, list[np.ndarray]]]:
    """The library loaded anew, its sampling rate, and the list that it fills with pieces of sound.

    What it says depends on what it said before, through counters and random numbers that cannot all be reset. Loaded
    anew for each utterance (3 ms), it says the same every time.
    """
    package = espeak()
    library = ctypes.CDLL(package.get_library_path())
    pieces: list[np.ndarray] = []

    def collect(samples, count: int, _events) -> int:
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = SampleCallback(collect)
    try:
        rate = library.espeak_Initialize(SYNCHRONOUS, 0, package.get_data_path().encode(), 0)
        assert rate > 0, "espeak-ng did not start"
        ctypes.CDLL(None).srand(1)
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        library.espeak_SetSynthCallback(callback)
        yield library, rate, pieces
    finally:
        library.espeak_Terminate()
        _ctypes.dlclose(library._handle)


def trimmed(waveform: np.ndarray, rate: int) -> np.ndarray:
    """At ``RATE``, without silence at both ends."""
    loud = np.flatnonzero(np.abs(waveform) > SILENCE)
    if len(loud):
        waveform = waveform[loud[0] : loud[-1] + 1]
    return soxr.resample(waveform, rate, RATE)


def synthesise(text: str, voice: str = "en-us", words_per_minute: int = 160, pitch: int = 50) -> Speech:
    """Speech at 16 kHz without silence around it. ``pitch`` is 0 to 99. Raises InputError for an unknown voice."""
    return _say(text, voice, words_per_minute, pitch, ssml=False)


def phonemes(text: str, voice: str = "en-us") -> str:
    """The text in the International Phonetic Alphabet, with stress. Raises InputError for an unknown voice."""
    encoded = ctypes.create_string_buffer(text.encode("utf-8"))
    rest, clauses = ctypes.c_void_p(ctypes.addressof(encoded)), []
    with _library() as (library, _, _):
        _choose(library, voice)
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_int]
        while rest.value:  # which each call moves behind the clause that it has read
            clauses.append(library.espeak_TextToPhonemes(ctypes.byref(rest), UTF8, IPA).decode("utf-8"))
    return " ".join(clauses)


def spell(word: str, voice: str = "en-us", words_per_minute: int = 160, pitch: int = 50) -> Speech:
    """A word spelled aloud, letter by letter; a doubled letter is said twice."""
    letters = " ".join(f'<say-as interpret-as="characters">{letter}</say-as>' for letter in word)
    return _say(f"<speak>{letters}</speak>", voice, words_per_minute, pitch, ssml=True)
