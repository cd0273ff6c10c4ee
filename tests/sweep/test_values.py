import math

import pytest

from ms2sl.sweep.trial_store import Trial
from ms2sl.sweep.values import is_number, judged, shown, spans, swept


def test_names_are_in_the_order_of_their_first_appearance():
    trials = [Trial(number=i, recipe=recipe) for i, recipe in enumerate([{}, {"b": {"x": 1}}, {"a": 2, "b": {"x": 3, "y": 4}}])]
    assert swept(trials) == ["b.x", "a", "b.y"]


def test_only_finite_numbers_are_judgements():
    values = [3.0, math.nan, 1.0, math.inf, None, 3.0]
    trials = [Trial(number=i, recipe={}, history=() if value is None else ({"m": value},)) for i, value in enumerate(values)]
    assert [trial.number for trial in judged(trials, "m")] == [2, 0, 5]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123456, "0.01235"), (2.0, "2"), (123456, "123456"), (True, "True"), ("a", "a"), (None, "None")]
)
def test_values_in_words(value, text):
    assert shown(value) == text


def test_truths_are_no_numbers():
    assert [is_number(value) for value in (1, 1.5, math.nan, True, "1", None)] == [True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([1, 100], True),
        ([0.001, 0.1, 0.05], True),
        ([1, 99], False),
        ([0, 100], False),
        ([-1, -100], False),
        ([-1, 100], False),
        ([], False),
    ],
)
def test_two_decades(values, found):
    assert spans(values, 2) is found
