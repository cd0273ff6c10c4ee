"""Which of the drawn values made the difference between trials."""

import math
from collections.abc import Collection, Sequence
from typing import Any

from ms2sl.extras import extra
from ms2sl.sweep.trial_store import Trial
from ms2sl.sweep.values import is_number, judged, swept

FEWEST = 4  # trials of which anything can be said


def importance(trials: Sequence[Trial], metric: str, logarithmic: Collection[str] = ()) -> dict[str, float]:
    """Of what single values explain of the variance of a metric's last value, the share of each (sum 1), the largest first.

    fANOVA (Hutter et al. 2014), because it finds what matters from a dozen trials, where PED-ANOVA, which looks at the best tenth alone,
    has one or two to look at. logarithmic: names of numbers that were drawn on a logarithmic scale. Values that most trials lack are left
    out, and then trials that lack one of the others. Empty if there is nothing to tell apart: fewer than four trials, fewer than two values
    that differ, or a metric that never does. The caller sees to it that trials are compared at the same step.
    """
    known = judged(trials, metric)
    common = [name for name in swept(known) if 2 * sum(name in trial.drawn for trial in known) > len(known)]
    known = [trial for trial in known if all(name in trial.drawn for name in common)]
    columns = {name: _column([trial.drawn[name] for trial in known], name in logarithmic) for name in common}
    columns = {name: column for name, column in columns.items() if len(set(column)) > 1}
    reached = [trial.value(metric) for trial in known]
    if len(known) < FEWEST or len(columns) < 2 or len(set(reached)) < 2:
        return {}
    return _fanova(columns, reached)


def _column(values: Sequence[Any], logarithmic: bool) -> list[float] | list[str]:
    """Numbers, or names where any is none. Logarithms are taken here since optuna's fANOVA averages over the plain range of a value."""
    if not all(is_number(value) for value in values):
        return [str(value) for value in values]
    return [math.log10(value) if logarithmic and min(values) > 0 else float(value) for value in values]


def _fanova(columns: dict[str, list[float] | list[str]], reached: Sequence[float]) -> dict[str, float]:
    """columns: by name, a value a trial."""
    with extra("tune"):
        import optuna  # takes long to load

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every study
    study = optuna.create_study()
    optuna.logging.set_verbosity(level)
    ranges = {name: _range(optuna.distributions, column) for name, column in columns.items()}
    for i, value in enumerate(reached):
        drawn = {name: column[i] for name, column in columns.items()}
        study.add_trial(optuna.trial.create_trial(params=drawn, distributions=ranges, value=value))
    shares = optuna.importance.get_param_importances(study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0))
    return {name: float(share) for name, share in shares.items()}


def _range(distributions: Any, column: Sequence) -> Any:
    if isinstance(column[0], str):
        return distributions.CategoricalDistribution(sorted(set(column)))
    return distributions.FloatDistribution(min(column), max(column))
