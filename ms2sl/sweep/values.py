"""What trials drew and reached, by name, in words and on scales."""

import math
from collections.abc import Sequence
from typing import Any

from ms2sl.sweep.trial_store import Trial


def swept(trials: Sequence[Trial]) -> list[str]:
    """Dotted names of all values that were drawn, in the order in which they first appear."""
    return list(dict.fromkeys(name for trial in trials for name in trial.drawn))


def judged(trials: Sequence[Trial], metric: str) -> list[Trial]:
    """Those whose last value of the metric is a finite number, the lowest first."""
    known = [trial for trial in trials if math.isfinite(trial.value(metric))]
    return sorted(known, key=lambda trial: (trial.value(metric), trial.number))


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(value: Any, digits: int = 4) -> str:
    """A drawn value; of a fraction so many significant digits."""
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def spans(values: Sequence[float], decades: float) -> bool:
    """Whether all are positive and lie so many powers of ten apart, so that a logarithmic axis shows them better."""
    return len(values) > 0 and min(values) > 0 and math.log10(max(values) / min(values)) >= decades - 1e-9
