"""Pictures of a sweep: how its trials went, what they drew, and what that was worth. Each function returns a PNG.

``optuna.visualization`` marks neither the best trial nor how others ended, names nobody on the front, and draws with the state of pyplot.
"""

import functools
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, ParamSpec

from ms2sl.extras import extra
from ms2sl.sweep.trial_store import SET, Trial
from ms2sl.sweep.values import judged, spans

with extra("tune"):
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

P = ParamSpec("P")
BEST, DEFAULT, PLAIN, FAINT = "crimson", "black", "steelblue", "darkgrey"  # colours
MARKS = {"stopped": "x", "diverged": "^", "failed": "s"}
MANY = 20  # lines that a legend can name


def png(plot: Callable[P, Figure]) -> Callable[P, bytes]:
    """Makes a function that draws a figure one that returns it as PNG."""

    @functools.wraps(plot)
    def picture(*args: P.args, **kwargs: P.kwargs) -> bytes:
        file = io.BytesIO()
        plot(*args, **kwargs).savefig(file, format="png", dpi=110)
        return file.getvalue()

    return picture


@png
def learning_curves(trials: Sequence[Trial], metric: str, title: str, best: Trial | None = None) -> Figure:
    """A metric (called ``title``) against the step, a line a trial, with a mark where one was stopped, diverged or failed.

    The best trial, by default the one with the lowest last value, and the one named ``default`` stand out.
    """
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    axis = figure.subplots()
    first = [best] if best else judged(trials, metric)[:1]
    for trial in trials:
        axis.plot(*curve(trial, metric), **_style(trial, trial in first))
    for outcome, mark in MARKS.items():
        ended = [trial for trial in trials if trial.outcome == outcome]
        last = [(steps[-1], values[-1]) for steps, values in (curve(trial, metric) for trial in ended) if len(steps)]
        if ended:
            axis.plot(
                *zip(*last, strict=True) if last else ((), ()),
                mark,
                color="dimgrey",
                markersize=5,
                alpha=0.7,
                label=f"{len(ended)} {outcome}",
            )
    if spans([value for line in axis.lines for value in line.get_ydata()], 2):
        logarithmic(axis, "y")
    axis.set(xlabel="step", ylabel=title)
    figure.legend(handles=axis.get_legend_handles_labels()[0], loc="outside right upper", frameon=False)
    return figure


def curve(trial: Trial, metric: str) -> tuple[list[float], list[float]]:
    """Steps and the finite values there."""
    rows = [(row["step"], row[metric]) for row in trial.history if math.isfinite(row.get(metric, math.nan))]
    return [step for step, _ in rows], [value for _, value in rows]


def _style(trial: Trial, best: bool) -> dict:
    if best or trial.name == "default":
        name = f"best: {trial.label}" if best else trial.label
        return {"color": BEST if best else DEFAULT, "linewidth": 2.2, "marker": ".", "zorder": 3, "label": name}
    if trial.outcome in MARKS:
        return {"color": FAINT, "linewidth": 0.8, "marker": ".", "markersize": 2}
    return {"color": PLAIN, "linewidth": 1.2, "marker": ".", "markersize": 3, "alpha": 0.6}


@png
def changes(trials: Sequence[Trial], title: str) -> Figure:
    """What changed during the run, as in population based training (Jaderberg et al. 2017): each value against the step, a line a trial.

    A row of the history holds, as ``set/<name>``, what was used up to its step.
    """
    names = list(dict.fromkeys(key for trial in trials for row in trial.history for key in row if key.startswith(SET)))
    names = [name for name in names if any(len(set(curve(trial, name)[1])) > 1 for trial in trials)]
    columns = min(3, max(1, len(names)))
    rows = max(1, math.ceil(len(names) / columns))
    figure = Figure(figsize=(1.8 + 3.3 * columns, 0.6 + 2.5 * rows), layout="constrained")
    figure.suptitle(title if names else f"{title}: no value changed")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis, name in zip(axes, names, strict=False):
        _changing(axis, trials, name)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    if names and len(trials) <= MANY:
        lines = axes[0].get_lines()
        figure.legend(handles=lines, loc="outside right upper", title="trial", frameon=False, ncols=math.ceil(len(lines) / (9 * rows)))
    return figure


def _changing(axis: Axes, trials: Sequence[Trial], name: str) -> None:
    colours = matplotlib.colormaps["tab10" if len(trials) <= MANY // 2 else "tab20"]
    for i, trial in enumerate(trials):
        colour = colours(i) if len(trials) <= MANY else PLAIN
        axis.plot(*curve(trial, name), drawstyle="steps-pre", marker=".", color=colour, alpha=0.7, label=trial.label)
    if spans([value for line in axis.lines for value in line.get_ydata()], 1):
        logarithmic(axis, "y")
    axis.set_title(name.removeprefix(SET), fontsize=10)
    axis.set_xlabel("step")


@png
def importance_plot(shares: Mapping[str, float], n_trials: int, step: int) -> Figure:
    """How much each value matters, as ``importance`` has it, for so many trials at a step to which all of them came."""
    figure = Figure(figsize=(7, 1.4 + 0.35 * max(1, len(shares))), layout="constrained")
    axis = figure.subplots()
    bars = axis.barh(range(len(shares)), list(shares.values()), color=PLAIN)
    axis.set_yticks(range(len(shares)), list(shares))
    axis.bar_label(bars, [f"{100 * share:.0f} %" for share in shares.values()], padding=3)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.1)
    axis.set_xticks([])
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    said = (
        f"share of what single values explain of the differences between {n_trials} trials at step {step}"
        if shares
        else "nothing to tell apart"
    )
    figure.supxlabel(f"{said};\nfew trials make it a hint only", fontsize=9, x=0.02, ha="left")
    return figure


def logarithmic(axes: Axes, which: Literal["x", "y"]) -> None:
    """Gives it a logarithmic axis with plain numbers at 1, 2 and 5 of each power of ten."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")
