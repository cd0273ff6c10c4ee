"""Whether what is produced is distributed like what is real."""

import numpy as np

TOGETHER = 2**14  # embeddings of which there are copies in float64


def frechet_distance(produced: np.ndarray, real: np.ndarray) -> float:
    """Fréchet distance of two Gaussians fitted to embeddings ``(n, dim)`` and ``(m, dim)`` (FID; Heusel et al. 2017):
    |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁^½ Σ₂ Σ₁^½)^½). It is in the embeddings' own units and grows with few samples; compare it with that
    between two halves of the real clips."""
    (mean, one), (other_mean, other) = _gaussian(produced), _gaussian(real)
    gap = mean - other_mean
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0)).sum()
    return float(gap @ gap + np.trace(one) + np.trace(other) - 2 * shared)


def _gaussian(embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean ``(dim,)`` and covariance ``(dim, dim)`` in float64, of which not all embeddings are a copy at once."""
    mean, covariance = embeddings.mean(axis=0, dtype=np.float64), np.zeros(2 * embeddings.shape[1:])
    for start in range(0, len(embeddings), TOGETHER):
        centred = (embeddings[start : start + TOGETHER].astype(np.float64) - mean).T
        covariance += centred @ centred.T
    return mean, covariance * np.true_divide(1, len(embeddings) - 1)
