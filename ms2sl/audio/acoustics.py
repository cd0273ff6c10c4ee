"""Speech as it is heard elsewhere: in noise, in a room, near and far from a microphone, faster or slower.

Levels are as in ``ms2sl.audio.loudness``.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ms2sl.audio.loudness import speech_level
from ms2sl.audio.speech import Speech

SNR = 5.0, 40.0  # decibels between the speech and the noise
EXPONENT = 0.0, 2.0  # by which the power of noise falls with its frequency: from white to brown noise
BABBLE = 0.3  # chance that the noise is somebody else's speech
ROOM = 0.5  # chance that it is heard in a room
RT60 = 0.1, 0.7  # reverberation time: seconds in which the sound of a room falls by 60 dB
DRR = 0.0, 12.0  # direct-to-reverberant ratio: decibels by which what comes straight is louder than all that the walls send back
GAIN = -25.0, 10.0  # decibels; what is then too loud is clipped


def coloured_noise(samples: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """float32 ``(samples,)`` of mean power 1, which falls with that power of the frequency (Timmer & König 1995)."""
    frequencies = np.arange(samples // 2 + 1)
    spectrum = rng.standard_normal((2, len(frequencies))) * np.maximum(frequencies, 1) ** (-exponent / 2)
    spectrum[:, 0] = 0
    noise = np.fft.irfft(spectrum[0] + 1j * spectrum[1], samples)
    return (noise / np.sqrt(np.mean(noise**2))).astype(np.float32)


def add_noise(speech: Speech, noise: np.ndarray, snr: float) -> Speech:
    """With noise whose mean power is ``snr`` decibels below the level of the speech; noise that is shorter is repeated, of longer noise
    the beginning is taken. Silence, on either side, stays as it is."""
    noise, level = np.resize(noise, len(speech.waveform)), speech_level(speech.waveform, speech.rate)
    power = np.mean(np.square(noise, dtype=np.float64))
    if level is None or power == 0:
        return speech
    return replace(speech, waveform=speech.waveform + noise * np.float32(np.sqrt(10 ** ((level - snr) / 10) / power)))


def reverberate(speech: Speech, rt60: float, drr: float, rng: np.random.Generator) -> Speech:
    """As in a room whose answer to a click is noise that falls by 60 dB in ``rt60`` seconds (Schroeder 1965), ``drr`` decibels below the
    direct sound."""
    times = np.arange(1, max(2, round(rt60 * speech.rate))) / speech.rate
    tail = rng.standard_normal(len(times)) * 10 ** (-3 * times / rt60)
    tail *= np.sqrt(10 ** (-drr / 10) / np.sum(tail**2))
    size = len(speech.waveform) + len(tail)
    heard = np.fft.irfft(np.fft.rfft(speech.waveform, size) * np.fft.rfft(np.append(1.0, tail), size), size)
    return replace(speech, waveform=heard[: len(speech.waveform)].astype(np.float32))


def at_speed(speech: Speech, factor: float) -> Speech:
    """As a tape played ``factor`` times as fast: shorter, and higher by as much (Ko et al. 2015, speed perturbation)."""
    return replace(speech, rate=round(speech.rate * factor)).resampled(speech.rate)


def augment(speech: Speech, other: Callable[[], Speech], rng: np.random.Generator) -> Speech:
    """In a room, by chance; in noise, which may be ``other`` speech of the same rate; at another level, clipped where it is too loud."""
    if rng.random() < ROOM:
        speech = reverberate(speech, rng.uniform(*RT60), rng.uniform(*DRR), rng)
    if rng.random() < BABBLE:
        noise = other().waveform
        noise = np.roll(noise, rng.integers(max(1, len(noise))))
    else:
        noise = coloured_noise(len(speech.waveform), rng.uniform(*EXPONENT), rng)
    speech = add_noise(speech, noise, rng.uniform(*SNR))
    return replace(speech, waveform=np.clip(speech.waveform * np.float32(10 ** (rng.uniform(*GAIN) / 20)), -1, 1))
