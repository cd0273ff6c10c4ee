"""How near produced motion is to real motion, and whether it moves as much. Poses are normalised: units are shoulder widths."""

import numpy as np

from ms2sl.clip import Poses
from ms2sl.skeleton import Skeleton


def dtw_path(cost: np.ndarray) -> np.ndarray:
    """Cheapest monotone path ``(steps, 2)`` through a cost matrix ``(n, m)``: exact dynamic time warping.

    Steps are (1, 0), (0, 1) and (1, 1) without weights (Sakoe & Chiba 1978, symmetric1). The recursion runs over
    anti-diagonals, all cells of which are independent.
    """
    n, m = cost.shape
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0
    for diagonal in range(2, n + m + 1):
        i = np.arange(max(1, diagonal - m), min(n, diagonal - 1) + 1)
        j = diagonal - i
        best = np.minimum(np.minimum(total[i - 1, j], total[i, j - 1]), total[i - 1, j - 1])
        total[i, j] = cost[i - 1, j - 1] + best
    path, i, j = [], n, m
    while i and j:
        path.append((i - 1, j - 1))
        step = int(np.argmin((total[i - 1, j - 1], total[i - 1, j], total[i, j - 1])))
        i, j = i - (step != 2), j - (step != 1)
    return np.array(path[::-1])


def hand_dtw(produced: Poses, real: Poses, skeleton: Skeleton) -> float:
    """DTW-MJE of the hands, in shoulder widths: the path aligns flattened hand joints by Euclidean distance, then the joint
    distances are averaged over it (the convention of the SLRTP 2025 challenge, without its subsampling).

    What the real clip does not show is left out: such a joint of such a frame counts for nothing, and the distance between two
    frames is scaled up from the joints that are left. NaN if the real clip shows no hand at all.
    """
    a, b = (poses.joints[:, skeleton.hands].astype(np.float64) for poses in (produced, real))
    seen = real.confidence[:, skeleton.hands] > 0
    if not seen.any():
        return float("nan")
    path = dtw_path(_distances(a, b, seen))
    errors = np.linalg.norm(a[path[:, 0]] - b[path[:, 1]], axis=-1)
    return float(errors[seen[path[:, 1]]].mean())


def _distances(a: np.ndarray, b: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Between each frame of ``a`` and each of ``b``: ``(frames of a, frames of b)``, over the joints ``seen`` in ``b``."""
    share = seen.mean(axis=1)
    weight = np.repeat(seen, a.shape[2], axis=1) / np.maximum(share, 1e-9)[:, None]
    flat_a, flat_b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    squares = flat_a**2 @ weight.T - 2 * flat_a @ (weight * flat_b).T + (weight * flat_b**2).sum(axis=1)
    return np.sqrt(np.maximum(squares, 0))


def movement(poses: Poses, skeleton: Skeleton) -> float:
    """Mean speed of the hand joints that are seen, in shoulder widths a second; 0 for a clip that has none."""
    return _mean_difference(poses, skeleton, order=1)


def jerk(poses: Poses, skeleton: Skeleton) -> float:
    """Mean size of the third derivative of the hand joints that are seen, in shoulder widths / s³."""
    return _mean_difference(poses, skeleton, order=3)


def _mean_difference(poses: Poses, skeleton: Skeleton, order: int) -> float:
    joints, seen = poses.joints[:, skeleton.hands], poses.confidence[:, skeleton.hands] > 0
    for _ in range(order):
        joints = np.diff(joints, axis=0)
        seen = seen[1:] & seen[:-1]
    if not seen.any():
        return 0.0
    return float(np.linalg.norm(joints, axis=-1)[seen].mean() * poses.fps**order)
