"""Whether what is produced is distributed like what is real."""

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
