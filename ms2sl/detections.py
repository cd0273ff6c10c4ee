"""What detectors and their tools write of joints that they did not see, and in which unit they write the others."""

import numpy as np

FEW = 0.05  # of all coordinates
WITHIN = 1.5  # no person is so small in pixels


def seen_without_zeros(joints: np.ndarray, confidence: np.ndarray, parts: list[slice], origin: int | None = None) -> np.ndarray:
    """Confidence ``(frames, joints)`` in which joints that lie on zero are unseen: tools write zeros for what was not detected, some with
    confidence 1.

    joints: ``(frames, joints, dims)``; parts: where the joints of each part lie. In coordinates that have their origin within the person,
    a joint of a part that always is zero alone is that origin, and seen; origin: such a joint, where it is known.
    """
    seen = confidence > 0
    zero = seen & (joints[..., :2] == 0).all(axis=2)
    if not zero.any():
        return confidence
    if origin is not None:
        zero[:, origin] = (zero | ~seen).all(axis=1)
    elif _around_zero(joints[seen & ~zero]):
        always = (zero | ~seen).all(axis=0) & zero.any(axis=0)
        for part in parts:
            if always[part].sum() == 1:
                there = (seen & ~zero)[:, part].any(axis=1)
                zero[:, part][there[:, None] & always[part]] = False
    return np.where(zero, 0, confidence)


def _around_zero(points: np.ndarray) -> bool:
    """Whether the origin of ``(n, dims)`` lies within the person, and not at a corner of the picture."""
    if not len(points):
        return False
    below, above = (points[:, :2] < 0).mean(axis=0), (points[:, :2] > 0).mean(axis=0)
    return bool((np.minimum(below, above) > FEW).all())


def fractions(joints: np.ndarray, confidence: np.ndarray) -> tuple[float, float] | None:
    """Where coordinates of people ``(…, joints, dims)`` are fractions of the picture instead of pixels, those of its edges: (0, 1) or
    (-1, 1). None where they are pixels, or nobody is seen.

    Coordinates between -1 and 1 may be shoulder widths too: who calls knows whether the format has them.
    """
    points = joints[confidence > 0][:, :2]
    if not len(points) or np.abs(points).max() > WITHIN:
        return None
    return (-1.0, 1.0) if (points < -FEW).mean() > FEW else (0.0, 1.0)
