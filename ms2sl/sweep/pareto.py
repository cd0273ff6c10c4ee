"""The trials that are best at something: the Pareto front."""

from collections.abc import Sequence

import numpy as np

from ms2sl.sweep.trial_store import Trial


def front(trials: Sequence[Trial], metrics: Sequence[str]) -> list[Trial]:
    """Those that no other dominates, all metrics minimised, in the order of the last metric.

    A trial dominates another if it is nowhere worse and somewhere better, so that equal ones stay together. A trial without a finite last
    value of each metric is never on the front.
    """
    known = [(trial, point) for trial, point in ((trial, _point(trial, metrics)) for trial in trials) if np.isfinite(point).all()]
    points = np.array([point for _, point in known]).reshape(len(known), len(metrics))
    kept = [each for each in known if not _dominated(each[1], points)]
    return [trial for trial, _ in sorted(kept, key=lambda each: (*reversed(each[1]), each[0].number))]


def _point(trial: Trial, metrics: Sequence[str]) -> tuple[float, ...]:
    return tuple(trial.value(metric) for metric in metrics)


def _dominated(point: Sequence[float], points: np.ndarray) -> bool:
    """points: ``(trials, metrics)``."""
    return bool(((points <= point).all(axis=1) & (points < point).any(axis=1)).any())
