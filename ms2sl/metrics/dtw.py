"""Exact dynamic time warping of many pairs of clips at once.

The recursion runs over anti-diagonals, all cells of which are independent, and over all pairs of a batch together: the cost of numpy's
calls is shared, and nothing is approximated.
"""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

CELLS = 2**22  # of a batch of matrices: what fits into the caches counts more than a long batch


def dtw_paths(costs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Cheapest monotone path ``(steps, 2)`` from corner to corner of each cost matrix ``(n, m)``.

    Steps are (1, 0), (0, 1) and (1, 1) without weights (Sakoe & Chiba 1978, symmetric1); of equally cheap ones the last of these.
    """
    paths: list[np.ndarray] = [np.zeros((0, 2), int)] * len(costs)
    by_size = sorted(range(len(costs)), key=lambda k: costs[k].shape)
    while by_size:
        n, m = (max(costs[k].shape[axis] for k in by_size[-32:]) for axis in (0, 1))
        size = max(1, min(32, CELLS // ((n + 1) * (n + m + 1))))
        chosen, by_size = by_size[-size:], by_size[:-size]
        for k, path in zip(chosen, _paths([costs[k] for k in chosen]), strict=True):
            paths[k] = path
    return paths


def _paths(costs: list[np.ndarray]) -> list[np.ndarray]:
    total, last = _totals(costs), np.array([cost.shape for cost in costs])
    i, j = last.T.copy()
    every, steps = np.arange(len(costs)), []
    while (unfinished := (i + j > 2)).any():
        steps.append((i, j, unfinished))
        k = i + j
        before = np.stack([total[k - 2, every, i - 1], total[k - 1, every, i - 1], total[k - 1, every, i]])
        step = before.argmin(axis=0)
        i, j = i - ((step != 2) & unfinished), j - ((step != 1) & unfinished)
    steps.append((i, j, np.ones(len(costs), bool)))
    rows, columns, real = (np.stack(each)[::-1] for each in zip(*steps, strict=True))
    return [np.stack([rows[real[:, b], b], columns[real[:, b], b]], axis=1) - 1 for b in every]


def _totals(costs: list[np.ndarray]) -> np.ndarray:
    """Cost of the cheapest path to each cell: cell (i, j) of pair b, counted from 1, is at [i + j, b, i]; padding is infinite."""
    n, m = np.max([cost.shape for cost in costs], axis=0)
    total = np.full((n + m + 1, len(costs), n + 1), np.inf)
    across, along, down = total.strides
    cells = as_strided(total[2:, :, 1:], (len(costs), n, m), (along, across + down, across))
    for cell, cost in zip(cells, costs, strict=True):
        cell[: cost.shape[0], : cost.shape[1]] = cost
    total[0, :, 0] = 0
    for k in range(2, n + m + 1):
        low, high = max(1, k - m), min(n, k - 1) + 1
        best = np.minimum(total[k - 2, :, low - 1 : high - 1], total[k - 1, :, low - 1 : high - 1])
        np.minimum(best, total[k - 1, :, low:high], out=best)
        total[k, :, low:high] += best
    return total
