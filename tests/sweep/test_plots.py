import io
import math
import subprocess
import sys
import threading

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from ms2sl.evaluation.objective import LATENCY, QUALITY
from ms2sl.sweep import plots
from ms2sl.sweep.front_plot import front_plot
from ms2sl.sweep.parallel import parallel_coordinates
from ms2sl.sweep.plots import BEST, DEFAULT, changes, curve, importance_plot, learning_curves, logarithmic, png
from ms2sl.sweep.trial_store import Trial


def trial(number: int, values: list[float | None], **fields) -> Trial:
    rows = [{"step": 100 * (i + 1)} | ({} if value is None else {QUALITY: value}) for i, value in enumerate(values)]
    return Trial(**{"number": number, "recipe": {}, "history": rows, "outcome": "finished"} | fields)


TRIALS = [
    trial(0, [60, 40, 35], name="default"),
    trial(1, [50, 30, 20]),
    trial(2, [80, 70], outcome="stopped"),
    trial(3, [65, None, math.nan], outcome="diverged"),
    trial(4, [], outcome="failed"),
    trial(5, [55, 42], outcome="stopped"),
    trial(6, [90, 45, 10], outcome="open"),
]


def figure(plot, *arguments) -> Figure:
    """What a function draws before it becomes a picture."""
    return plot.__wrapped__(*arguments)


def legend(drawn: Figure) -> list[str]:
    return [text.get_text() for each in drawn.legends for text in each.get_texts()]


def lines(axis) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): list(zip(*map(np.ndarray.tolist, map(np.asarray, line.get_data())), strict=True)) for line in axis.lines}


def test_every_picture_is_a_png_and_can_be_drawn_in_a_thread():
    pictures = []

    def draw():
        pictures.append(learning_curves(TRIALS, QUALITY, "letter error %"))
        pictures.append(changes(PBT, "values"))
        pictures.append(importance_plot({"losses.cycle": 1.0}, 12, 45))
        pictures.append(parallel_coordinates(TRIALS, QUALITY, "letter error %"))
        pictures.append(front_plot(TRIALS, [], ("letter error %", "ms")))

    thread = threading.Thread(target=draw)
    thread.start()
    thread.join()
    assert len(pictures) == 5
    for picture in pictures:
        with Image.open(io.BytesIO(picture)) as image:
            assert image.format == "PNG"
            assert min(image.size) > 150
            assert np.asarray(image.convert("L")).std() > 5


def test_a_picture_is_the_figure():
    @png
    def plot(width: float) -> Figure:
        return Figure(figsize=(width, 2))

    with Image.open(io.BytesIO(plot(3))) as image:
        assert image.size == (330, 220)


def test_neither_pyplot_nor_optuna_is_loaded_with_the_plots():
    code = "import sys, ms2sl.sweep.front_plot, ms2sl.sweep.parallel, ms2sl.sweep.importance, ms2sl.sweep.report as r\n"
    code += "assert not {'optuna', 'sklearn', 'matplotlib.pyplot'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_curve_has_the_finite_values():
    assert curve(trial(0, [1.0, None, math.nan, 4.0, math.inf]), QUALITY) == ([100, 400], [1.0, 4.0])
    assert curve(TRIALS[4], QUALITY) == ([], [])


def test_each_trial_is_a_line_and_the_best_and_the_default_stand_out():
    drawn = figure(learning_curves, TRIALS, QUALITY, "letter error %")
    (axis,) = drawn.axes
    assert axis.get_ylabel() == "letter error %"
    found = axis.lines[: len(TRIALS)]
    for line, each in zip(found, TRIALS, strict=True):
        assert (list(line.get_xdata()), list(line.get_ydata())) == curve(each, QUALITY)
    ends = {line: line.get_ydata()[-1] for line in found if len(line.get_ydata())}
    (best,) = [line for line in found if line.get_color() == BEST]
    (default,) = [line for line in found if line.get_color() == DEFAULT]
    assert best is min(ends, key=ends.get)
    assert (best.get_label(), default.get_label()) == ("best: 6", "0 (default)")
    others = [line for line in found if line not in (best, default)]
    assert min(best.get_linewidth(), default.get_linewidth()) > max(line.get_linewidth() for line in others)
    assert best.get_zorder() > max(line.get_zorder() for line in others)
    assert found[2].get_linewidth() < found[1].get_linewidth(), "stopped ones are thin"


def test_ends_before_the_end_are_marked_and_counted():
    drawn = figure(learning_curves, TRIALS, QUALITY, "")
    found = lines(drawn.axes[0])
    assert found["2 stopped"] == [(200, 70), (200, 42)]
    assert found["1 diverged"] == [(100, 65)]
    assert found["1 failed"] == [], "it has no point to mark"
    assert legend(drawn) == ["0 (default)", "best: 6", "2 stopped", "1 diverged", "1 failed"]
    assert legend(figure(learning_curves, TRIALS[:2], QUALITY, "")) == ["0 (default)", "best: 1"]


