"""Aligning pairs of clips by DTW, in one run: ours, the plain loop, dtaidistance (C), and fastdtw with a distance in Python, which is how
the SLRTP challenge does it. Clips are of the challenge's size: 178 joints in 3D, every second frame of 117.

pip install fastdtw dtaidistance
python -m benchmarks.dtw
"""

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
import torch
from dtaidistance import dtw
from fastdtw import fastdtw

from benchmarks.common import machine, save
from ms2sl.metrics.dtw import dtw_paths

FRAMES, VALUES = 59, 178 * 3
Pair = tuple[np.ndarray, np.ndarray]


def clips(n: int, seed: int = 0) -> list[Pair]:
    """Pairs of smooth movements of 0.7 to 1.3 times the usual length."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(int(0.7 * FRAMES), int(1.3 * FRAMES), (n, 2))
    return [tuple(np.cumsum(rng.normal(size=(frames, VALUES)), axis=0) * 0.05 for frames in some) for some in lengths]


def costs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances ``(frames of a, frames of b)``."""
    squares = (a**2).sum(axis=1)[:, None] - 2 * a @ b.T + (b**2).sum(axis=1)
    return np.sqrt(np.maximum(squares, 0))


def ours(pairs: list[Pair]) -> list[np.ndarray]:
    return dtw_paths([costs(*pair) for pair in pairs])


def loop(pairs: list[Pair]) -> list[np.ndarray]:
    return [_by_loop(costs(*pair)) for pair in pairs]


def _by_loop(cost: np.ndarray) -> np.ndarray:
    n, m = cost.shape
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0
    for i in range(n):
        for j in range(m):
            total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    path, i, j = [(n - 1, m - 1)], n, m
    while (i, j) != (1, 1):
        i, j = min((i - 1, j - 1), (i - 1, j), (i, j - 1), key=lambda cell: total[cell])
        path.append((i - 1, j - 1))
    return np.array(path[::-1])


def by_dtaidistance(pairs: list[Pair]) -> list[np.ndarray]:
    """Its inner distance "euclidean" is the plain distance of two frames, as everybody's here."""
    return [np.array(dtw.warping_path_fast(a, b, inner_dist="euclidean")) for a, b in pairs]


def by_fastdtw(pairs: list[Pair]) -> list[np.ndarray]:
    def distance(x, y):
        return torch.sqrt(torch.sum((torch.tensor(x) - torch.tensor(y)) ** 2))

    return [np.array(fastdtw(a, b, dist=distance)[1]) for a, b in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=128)
    parser.add_argument("--slow-pairs", type=int, default=8, help="pairs for those that take seconds")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    many = clips(arguments.pairs)
    best = [costs(*pair) for pair in many]
    exact = [cost[tuple(path.T)].sum() for cost, path in zip(best, loop(many), strict=True)]
    chosen: dict[str, tuple[Callable, int]] = {
        "ours": (ours, arguments.pairs),
        "dtaidistance (C)": (by_dtaidistance, arguments.pairs),
        "loop in Python": (loop, arguments.slow_pairs),
        "fastdtw, distance in Python": (by_fastdtw, arguments.slow_pairs),
    }
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    excess = {}
    for name, (align, n) in chosen.items():  # in turn, so that all meet the same machine
        for _ in range(arguments.rounds if n == arguments.pairs else 1):
            start = time.perf_counter()
            paths = align(many[:n])
            seconds[name].append((time.perf_counter() - start) / n)
        excess[name] = max(cost[tuple(path.T)].sum() / true - 1 for cost, path, true in zip(best, paths, exact, strict=False))
    rows = [("", "ms a pair", "times ours", "largest excess cost")]
    for name, times in seconds.items():
        rows.append((name, f"{1000 * min(times):.2f}", f"{min(times) / min(seconds['ours']):.1f}", f"{100 * excess[name]:.2g} %"))
    save("dtw", f"Pairs of about {FRAMES} × {VALUES}, the path included. {machine()}", rows)


if __name__ == "__main__":
    main()
