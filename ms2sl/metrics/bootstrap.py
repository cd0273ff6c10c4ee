"""How sure a mean over clips is: percentile bootstrap (Efron 1979), paired where two systems saw the same clips (Koehn 2004)."""

import numpy as np


def interval(values: np.ndarray, *, seed: int, confidence: float = 0.95, samples: int = 2000) -> tuple[float, float]:
    """Interval of the mean of ``(clips,)`` values: clips are drawn again with replacement, ``samples`` times."""
    values = np.asarray(values, np.float64)
    drawn = np.random.default_rng(seed).integers(len(values), size=(samples, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def difference(a: np.ndarray, b: np.ndarray, *, seed: int, confidence: float = 0.95, samples: int = 2000) -> tuple[float, float]:
    """Interval of mean(a) - mean(b), clip by clip: row i of both is the same clip. One that holds 0 shows no difference."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert a.shape == b.shape, "a paired bootstrap needs the same clips on both sides"
    return interval(a - b, seed=seed, confidence=confidence, samples=samples)
