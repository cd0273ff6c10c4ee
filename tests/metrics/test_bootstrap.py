import numpy as np
import pytest

from ms2sl.metrics.bootstrap import difference, interval


def test_interval_agrees_with_the_standard_error():
    values = np.random.default_rng(0).normal(3, 2, size=400)
    low, high = interval(values, seed=1)
    error = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.05)


def test_the_seed_decides():
    values = np.arange(30)
    assert interval(values, seed=0) == interval(values, seed=0) != interval(values, seed=1)


def test_a_small_but_steady_difference_is_found_clip_by_clip():
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 10, size=100)
    a, b = hard + rng.normal(0.5, 0.3, size=100), hard
    low, high = difference(a, b, seed=0)
    assert 0 < low < (a - b).mean() < high
    assert difference(b, b, seed=0) == (0, 0)
