"""How signing moves beside the real clip: each score in one place, from what is measured of a clip to its column in the tables.

A package from outside adds a score by the entry point ``ms2sl.metrics``.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Poses
from ms2sl.entry_points import load_all
from ms2sl.metrics.motion import hand_dtw, jerk, joint_dtw, mje_sums, movement, wrist_distance

GROUP = "ms2sl.metrics"  # of entry points
Columns = Mapping[str, np.ndarray]  # what was measured, by name, over the same clips in the same order
Ratios = Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]
Measure = Callable[[Sequence[Poses], Sequence[Poses], Skeleton], Mapping[str, Sequence[Any]]]


@dataclass(frozen=True)
class MotionScore:
    """A score of motion.

    name: in results, in MLflow, and as what a sweep minimises if ``is_error``. title, digits: of its column in the tables.
    measure: of produced clips, real clips and the skeleton, columns of one plain value a clip. ratios: of the columns of a producer and of
    those of real signing, by score the sums ``(clips,)`` whose ratio it is; of several ratios it is the mean.
    """

    name: str
    title: str
    measure: Measure
    ratios: Callable[[Columns, Columns], Ratios]
    digits: int = 2
    is_error: bool = False


def mean(name: str) -> Callable[[Columns, Columns], Ratios]:
    """The score that is the mean of a column over the clips in which it is known."""

    def ratios(mine: Columns, real: Columns) -> Ratios:
        if name not in mine:
            return {}
        known = ~np.isnan(mine[name])
        return {name: [(np.where(known, mine[name], 0), known.astype(float))]}

    return ratios


def share_of_real(score: str, column: str) -> Callable[[Columns, Columns], Ratios]:
    """The score that is the ratio of the means of a column, here and of real signing."""
    return lambda mine, real: {score: [(mine[column], real[column])]}


def _mje(produced: Sequence[Poses], real: Sequence[Poses], skeleton: Skeleton) -> Mapping[str, Sequence[float]]:
    totals, counts = zip(*mje_sums(produced, real), strict=True)
    return {"mje_sum": [float(total) for total in totals], "mje_count": [float(count) for count in counts]}


def _part_speeds(produced: Sequence[Poses], real: Sequence[Poses], skeleton: Skeleton) -> Mapping[str, Sequence[float]]:
    return {f"speed_{part.name}": [movement(poses, skeleton, part.name) for poses in produced] for part in skeleton.parts}


def _part_amplitudes(mine: Columns, real: Columns) -> Ratios:
    return {f"amplitude_{key.removeprefix('speed_')}": [(mine[key], real[key])] for key in mine if key.startswith("speed_")}


def _of_each(name: str, function: Callable[[Poses, Skeleton], Any]) -> Measure:
    return lambda produced, real, skeleton: {name: [function(poses, skeleton) for poses in produced]}


OURS = (
    MotionScore(
        "hand_dtw",
        "hand DTW",
        lambda made, real, skeleton: {"hand_dtw": hand_dtw(made, real, skeleton)},
        mean("hand_dtw"),
        3,
        is_error=True,
    ),
    MotionScore(
        "body_dtw",
        "body DTW",
        lambda made, real, skeleton: {"body_dtw": joint_dtw(made, real, skeleton.part("body"))},
        mean("body_dtw"),
        3,
        is_error=True,
    ),
    MotionScore("dtw_mje", "DTW-MJE", _mje, lambda mine, real: {"dtw_mje": [(mine["mje_sum"], mine["mje_count"])]}, 3, is_error=True),
    MotionScore("amplitude", "speed ratio", _of_each("speed", movement), share_of_real("amplitude", "speed")),
    MotionScore("amplitude_body", "of body", _part_speeds, _part_amplitudes),
    MotionScore(
        "distance",
        "distance",
        _of_each("way", lambda poses, skeleton: wrist_distance(poses, skeleton).tolist()),
        lambda mine, real: {"distance": list(zip(mine["way"].T, real["way"].T, strict=True))},
    ),
    MotionScore(
        "length",
        "length",
        _of_each("seconds", lambda poses, skeleton: poses.seconds),
        lambda mine, real: {"length": [(mine["seconds"] / real["seconds"], np.ones(len(real["seconds"])))]},
    ),
    MotionScore("jerk", "jerk", _of_each("jerk", jerk), share_of_real("jerk", "jerk")),
)


@functools.cache
def motion_scores() -> tuple[MotionScore, ...]:
    """All of them, those of packages from outside too."""
    return (*OURS, *load_all(GROUP))


def motion_rows(produced: Sequence[Poses], real: Sequence[Poses], skeleton: Skeleton) -> list[dict]:
    """What every score measures of each clip, as plain values."""
    columns: dict[str, Sequence[Any]] = {}
    for score in motion_scores():
        columns |= score.measure(produced, real, skeleton)
    plain = {name: [value if isinstance(value, list) else float(value) for value in values] for name, values in columns.items()}
    return [{name: values[i] for name, values in plain.items()} for i in range(len(produced))]
