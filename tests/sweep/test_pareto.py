import math

import numpy as np
import pytest

from ms2sl.sweep.pareto import front
from ms2sl.sweep.trial_store import Trial


def trials(points, metrics="ab") -> list[Trial]:
    rows = [{"step": 1} | {name: float(value) for name, value in zip(metrics, point, strict=True) if value is not None} for point in points]
    return [Trial(number=i, recipe={}, history=(row,)) for i, row in enumerate(rows)]


def numbers(found) -> list[int]:
    return [trial.number for trial in found]


def reference(points) -> set[int]:
    """One after another, as the definition says."""

    def dominates(one, other) -> bool:
        return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))

    return {i for i, point in enumerate(points) if not any(dominates(other, point) for other in points)}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("metrics", ["a", "ab", "abc"])
def test_it_is_what_the_definition_says(seed, metrics):
    points = np.random.default_rng(seed).integers(8, size=(40, len(metrics)))  # few values, so that there are ties
    found = front(trials(points, metrics), metrics)
    assert set(numbers(found)) == reference(points.tolist())
    last = [trial.value(metrics[-1]) for trial in found]
    assert last == sorted(last)


def test_better_at_one_thing_is_enough_and_equal_ones_stay():
    points = [(1, 9), (5, 5), (5, 5), (5, 6), (9, 1), (9, 9)]
    assert numbers(front(trials(points), "ab")) == [4, 1, 2, 0]


def test_the_last_metric_gives_the_order():
    points = [(1, 9), (5, 5), (9, 1)]
    assert numbers(front(trials(points), "ab")) == [2, 1, 0]
    assert numbers(front(trials(points), "ba")) == [0, 1, 2]


def test_who_lacks_a_metric_is_neither_on_it_nor_in_the_way():
    points = [(5, 5), (1, None), (None, 1), (math.nan, 0), (0, math.inf), (-math.inf, 9)]
    assert numbers(front(trials(points), "ab")) == [0]


def test_there_may_be_nobody():
    assert front([], "ab") == []
    assert front(trials([(None, None)]), "ab") == []