def test_the_default_may_be_the_best():
    assert legend(figure(learning_curves, TRIALS[:1], QUALITY, "")) == ["best: 0 (default)"]


@pytest.mark.parametrize(
    ("values", "scale"), [([900, 9], "log"), ([900, 10], "linear"), ([900, 0], "linear"), ([-900, -1], "linear"), ([], "linear")]
)
def test_the_axis_of_a_metric_is_logarithmic_where_that_helps(values, scale):
    assert figure(learning_curves, [trial(0, values)], QUALITY, "").axes[0].get_yscale() == scale


def values(number: int, **series: list[float]) -> Trial:
    rows = [{"step": 10 * (i + 1), "set/losses.fixed": 1.0, QUALITY: 50.0 - i} for i in range(3)]
    rows = [row | {f"set/losses.{name}": some[i] for name, some in series.items()} for i, row in enumerate(rows)]
    return Trial(number=number, recipe={}, history=rows)


PBT = [values(0, cycle=[0.1, 0.1, 0.2], cross_modal=[1.0, 1.0, 1.0]), values(1, cycle=[2.0, 2.0, 2.0], cross_modal=[1.0, 9.0, 2.0])]


def test_what_changed_is_drawn_for_each_trial():
    drawn = figure(changes, PBT, "Values during the run")
    shown = {axis.get_title(): axis for axis in drawn.axes if axis.axison}
    assert shown.keys() == {"losses.cycle", "losses.cross_modal"}, "neither what stays nor metrics"
    assert lines(shown["losses.cycle"]) == {"0": [(10, 0.1), (20, 0.1), (30, 0.2)], "1": [(10, 2.0), (20, 2.0), (30, 2.0)]}
    assert {axis.get_title(): axis.get_yscale() for axis in shown.values()} == {"losses.cycle": "log", "losses.cross_modal": "linear"}
    assert legend(drawn) == ["0", "1"]
    assert len({to_hex(line.get_color()) for line in shown["losses.cycle"].lines}) == 2
    assert all(line.get_drawstyle() == "steps-pre" for line in shown["losses.cycle"].lines)


def test_other_values_of_other_trials_are_no_change():
    drawn = figure(changes, [values(0, cycle=[1.0] * 3), values(1, cycle=[2.0] * 3)], "Values")
    assert not any(axis.axison for axis in drawn.axes)
    assert drawn.get_suptitle() == "Values: no value changed"


@pytest.mark.parametrize("n", [2, 7, 20, 21])
def test_legends_of_many_trials_stay_in_the_picture(n):
    drawn = figure(changes, [values(i, cycle=[0.1, 0.2, 0.3 + i], cross_modal=[1.0, 2.0, 3.0]) for i in range(n)], "Values")
    drawn.draw_without_rendering()
    assert len(legend(drawn)) == (n if n <= 20 else 0)
    for each in drawn.legends:
        box = each.get_window_extent()
        assert box.y0 >= 0
        assert box.x1 <= drawn.bbox.x1
        assert box.x0 >= max(axis.get_window_extent().x1 for axis in drawn.axes)


def test_bars_of_importance_are_in_order_and_hold_the_shares():
    shares = {"losses.cycle": 0.6, "training.learning_rate": 0.3, "model.schedule": 0.1}
    drawn = figure(importance_plot, shares, 12, 45)
    (axis,) = drawn.axes
    assert [bar.get_width() for bar in axis.patches] == list(shares.values())
    assert [label.get_text() for label in axis.get_yticklabels()] == list(shares)
    assert [text.get_text() for text in axis.texts] == ["60 %", "30 %", "10 %"]
    assert axis.yaxis_inverted(), "the first is at the top"
    assert "12 trials" in drawn.get_supxlabel()
    assert "hint" in drawn.get_supxlabel()


@pytest.mark.parametrize("shares", [{}, {"a": 1.0}, {f"a_rather_long_section.and_name_{i}": 0.125 for i in range(8)}])
def test_nothing_of_importance_is_cut_off(shares):
    drawn = figure(importance_plot, shares, 200, 100000)
    drawn.draw_without_rendering()
    box = drawn.get_tightbbox()  # inches
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= drawn.get_figwidth()
    assert box.y1 <= drawn.get_figheight()


def test_logarithmic_axes_have_plain_numbers():
    axis = Figure().subplots()
    axis.plot([0.01, 2.0], [1, 1000])
    logarithmic(axis, "x")
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "linear")
    axis.figure.draw_without_rendering()
    low, high = axis.get_xlim()
    texts = [label.get_text() for label in axis.get_xticklabels() if low <= label.get_position()[0] <= high]
    assert texts == ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]


def test_latency_has_curves_too():
    each = Trial(number=0, recipe={}, history=({"step": 5, LATENCY: 0.25},))
    assert lines(figure(learning_curves, [each], LATENCY, "s").axes[0])["best: 0"] == [(5, 0.25)]


def test_no_two_plots_share_state():
    assert plots.learning_curves(TRIALS, QUALITY, "") == plots.learning_curves(TRIALS, QUALITY, "")
