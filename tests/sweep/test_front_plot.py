import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from ms2sl.evaluation.objective import LATENCY, QUALITY
from ms2sl.sweep.front_plot import LINE, MOST, front_plot, spread
from ms2sl.sweep.pareto import front
from ms2sl.sweep.trial_store import Trial

TITLES = ("letter error %", "milliseconds")


def trial(number: int, quality: float, latency: float, name: str = "", **drawn) -> Trial:
    recipe = {"sampling": drawn} if drawn else {}
    return Trial(number=number, recipe=recipe, name=name, history=({"step": 1, QUALITY: quality, LATENCY: latency},))


def drawn(trials) -> tuple[Figure, list[Trial]]:
    best = front(trials, (QUALITY, LATENCY))
    return front_plot.__wrapped__(trials, best, TITLES), best


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


TRIALS = [
    trial(0, 30.0, 0.02, name="default"),
    trial(1, 20.0, 0.05, steps=8, guidance=1.23456, sampler="ddim"),
    trial(2, 40.0, 0.04, steps=9, guidance=2.0, sampler="dpm++"),
    trial(3, 10.0, 0.09, steps=16, sampler="dpm++"),
    trial(4, math.nan, 0.01, steps=1, other=1),
]


def test_all_trials_are_dots_and_the_front_is_a_line_in_milliseconds():
    figure, _ = drawn(TRIALS)
    (axis,) = figure.axes
    dots, line = axis.lines[:2]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("milliseconds", "letter error %")
    assert dots.get_xydata().tolist() == [[20, 30], [50, 20], [40, 40], [90, 10]]
    assert dots.get_linestyle() == "None"
    assert line.get_xydata().tolist() == [[20, 30], [50, 20], [90, 10]]
    assert line.get_linestyle() == "-"


def test_what_was_drawn_stands_beside_the_front():
    figure, _ = drawn(TRIALS)
    assert texts(figure) == ["default", "8 · 1.23 · ddim", "16 · – · dpm++"]
    assert figure.axes[0].get_title(loc="right") == "beside the front: sampling.steps · sampling.guidance · sampling.sampler"
    assert [text.xy for text in figure.axes[0].texts] == [(20, 30), (50, 20), (90, 10)]


def test_of_many_values_the_number_of_the_trial_is_written():
    names = [f"v{i}" for i in range(MOST + 1)]
    figure, _ = drawn([trial(i, 10.0 - i, 0.1 + i, **dict.fromkeys(names, 1.0)) for i in (3, 7)])
    assert texts(figure) == ["3", "7"]
    assert figure.axes[0].get_title(loc="right") == "beside the front: number of the trial"


@pytest.mark.parametrize(("span", "scales"), [((9, 30), ("linear", "linear")), ((10, 30), ("log", "linear")), ((9, 32), ("linear", "log"))])
def test_scales(span, scales):
    figure, _ = drawn([trial(0, 1.0, 0.01), trial(1, 1.0 * span[1], 0.01 * span[0])])
    assert (figure.axes[0].get_xscale(), figure.axes[0].get_yscale()) == scales


def cluster(n: int, seed: int) -> list[Trial]:
    """A front on which points lie close together, and others behind it."""
    rng = np.random.default_rng(seed)
    ways = np.sort(np.r_[rng.uniform(0, 1, n - n // 2), rng.normal(0.5, 0.01, n // 2)])
    values = [{name: float(rng.uniform(0, 9)) for name in ("steps", "guidance", "eta")} for _ in ways]
    best = [trial(i, 30 * math.exp(-3 * way) + 15, 0.01 * 10 ** (1.5 * way), **values[i]) for i, way in enumerate(ways)]
    return best + [trial(n + i, 60 * rng.uniform(0.9, 1), 0.3 * rng.uniform(0.9, 1), steps=1.0) for i in range(50)]


@pytest.mark.parametrize("n", [1, 2, 10, 30])
@pytest.mark.parametrize("seed", range(3))
def test_labels_touch_neither_each_other_nor_the_axes_nor_the_front(n, seed):
    figure, best = drawn(cluster(n, seed))
    assert len(best) == n
    figure.draw_without_rendering()
    (axis,) = figure.axes
    inside = axis.get_window_extent()
    line = axis.transData.transform(axis.lines[1].get_xydata())
    across = []
    for text in axis.texts:
        box = text.get_window_extent()
        assert inside.x0 <= box.x0
        assert inside.y0 <= box.y0
        assert box.x1 <= inside.x1
        assert box.y1 <= inside.y1
        end = axis.transData.transform(text.xy) + np.array(text.xyann) * figure.dpi / 72
        across.append((end[0] - end[1]) / math.sqrt(2))
        edge = np.interp(across[-1], (line[:, 0] - line[:, 1]) / math.sqrt(2), line.sum(axis=1) / math.sqrt(2))
        assert end.sum() / math.sqrt(2) < edge - 3 * figure.dpi / 72
    assert (np.diff(across) >= (LINE - 0.01) * figure.dpi / 72).all()


def test_points_stay_inside_too():
    figure, _ = drawn(cluster(30, 0))
    (axis,) = figure.axes
    box = axis.get_window_extent()
    places = axis.transData.transform(axis.lines[0].get_xydata())
    assert (places > [box.x0 + 5, box.y0 + 5]).all()
    assert (places < [box.x1 - 5, box.y1 - 5]).all()


@pytest.mark.parametrize("trials", [[], TRIALS[:1], TRIALS[4:], [trial(0, 5.0, 0.1, steps=1), trial(1, 5.0, 0.1, steps=2)]])
def test_few_trials_can_be_drawn(trials):
    assert front_plot(trials, front(trials, (QUALITY, LATENCY)), TITLES).startswith(b"\x89PNG")


def test_places_are_spread_as_little_as_possible():
    assert spread(np.array([0.0, 10.0, 30.0]), 5).tolist() == [0, 10, 30]
    assert spread(np.array([0.0, 0.0, 30.0]), 4).tolist() == [-2, 2, 30]
    assert spread(np.array([5.0, 5.0, 5.0, 5.0]), 2).tolist() == [2, 4, 6, 8]
    rng = np.random.default_rng(0)
    places = np.sort(rng.uniform(0, 50, 30))
    found = spread(places, 2)
    assert (np.diff(found) >= 2 - 1e-9).all()
    cost = ((found - places) ** 2).sum()
    for _ in range(300):  # no other allowed places are nearer
        other = found + rng.normal(size=30) * 0.05
        other = np.maximum.accumulate(other - 2 * np.arange(30)) + 2 * np.arange(30)
        assert ((other - places) ** 2).sum() >= cost - 1e-9
