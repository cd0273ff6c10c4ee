"""Whether embeddings find their counterparts."""

import numpy as np

COMPARED = 2**24  # pairs whose similarity is in memory at a time


def ranks(queries: np.ndarray, gallery: np.ndarray, compared: int = COMPARED) -> np.ndarray:
    """Rank of each query's counterpart by cosine ``(n,)``, 1 is best; unit vectors ``(n, dim)``, row i belongs to row i.

    Ties count against the query, so that embeddings that are all alike find nothing; so does NaN.
    compared: pairs in memory at a time, or those of one query.
    """
    n, some = len(gallery), max(1, compared // max(1, len(gallery)))
    found = [_ranks(queries[start : start + some], gallery, start) for start in range(0, n, some)]
    return np.concatenate(found) if found else np.zeros(0, int)


def _ranks(queries: np.ndarray, gallery: np.ndarray, start: int) -> np.ndarray:
    """Of the queries that belong to the rows of the gallery from ``start`` on."""
    similarity = queries @ gallery.T
    farther = similarity < np.diagonal(similarity, start)[:, None] - 1e-6
    return (~farther).sum(axis=1)


def recall_at(k: int, ranks: np.ndarray) -> float:
    """Share of queries whose counterpart is among the ``k`` nearest, in per cent (R@k)."""
    return float(100 * (ranks <= k).mean())


def median_rank(ranks: np.ndarray) -> float:
    """Median rank of the counterparts (MedR), 1 is best."""
    return float(np.median(ranks))
