"""How near produced motion is to real motion, and whether it moves as much. Poses are normalised: units are shoulder widths."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Poses
from ms2sl.metrics.dtw import dtw_paths

TOGETHER = 16  # clips that are aligned together: more are hardly faster, and take memory


def hand_dtw(produced: Sequence[Poses], real: Sequence[Poses], skeleton: Skeleton) -> np.ndarray:
    """``joint_dtw`` of the hands ``(clips,)``."""
    return joint_dtw(produced, real, skeleton.hands)


def joint_dtw(produced: Sequence[Poses], real: Sequence[Poses], joints: np.ndarray | slice) -> np.ndarray:
    """Mean distance of some joints (indices) after exact alignment ``(clips,)``, in shoulder widths, so that clips of all lengths count
    alike (nDTW): the path aligns the flattened joints by Euclidean distance, then the joint distances are averaged over it.

    What the real clip does not show is left out: such a joint of such a frame counts for nothing, and the distance between two
    frames is scaled up from the joints that are left. NaN where the real clip shows none of them at all. A joint that the real clip shows
    and the other does not is taken to be where the other has it, in poses of ours between the shoulders: to hide a hand is an error.
    """
    every = _aligned_errors(produced, real, joints)
    return np.array([errors.mean() if len(errors) else np.nan for errors in every])


def dtw_mje(produced: Sequence[Poses], real: Sequence[Poses]) -> float:
    """DTW-MJE of the SLRTP 2025 challenge, exact: every second frame of each clip, the path by the Euclidean distance of flattened
    frames, then the joint distances pooled over all aligned frames of all clips. Joints that the real clip does not show are left out."""
    total, count = mje_sums(produced, real).sum(axis=0)
    return float(total / count)


def mje_sums(produced: Sequence[Poses], real: Sequence[Poses]) -> np.ndarray:
    """Sum and number of the joint distances that ``dtw_mje`` pools, of each clip ``(clips, 2)``."""
    every = _aligned_errors([_half(poses) for poses in produced], [_half(poses) for poses in real], slice(None))
    return np.array([(errors.sum(), len(errors)) for errors in every])


def _aligned_errors(produced: Sequence[Poses], real: Sequence[Poses], joints: np.ndarray | slice) -> list[np.ndarray]:
    """Of each clip, the distances of the joints along the path ``(pairs of joints that the real clip shows,)``."""
    pairs, errors = list(zip(produced, real, strict=True)), []
    for start in range(0, len(pairs), TOGETHER):
        some = [
            (a.joints[:, joints].astype(np.float64), b.joints[:, joints].astype(np.float64), b.confidence[:, joints] > 0)
            for a, b in pairs[start : start + TOGETHER]
        ]
        paths = dtw_paths([_distances(*pair) for pair in some])
        errors += [_errors(*pair, path) for pair, path in zip(some, paths, strict=True)]
    return errors


def _errors(a: np.ndarray, b: np.ndarray, seen: np.ndarray, path: np.ndarray) -> np.ndarray:
    gap = a[path[:, 0]] - b[path[:, 1]]
    return np.sqrt(np.einsum("fjd,fjd->fj", gap, gap))[seen[path[:, 1]]]


def _half(poses: Poses) -> Poses:
    return Poses(poses.joints[::2], poses.confidence[::2], poses.fps / 2)


def wrist_distance(poses: Poses, skeleton: Skeleton) -> np.ndarray:
    """Length of the way of each wrist ``(wrists,)``, in shoulder widths, of every second frame. SLRTP 2025's total distance is the mean
    over clips of this divided by that of the real clips, and then the mean of both wrists. Steps to and from frames in which a wrist is
    not seen are left out."""
    wrists = [skeleton.index(wrist) for wrist in skeleton.wrists.values()]
    half = _half(poses)
    steps = np.linalg.norm(np.diff(half.joints[:, wrists], axis=0), axis=-1)
    seen = half.confidence[:, wrists] > 0
    return (steps * (seen[1:] & seen[:-1])).sum(axis=0)


def diversity(samples: Sequence[Poses], skeleton: Skeleton) -> float:
    """Mean ``hand_dtw`` between all pairs of samples of one utterance with other seeds; 0 if they are all alike."""
    if len(samples) < 2:
        return 0.0
    first, second = zip(*combinations(samples, 2), strict=True)
    return float(hand_dtw(first, second, skeleton).mean())


def _distances(a: np.ndarray, b: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Between each frame of ``a`` and each of ``b``: ``(frames of a, frames of b)``, over the joints ``seen`` in ``b``."""
    weight = np.repeat(seen / np.maximum(seen.mean(axis=1, keepdims=True), 1e-9), a.shape[2], axis=1)
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
