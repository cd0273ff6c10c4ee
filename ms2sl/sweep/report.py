"""The trials of a sweep as a table."""

import math
from collections.abc import Sequence

from ms2sl.evaluation.tables import Table
from ms2sl.sweep.trial_store import Trial
from ms2sl.sweep.values import shown, swept

LONGEST_REASON = 60  # characters
Column = tuple[str, str, float, int]  # title, name of the metric, what it is multiplied by, digits after the point


def trials_table(trials: Sequence[Trial], metrics: Sequence[Column]) -> Table:
    """A row a trial: what it drew, how far it came if it was trained, how it ended, the last value of each metric and the seconds it took.

    The lowest first metric comes first; those without it come last, in the order of their numbers.
    """
    names, first = swept(trials), metrics[0][1]
    trained = any(trial.step > 1 for trial in trials)
    rows = [("trial", *names, *["steps"] * trained, "outcome", *(title for title, *_ in metrics), "seconds")]
    for trial in sorted(trials, key=lambda trial: _rank(trial, first)):
        values = (shown(trial.drawn.get(name, "")) for name in names)
        reached = (_number(trial.value(name) * scale, digits) for _, name, scale, digits in metrics)
        rows.append((trial.label, *values, *[str(trial.step)] * trained, _outcome(trial), *reached, f"{trial.seconds:.0f}"))
    return rows


def _rank(trial: Trial, metric: str) -> tuple[float, int]:
    value = trial.value(metric)
    return (value if math.isfinite(value) else math.inf, trial.number)


def _number(value: float, digits: int) -> str:
    return f"{value:z.{digits}f}" if math.isfinite(value) else ""


def _outcome(trial: Trial) -> str:
    """Of what went wrong the reason too, on one line and without what would end a cell of Markdown."""
    reason = " ".join(trial.reason.replace("|", "/").split())
    if trial.outcome not in ("diverged", "failed") or not reason:
        return trial.outcome
    return f"{trial.outcome}: {reason if len(reason) <= LONGEST_REASON else reason[: LONGEST_REASON - 1] + '…'}"
