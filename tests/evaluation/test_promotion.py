"""Who may take the champion's place."""

import re
from typing import get_args

import numpy as np
import pytest

from ms2sl.evaluation.aggregation import Result, Score, percentile_interval
from ms2sl.evaluation.objective import usual_score
from ms2sl.evaluation.promotion import MARGINS, compare, loss_gap
from ms2sl.systems.back_translation import Reading

ROUNDS = np.random.default_rng(0).normal(size=1000)
LUCK = np.random.default_rng(1).normal(size=1000)  # of clips, which all that are judged on them share


def result(value: float, modality: str = "text", spread: float = 0.0, score: str = "letter_error") -> Result:
    resampled = value + 5 * LUCK + spread * ROUNDS
    return Result("x", modality, {score: Score(value, *percentile_interval(resampled), (value,))}, resampled={score: resampled})


@pytest.mark.parametrize(
    ("own", "spread", "promoted"),
    [
        (10.0, 0.0, True),  # the same
        (4.0, 1.0, True),  # better
        (10.9, 0.0, True),  # worse, within the margin
        (11.1, 0.0, False),  # worse
        (10.0, 0.4, True),  # as good, and surely so: 0.8 more at most
        (10.0, 1.0, False),  # as good, but perhaps 2 worse
        (8.5, 1.0, True),  # better, and surely not 1 worse
        (float("nan"), 0.0, False),
    ],
)
def test_who_is_surely_not_worse_is_promoted(own, spread, promoted):
    verdict = compare([result(own, spread=spread)], [result(10.0)], "letter_error", 1.0)
    assert verdict.promoted is promoted
    assert "letter error" in verdict.reason


def test_the_reason_has_the_figures():
    worse = compare([result(12.5)], [result(10.0)], "letter_error", 1.0)
    assert worse.reason == (
        "its loss in letter error is, against the champion's, from text +2.50 (2.50 to 2.50): from text it is not surely within 1"
    )
    same = compare([result(10.0)], [result(10.0)], "letter_error", 1.0)
    assert same.reason == "its loss in letter error is, against the champion's, from text +0.00 (0.00 to 0.00): surely within 1"


def test_luck_with_the_clips_is_nobodys_merit():
    """Each alone has an interval of 20 points; the difference in pairs has none."""
    gap = loss_gap(result(10.5), result(10.0), "letter_error")
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.5, 0.5, 0.5))


@pytest.mark.parametrize(("own", "promoted"), [(-3.0, True), (-3.04, True), (-3.06, False), (-2.0, True)])
def test_of_a_likelihood_more_is_better(own, promoted):
    score = "log_likelihood"
    assert compare([result(own, score=score)], [result(-3.0, score=score)], score, MARGINS[score]).promoted is promoted


@pytest.mark.parametrize(
    ("own", "promoted", "reason"),
    [
        ({"text": 1.0, "speech": 1.0}, True, "from text -9.00 .*, from speech -9.00 "),
        ({"text": 1.0, "speech": 20.0}, False, "from speech it is not surely within 1"),
        ({"text": 30.0, "speech": 20.0}, False, "from text and speech it is not surely within 1"),
        ({"text": 1.0}, False, "cannot be judged from speech, as the champion can"),
        ({"text": 1.0, "speech": 1.0, "both": 99.0}, True, "surely within 1"),
    ],
    ids=str,
)
def test_it_must_hold_from_every_modality_of_the_champion(own, promoted, reason):
    champion = [result(10.0, modality) for modality in ("text", "speech")]
    verdict = compare([result(value, modality) for modality, value in own.items()], champion, "letter_error", 1.0)
    assert verdict.promoted is promoted
    assert re.search(reason, verdict.reason), verdict.reason


def test_every_reader_has_a_margin():
    class Reader:
        def __init__(self, reads: str):
            self.reads = reads

    assert {usual_score(Reader(reads)) for reads in get_args(Reading)} == MARGINS.keys()
