"""Frames of an answer as poses have them."""

import numpy as np


def as_poses(frames: list) -> np.ndarray:
    """float ``(frames, joints, dims)`` with zeros where a joint is not seen."""
    return np.nan_to_num(np.array(frames, float))
