"""Measuring the motion of as many clips as PHOENIX14T's test split has, 642 of 178 × 3, without back-translation.

python -m benchmarks.evaluating
"""

import argparse
import time

import numpy as np

from benchmarks.common import machine, save
from ms2sl.data.skeleton_registry import HOLISTIC_178X3 as SKELETON
from ms2sl.data.types import Poses
from ms2sl.evaluation.motion_scores import motion_rows


def clips(n: int, seed: int) -> list[Poses]:
    """Smooth movements of 117 frames on average, at 25 frames a second."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(60, 175, n)
    steps = (rng.normal(0, 0.02, (frames, SKELETON.n_joints, 3)).astype(np.float32) for frames in lengths)
    return [Poses(np.cumsum(each, axis=0), np.ones(each.shape[:2], np.float32), 25.0) for each in steps]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=642)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    produced, real = clips(arguments.clips, 0), clips(arguments.clips, 1)
    seconds = []
    for _ in range(arguments.rounds):
        start = time.perf_counter()
        motion_rows(produced, real, SKELETON)
        seconds.append(time.perf_counter() - start)
    rows = [
        ("clips", "seconds", "ms a clip"),
        (str(arguments.clips), f"{min(seconds):.1f}", f"{1000 * min(seconds) / arguments.clips:.1f}"),
    ]
    save("evaluating", f"DTW of hands, of the body and of all joints, amplitudes, jerk and wrists, in one process. {machine()}", rows)


if __name__ == "__main__":
    main()
