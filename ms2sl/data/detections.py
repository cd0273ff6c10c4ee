"""What detectors and their tools write of joints that they did not see, and in which unit they write the others."""

import numpy as np

RARE, FEW, SOME, MANY, MOST = 0.01, 0.05, 0.1, 0.25, 2 / 3  # of all coordinates
NEAR = 0.5  # of the extent of a person, beyond which no joint lies
WITHIN = 1.25  # no person is so small in pixels
WIDEST = 0.9  # of the picture, between the shoulders


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
    """Whether the origin of ``(n, dims)`` is a joint of the person, if only an outer one, and not a corner of the picture."""
    if not len(points):
        return False
    low, high = np.quantile(points[:, :2], [RARE, 1 - RARE], axis=0)
    near = (low - NEAR * (high - low) < 0) & (high + NEAR * (high - low) > 0)
    return bool(near.all() and (points[:, :2] < 0).mean(axis=0).max() > SOME)


def fractions(joints: np.ndarray, confidence: np.ndarray, shoulders: tuple[int, int]) -> tuple[float, float] | None:
    """Where coordinates of people ``(…, joints, dims)`` are fractions of the picture instead of pixels, those of its edges: (0, 1) or
    (-1, 1). None where they are pixels, or nobody is seen.

    Most of what is seen with confidence lies within the picture, and the shoulders are less than the picture apart: single joints may be
    guessed far outside, as MediaPipe does with hips and wrists that are below the picture. Coordinates between -1 and 1 may be shoulder
    widths too: who calls knows whether the format has them.
    """
    sure = confidence > 0
    if not sure.any():
        return None
    sure &= confidence >= np.median(confidence[sure]) / 2
    points = joints[sure][:, :2]
    if (np.abs(points) < WITHIN).all(axis=1).mean() < MOST:
        return None
    edges = (-1.0, 1.0) if (points < -FEW).mean(axis=0).max() > MANY else (0.0, 1.0)
    framed = sure[..., list(shoulders)].all(axis=-1)
    apart = np.hypot(*(joints[framed, shoulders[0], :2] - joints[framed, shoulders[1], :2]).T)
    return edges if not len(apart) or np.median(apart) < WIDEST * (edges[1] - edges[0]) else None
