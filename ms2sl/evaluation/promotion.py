"""Whether a model may take the place of the present champion: if it is surely not worse, judged on the same clips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ms2sl.evaluation.aggregation import Result, Score, percentile_interval
from ms2sl.evaluation.objective import ScoreName, digits, to_minimize
from ms2sl.evaluation.tables import with_interval

MARGINS: Mapping[ScoreName, float] = {
    "letter_error": 1.0,
    "word_error": 1.0,
    "log_likelihood": 0.05,
}  # that count as not worse, by the usual score


@dataclass(frozen=True)
class Verdict:
    """promoted: whether it may take the champion's place; reason: why, in a line with figures."""

    promoted: bool
    reason: str


def compare(model: Sequence[Result], champion: Sequence[Result], score: ScoreName, margin: float) -> Verdict:
    """The verdict on a model whose results, one from each modality, stand beside those of the champion on the same clips.

    From every modality that the champion was judged from, the loss of the score may be larger by ``margin`` at most, at the upper end of
    its 95 % interval, which resamples clips in pairs.
    """
    own = {result.modality: result for result in model}
    if missing := [result.modality for result in champion if result.modality not in own]:
        return Verdict(False, f"it cannot be judged from {' and '.join(missing)}, as the champion can")
    gaps = {result.modality: loss_gap(own[result.modality], result, score) for result in champion}
    figures = ", ".join(f"from {name} {with_interval(gap, sign=True, digits=digits(score))}" for name, gap in gaps.items())
    worse = [name for name, gap in gaps.items() if not gap.high <= margin]  # NaN says nothing, and is not enough
    what = f"its loss in {score.replace('_', ' ')} is, against the champion's, {figures}"
    if worse:
        return Verdict(False, f"{what}: from {' and '.join(worse)} it is not surely within {margin:g}")
    return Verdict(True, f"{what}: surely within {margin:g}")


def loss_gap(result: Result, other: Result, score: ScoreName) -> Score:
    """By how much more is lost by a result than by another, with its paired interval; above 0 is worse, whichever the score."""
    value = to_minimize(result.value(score), score) - to_minimize(other.value(score), score)
    gap = to_minimize(result.resampled[score], score) - to_minimize(other.resampled[score], score)
    return Score(float(value), *percentile_interval(np.asarray(gap)), ())
