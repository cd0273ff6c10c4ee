"""Whether what is produced is distributed like what is real, and how sure a score is."""

from collections.abc import Callable

import numpy as np


def frechet_distance(produced: np.ndarray, real: np.ndarray) -> float:
    """Fréchet distance of two Gaussians fitted to embeddings ``(n, dim)`` and ``(m, dim)`` (FID; Heusel et al. 2017):
    |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁^½ Σ₂ Σ₁^½)^½). It is in the embeddings' own units and grows with few samples; compare it with that
    between two halves of the real clips."""
    gap = produced.mean(axis=0) - real.mean(axis=0)
    one, other = (np.atleast_2d(np.cov(x.astype(np.float64), rowvar=False)) for x in (produced, real))
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0)).sum()
    return float(gap @ gap + np.trace(one) + np.trace(other) - 2 * shared)


def bootstrap(score: Callable[[np.ndarray], float], n: int, rounds: int = 1000, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of a score of ``n`` clips under resampling of clips (Efron 1979).

    score: the score of the clips with these indices, which may repeat. For the difference of two producers on the same clips let it be
    the difference: the resampling is then paired (Koehn 2004).
    """
    rng = np.random.default_rng(seed)
    scores = [score(rng.integers(n, size=n)) for _ in range(rounds)]
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
