"""Whether embeddings find their counterparts."""

import numpy as np


def ranks(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Rank of each query's counterpart by cosine, 1 is best; unit vectors ``(n, dim)``, row i belongs to row i.

    Ties count against the query, so that embeddings that are all alike find nothing; so does NaN.
    """
    similarity = queries @ gallery.T
    farther = similarity < np.diag(similarity)[:, None] - 1e-6
    return (~farther).sum(axis=1)


def recall_at(k: int, queries: np.ndarray, gallery: np.ndarray) -> float:
    """Share of queries whose counterpart is among the ``k`` nearest, in per cent (R@k)."""
    return float(100 * (ranks(queries, gallery) <= k).mean())


def median_rank(queries: np.ndarray, gallery: np.ndarray) -> float:
    """Median rank of the counterparts (MedR), 1 is best."""
    return float(np.median(ranks(queries, gallery)))
