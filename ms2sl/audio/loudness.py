"""How loud speech is, whatever else is in the recording: pauses, clicks, steady noise.

Levels are in dBFS, decibels below the mean power of the loudest square wave that a file can hold.
"""

import numpy as np

FRAME = 0.02  # seconds over which power is measured
USUAL_LEVEL = -17.0  # dBFS: the median of the embedded corpus, to which others are brought
INAUDIBLE = -80.0  # dBFS
ABOVE_NOISE = 10.0  # decibels by which speech is louder than what is heard in pauses
CLICK = 5  # frames: what is shorter than half of them does not count
LOUDEST = 90  # percentile of the frames above the noise: of the others some may be of knocks
ACTIVE = 30.0  # decibels: frames that much below the loudest are pauses
VOWELS = 75  # percentile of the other frames, of which speech has the level


def frame_length(rate: int) -> int:
    """Samples of a frame."""
    return max(1, round(FRAME * rate))


def frame_levels(waveform: np.ndarray, rate: int) -> np.ndarray:
    """Level of each frame ``(frames,)``, its mean aside, which is the offset of cheap sound cards; the last one may be shorter."""
    frame, starts = frame_length(rate), np.arange(0, len(waveform), frame_length(rate))
    sizes = np.diff(np.append(starts, len(waveform)))
    with np.errstate(invalid="ignore"):  # of infinite samples, which featurizers refuse
        mean = np.add.reduceat(waveform, starts, dtype=np.float64) / sizes
        energy = np.add.reduceat(np.square(waveform, dtype=np.float64), starts) - sizes * mean**2
        return 10 * np.log10(np.maximum(energy, 0) / frame + 1e-12)


def is_silent(waveform: np.ndarray, rate: int) -> bool:
    """Whether nothing is heard in a recording, not even for the time of a frame; not where it holds NaN."""
    return bool(frame_levels(waveform, rate).max(initial=-np.inf) < INAUDIBLE)


def speech_level(waveform: np.ndarray, rate: int) -> float | None:
    """Level of the speech in a recording; None where nothing is heard in it.

    Where nothing stands out from the rest (one vowel, speech in loud noise) it is that of all that is heard. Steady noise alone has a level
    by the same way, so it is made as loud as speech if it is not below ``INAUDIBLE``.
    """
    levels = frame_levels(waveform, rate)
    if len(levels) > CLICK:
        padded = np.pad(levels, CLICK // 2, mode="edge")
        levels = np.median(np.lib.stride_tricks.sliding_window_view(padded, CLICK), axis=1)
    noise = np.percentile(levels, 10) if len(levels) else INAUDIBLE
    heard = levels[levels >= INAUDIBLE]
    if not len(heard):
        return None
    loud = heard[heard >= noise + ABOVE_NOISE]
    loud = loud if len(loud) else heard
    return float(np.percentile(loud[loud > np.percentile(loud, LOUDEST) - ACTIVE], VOWELS))
