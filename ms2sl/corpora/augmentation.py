"""Recordings as people make them, of speech that is clean: narrow bands, noise, few bits, too loud.

Made once, as a corpus is; ``ms2sl.audio.acoustics`` has what training hears anew each time.
"""

import numpy as np

from ms2sl.audio.loudness import USUAL_LEVEL, speech_level
from ms2sl.audio.speech import Speech

LOW_CUT, HIGH_CUT = (50.0, 300.0), (3000.0, 7000.0)  # Hz; a telephone has 300 to 3400
SIGNAL_TO_NOISE = (10.0, 45.0)  # decibels
TOO_LOUD = 15.0  # decibels above the level at which the loudest sample is the loudest that a file can hold
BITS = (7, 8)
CHANCES = {"band": 0.75, "noise": 0.5, "clipping": 0.3, "quantisation": 0.2}


def degraded(speech: Speech, rng: np.random.Generator) -> Speech:
    """The same speech as a poor recording; each of four things may have happened to it. The same ``rng`` gives the same samples."""
    wave, rate = speech.waveform, speech.rate
    happened = {what: rng.random() < chance for what, chance in CHANCES.items()}
    if happened["noise"]:
        level = speech_level(wave, rate) or USUAL_LEVEL
        wave = wave + rng.normal(size=len(wave)) * 10 ** ((level - rng.uniform(*SIGNAL_TO_NOISE)) / 20)
    if happened["clipping"]:
        wave = np.clip(wave * 10 ** (rng.uniform(0, TOO_LOUD) / 20) / np.abs(wave).max(), -1, 1)
    if happened["band"]:
        spectrum, frequencies = np.fft.rfft(wave), np.fft.rfftfreq(len(wave), 1 / rate)
        low, high = rng.uniform(*LOW_CUT) * (rng.random() < 0.5), rng.uniform(*HIGH_CUT)
        wave = np.fft.irfft(spectrum * ((frequencies >= low) & (frequencies <= high)), len(wave))
    wave = np.clip(wave, -1, 1)
    if happened["quantisation"]:
        steps = 2 ** (int(rng.choice(BITS)) - 1) - 1
        wave = np.round(wave * steps) / steps
    return Speech(wave.astype(np.float32), rate, speech.remarks)
