"""All that trials drew beside what they reached, in parallel coordinates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ms2sl.extras import extra
from ms2sl.sweep.plots import BEST, logarithmic, png
from ms2sl.sweep.trial_store import Trial
from ms2sl.sweep.values import is_number, judged, shown, spans, swept

with extra("tune"):
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator

DECADES = 1.5  # powers of ten from which on an axis is logarithmic
FEW = 6  # different numbers that are all written at their axis


@dataclass(frozen=True)
class Scale:
    """Where the values of one axis lie, from 0 to 1, and what is written beside it."""

    low: float
    high: float
    logarithmic: bool
    words: tuple[str, ...] | None  # in their places, if any value is no number
    distinct: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[Any]) -> "Scale":
        if not all(is_number(value) for value in values):
            words = tuple(sorted({str(value) for value in values}))
            return cls(0, len(words) - 1, False, words, ())
        return cls(min(values), max(values), spans(values, DECADES), None, tuple(sorted(set(values))))

    def place(self, value: Any) -> float:
        """NaN for NaN; one value alone lies in the middle."""
        if _missing(value):
            return math.nan
        number = self.words.index(str(value)) if self.words else value
        if self.high == self.low:
            return 0.5
        low, high, number = (math.log(each) if self.logarithmic else each for each in (self.low, self.high, number))
        return (number - low) / (high - low)

    def ticks(self) -> dict[str, float]:
        """Places by what is written there."""
        if self.words:
            return {word: self.place(word) for word in self.words}
        if len(self.distinct) <= FEW:
            return {shown(value, 3): self.place(value) for value in self.distinct}
        locator = LogLocator(subs=(1, 2, 5)) if self.logarithmic else MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
        return {f"{value:g}": self.place(value) for value in locator.tick_values(self.low, self.high) if self.low <= value <= self.high}


def _missing(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


@png
def parallel_coordinates(trials: Sequence[Trial], metric: str, title: str, best: Trial | None = None) -> Figure:
    """An axis for each swept value and, at the end, one for the metric (called ``title``), after which lines are coloured (Inselberg 1985).

    Only trials with that metric; the best, by default the lowest, stands out. A line has a gap where its trial did not draw the value.
    """
    known = judged(trials, metric)
    names = swept(known)
    drawn = [[*(trial.drawn.get(name, math.nan) for name in names), trial.value(metric)] for trial in known]
    scales = [Scale.of([value for value in column if not _missing(value)]) for column in zip(*drawn, strict=True)]
    figure = Figure(figsize=(2.8 + 1.5 * len(names), 4.8), layout="constrained")
    axis = figure.subplots()
    if known:
        reached = [trial.value(metric) for trial in known]
        norm = (LogNorm if scales[-1].logarithmic else Normalize)(min(reached), max(reached))
        colours = ScalarMappable(norm, matplotlib.colormaps["viridis"])
        for trial, values in reversed(list(zip(known, drawn, strict=True))):
            first = trial == (best or known[0])
            style = {"color": BEST, "linewidth": 2.5, "label": f"best: {trial.label}"} if first else {"linewidth": 1, "alpha": 0.7}
            style = {"color": colours.to_rgba(trial.value(metric))} | style
            axis.plot([scale.place(value) for scale, value in zip(scales, values, strict=True)], marker=".", markersize=4, **style)
        bar = figure.colorbar(colours, ax=axis, label=title, pad=0.03)
        if scales[-1].logarithmic:
            logarithmic(bar.ax, "y")
        figure.legend(loc="outside upper right", frameon=False)
    _axes(axis, [*(name.replace(".", "\n", 1) for name in names), title], scales)
    return figure


def _axes(axis: Axes, names: Sequence[str], scales: Sequence[Scale]) -> None:
    axis.set(xlim=(-0.5, len(names) - 0.8), ylim=(-0.05, 1.05), yticks=[])
    axis.set_xticks(np.arange(len(names)), names)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
    for i, scale in enumerate(scales):
        axis.axvline(i, color="black", linewidth=0.8, zorder=1)
        for text, place in scale.ticks().items():
            axis.annotate(text, (i, place), (-5, 0), textcoords="offset points", ha="right", va="center", fontsize=8, bbox=behind, zorder=4)
