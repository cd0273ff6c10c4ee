"""How near produced motion is to real motion, and whether it moves as much. Poses are normalised: units are shoulder widths."""

from collections.abc import Sequence

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
    """``joint_dtw`` of the hands."""
    return joint_dtw(produced, real, skeleton.hands)


def joint_dtw(produced: Poses, real: Poses, joints: np.ndarray) -> float:
    """Mean distance of some joints (indices) after exact alignment, in shoulder widths, so that clips of all lengths count alike
    (nDTW): the path aligns the flattened joints by Euclidean distance, then the joint distances are averaged over it.

    What the real clip does not show is left out: such a joint of such a frame counts for nothing, and the distance between two
    frames is scaled up from the joints that are left. NaN if the real clip shows none of them at all.
    """
    errors = _aligned_errors(produced, real, joints)
    return float(errors.mean()) if len(errors) else float("nan")


def _aligned_errors(produced: Poses, real: Poses, joints: np.ndarray) -> np.ndarray:
    """Distances of the joints along the path ``(pairs of joints that the real clip shows,)``."""
    a, b = (poses.joints[:, joints].astype(np.float64) for poses in (produced, real))
    seen = real.confidence[:, joints] > 0
    if not seen.any():
        return np.zeros(0)
    path = dtw_path(_distances(a, b, seen))
    errors = np.linalg.norm(a[path[:, 0]] - b[path[:, 1]], axis=-1)
    return errors[seen[path[:, 1]]]


def dtw_mje(produced: Sequence[Poses], real: Sequence[Poses]) -> float:
    """DTW-MJE of the SLRTP 2025 challenge, exact: every second frame of each clip, the path by the Euclidean distance of flattened
    frames, then the joint distances pooled over all aligned frames of all clips. Joints that the real clip does not show are left out."""
    every = [_aligned_errors(_half(a), _half(b), np.arange(b.joints.shape[1])) for a, b in zip(produced, real, strict=True)]
    return float(np.concatenate(every).mean())


def _half(poses: Poses) -> Poses:
    return Poses(poses.joints[::2], poses.confidence[::2], poses.fps / 2)


def wrist_distance(poses: Poses, skeleton: Skeleton) -> float:
    """Length of the way of the wrists, mean of both, in shoulder widths, of every second frame (SLRTP 2025's total distance, before it is
    divided by that of the real clip). Steps to and from frames in which a wrist is not seen are left out."""
    wrists = [skeleton.index(wrist) for wrist in skeleton.wrists.values()]
    half = _half(poses)
    steps = np.linalg.norm(np.diff(half.joints[:, wrists], axis=0), axis=-1)
    seen = half.confidence[:, wrists] > 0
    return float((steps * (seen[1:] & seen[:-1])).sum() / len(wrists))


def diversity(samples: Sequence[Poses], skeleton: Skeleton) -> float:
    """Mean ``hand_dtw`` between all pairs of samples of one utterance with other seeds; 0 if they are all alike."""
    pairs = [hand_dtw(a, b, skeleton) for i, a in enumerate(samples) for b in samples[i + 1 :]]
    return float(np.mean(pairs)) if pairs else 0.0


def _distances(a: np.ndarray, b: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Between each frame of ``a`` and each of ``b``: ``(frames of a, frames of b)``, over the joints ``seen`` in ``b``."""
    share = seen.mean(axis=1)
    weight = np.repeat(seen, a.shape[2], axis=1) / np.maximum(share, 1e-9)[:, None]
    flat_a, flat_b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    squares = flat_a**2 @ weight.T - 2 * flat_a @ (weight * flat_b).T + (weight * flat_b**2).sum(axis=1)
    return np.sqrt(np.maximum(squares, 0))


def movement(poses: Poses, skeleton: Skeleton, part: str | None = None) -> float:
    """Mean speed of the joints of a part that are seen, by default the hands, in shoulder widths a second; 0 for a clip that has none."""
    return _mean_difference(poses, skeleton.hands if part is None else skeleton.part(part), order=1)


def jerk(poses: Poses, skeleton: Skeleton) -> float:
    """Mean size of the third derivative of the hand joints that are seen, in shoulder widths / s³."""
    return _mean_difference(poses, skeleton.hands, order=3)


def _mean_difference(poses: Poses, chosen: np.ndarray | slice, order: int) -> float:
    joints, seen = poses.joints[:, chosen], poses.confidence[:, chosen] > 0
    for _ in range(order):
        joints = np.diff(joints, axis=0)
        seen = seen[1:] & seen[:-1]
    if not seen.any():
        return 0.0
    return float(np.linalg.norm(joints, axis=-1)[seen].mean() * poses.fps**order)
