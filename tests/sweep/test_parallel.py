import math
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from ms2sl.evaluation.objective import QUALITY
from ms2sl.sweep.parallel import Scale, parallel_coordinates
from ms2sl.sweep.plots import BEST
from ms2sl.sweep.trial_store import Trial


def trial(number: int, quality: float | None, name: str = "", **drawn) -> Trial:
    recipe = {"losses": drawn} if drawn else {}
    return Trial(number=number, recipe=recipe, name=name, history=() if quality is None else ({"step": 1, QUALITY: quality},))


TRIALS = [
    trial(0, 30.0, name="default"),
    trial(1, 50.0, cycle=0.01, steps=1, schedule="linear", warm=True),
    trial(2, 10.0, cycle=0.1, steps=4, schedule="cosine", warm=False),
    trial(3, 20.0, cycle=1.0, steps=2, schedule="none", warm=True),
    trial(4, None, cycle=5.0, steps=9, schedule="other"),
    trial(5, math.nan, cycle=5.0, steps=9, schedule="other"),
]


def drawn(trials) -> Figure:
    return parallel_coordinates.__wrapped__(trials, QUALITY, "letter error %")


def curves(figure: Figure) -> list:
    return [line for line in figure.axes[0].lines if line.get_marker() == "."]


def test_places_on_linear_logarithmic_and_worded_scales():
    linear, log, words = Scale.of([1, 2, 5]), Scale.of([0.01, 1.0, 0.1]), Scale.of(["b", True, "c"])
    assert [linear.place(value) for value in (1, 2, 5)] == [0, 0.25, 1]
    assert [log.place(value) for value in (0.01, 0.1, 1.0)] == pytest.approx([0, 0.5, 1])
    assert words.ticks() == {"True": 0, "b": 0.5, "c": 1}
    assert math.isnan(linear.place(math.nan))
    assert Scale.of([None, 0.5]).ticks() == {"0.5": 0, "None": 1}
    assert Scale.of([7.0]).ticks() == {"7": 0.5}
    assert Scale.of(["only"]).ticks() == {"only": 0.5}


@pytest.mark.parametrize(("values", "logarithmic"), [([1, 32], True), ([1, 31], False), ([0, 100], False), ([-1000, -1], False)])
def test_an_axis_is_logarithmic_from_one_and_a_half_decades(values, logarithmic):
    assert Scale.of(values).logarithmic is logarithmic


def test_few_numbers_are_all_written_and_of_many_round_ones():
    assert list(Scale.of([96, 192, 1536, 192]).ticks()) == ["96", "192", "1536"]
    assert list(Scale.of([0.123456, 0.2]).ticks()) == ["0.123", "0.2"]
    assert list(Scale.of(np.linspace(0.0007, 0.0042, 50).tolist()).ticks()) == ["0.001", "0.002", "0.003", "0.004"]
    assert list(Scale.of(np.geomspace(0.015, 0.6, 50).tolist()).ticks()) == ["0.02", "0.05", "0.1", "0.2", "0.5"]


def test_each_judged_trial_is_a_line_through_its_values():
    figure = drawn(TRIALS)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [
        *("losses\ncycle", "losses\nsteps", "losses\nschedule", "losses\nwarm"),
        "letter error %",
    ]
    found = [line.get_ydata().tolist() for line in curves(figure)]
    expected = [[0, 0, 0.5, 1, 1], [math.nan] * 4 + [0.5], [1, 1 / 3, 1, 1, 0.25], [0.5, 1, 0, 0, 0]]  # the worst first
    np.testing.assert_allclose(found, expected)


def test_the_lowest_stands_out():
    figure = drawn(TRIALS)
    *others, best = curves(figure)
    assert best.get_color() == BEST
    assert best.get_ydata()[-1] == 0 == min(line.get_ydata()[-1] for line in curves(figure))
    assert best.get_linewidth() > max(line.get_linewidth() for line in others)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["best: 2"]


def test_lines_are_coloured_by_the_metric():
    figure = drawn([trial(i, float(i), x=0.5 * i) for i in (0, 1, 2, 3)])
    bar = figure.axes[1]
    assert bar.get_ylabel() == "letter error %"
    assert bar.get_ylim() == (0, 3)
    colours = [line.get_color()[:3] for line in curves(figure)[:-1]]
    assert len(set(colours)) == 3
    brightness = [sum(colour) for colour in colours]
    assert brightness == sorted(brightness, reverse=True), "viridis is darker for less"


def test_a_metric_over_decades_has_logarithmic_colours_and_plain_numbers():
    figure = drawn([trial(i, 10.0**i, x=i) for i in range(3)])
    figure.draw_without_rendering()
    bar = figure.axes[1]
    assert bar.get_yscale() == "log"
    written = [label.get_text() for label in bar.get_yticklabels() if 1 <= label.get_position()[1] <= 100]
    assert written == ["1", "2", "5", "10", "20", "50", "100"]
    assert [line.get_ydata()[-1] for line in curves(figure)] == [1, 0.5, 0]


@pytest.mark.parametrize("trials", [[], TRIALS[:1], TRIALS[2:3], [TRIALS[2]] * 2, [trial(0, 1.0, x=None)]])
def test_few_trials_can_be_drawn(trials):
    assert parallel_coordinates(trials, QUALITY, "letter error %").startswith(b"\x89PNG")


def test_nothing_is_cut_off():
    rng = np.random.default_rng(0)
    names = ("contrastive", "learning_rate_of_it", "c", "d", "e", "f", "g", "a_name_that_is_long")
    figure = drawn([trial(i, float(rng.uniform(0, 100)), **{name: float(10 ** rng.uniform(-5, 0)) for name in names}) for i in range(200)])
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= figure.get_figwidth()
    assert box.y1 <= figure.get_figheight()
    labels = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert all(left.x1 <= right.x0 for left, right in pairwise(labels))
