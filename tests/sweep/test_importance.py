import logging
import math

import numpy as np
import pytest

from ms2sl.evaluation.objective import QUALITY
from ms2sl.sweep.importance import importance
from ms2sl.sweep.trial_store import Trial

NAMES = ("contrastive", "cycle", "frame_contrastive", "cross_modal")


def trial(number: int, recipe: dict, quality: float | None) -> Trial:
    return Trial(number=number, recipe=recipe, history=() if quality is None else ({"step": 1, QUALITY: quality},))


def sweep(n: int, matters: str, seed: int = 0) -> list[Trial]:
    """Four values drawn on a logarithmic scale, one of which matters, and noise."""
    rng = np.random.default_rng(seed)
    drawn = [{name: float(10 ** rng.uniform(-2, 0)) for name in NAMES} for _ in range(n)]
    return [trial(i, {"losses": each}, 20 + 10 * abs(math.log10(each[matters]) + 0.5) + rng.normal()) for i, each in enumerate(drawn)]


@pytest.mark.parametrize("matters", NAMES)
def test_the_one_value_that_matters_is_found(matters):
    shares = importance(sweep(30, matters), QUALITY, {f"losses.{name}" for name in NAMES})
    assert next(iter(shares)) == f"losses.{matters}"
    assert shares[f"losses.{matters}"] > 0.6
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares.keys() == {f"losses.{name}" for name in NAMES}


def test_what_matters_only_near_zero_needs_logarithms():
    rng = np.random.default_rng(0)
    drawn = [{name: float(10 ** rng.uniform(-4, 0)) for name in NAMES} for _ in range(40)]
    trials = [trial(i, each, 10 * max(0, -1.5 - math.log10(each["cycle"])) + rng.normal()) for i, each in enumerate(drawn)]
    shares, plain = importance(trials, QUALITY, NAMES), importance(trials, QUALITY)
    assert shares["cycle"] > 0.9
    assert plain["cycle"] < shares["cycle"] - 0.1


def test_the_same_trials_give_the_same_shares():
    trials = sweep(12, "cycle")
    assert importance(trials, QUALITY) == importance(trials, QUALITY)


def test_words_truths_and_whole_numbers_can_matter():
    rng = np.random.default_rng(1)
    drawn = [
        {"schedule": str(rng.choice(["linear", "cosine"])), "warm": bool(rng.integers(2)), "width": int(rng.choice([96, 192, 384]))}
        for _ in range(40)
    ]
    effects = {
        "schedule": lambda each: 5.0 * (each["schedule"] == "cosine"),
        "warm": lambda each: 5.0 * each["warm"],
        "width": lambda each: each["width"] / 30,
    }
    for name, effect in effects.items():
        shares = importance([trial(i, each, effect(each) + rng.normal() / 2) for i, each in enumerate(drawn)], QUALITY)
        assert max(shares, key=shares.get) == name


def test_a_value_may_be_none_or_zero_on_a_logarithmic_scale():
    trials = [trial(i, {"a": i % 3 or None, "b": float(i % 4)}, float(i)) for i in range(12)]
    assert importance(trials, QUALITY, {"a", "b"}).keys() == {"a", "b"}


def test_what_most_lack_and_who_lacks_what_most_have_are_left_out():
    trials = sweep(12, "cycle")
    default = trial(20, {}, 1000.0)
    rare = trial(21, trials[0].recipe | {"model": {"width": 8}}, trials[0].value(QUALITY))
    unjudged = [trial(22, {"losses": {"cycle": 0.5}}, None), trial(23, trials[0].recipe, math.nan)]
    shares = importance([*trials, rare], QUALITY)
    assert shares.keys() == {f"losses.{name}" for name in NAMES}
    assert importance([*trials, default, rare, *unjudged], QUALITY) == shares


@pytest.mark.parametrize(
    "trials",
    [
        [],
        sweep(3, "cycle"),
        [trial(i, {"a": i, "b": -i}, 5.0) for i in range(9)],
        [trial(i, {"a": i}, float(i)) for i in range(9)],
        [trial(i, {"a": i, "b": 1}, float(i)) for i in range(9)],
        [trial(i, {str(i): 1}, float(i)) for i in range(9)],
        [trial(i, {"a": i, "b": -i}, float(i) if i < 3 else None) for i in range(9)],
    ],
    ids=["none", "three trials", "equal metric", "one value", "one that differs", "none in common", "three judged"],
)
def test_there_may_be_nothing_to_say(trials):
    assert importance(trials, QUALITY) == {}


def test_four_trials_are_enough_and_nothing_is_announced(capfd, caplog):
    with caplog.at_level(logging.INFO):
        assert importance(sweep(4, "cycle"), QUALITY)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
