"""The picture of the Pareto front of quality and latency, each point with the values that lead there."""

import math
from collections.abc import Sequence

import numpy as np

from ms2sl.evaluation.objective import LATENCY, QUALITY
from ms2sl.extras import extra
from ms2sl.sweep.plots import BEST, FAINT, logarithmic, png
from ms2sl.sweep.trial_store import Trial
from ms2sl.sweep.values import shown, spans, swept

with extra("tune"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.textpath import TextPath

WIDTH, HEIGHT = 580, 330  # points of the axes
LEFT, RIGHT, BELOW, ABOVE = 60, 15, 45, 30  # points around them
SIZE, LINE, GAP = 7, 9, 8  # points of the labels: their letters, the least distance of two, and that from the point
MOST = 4  # values that a label holds


@png
def front_plot(trials: Sequence[Trial], on_front: Sequence[Trial], titles: tuple[str, str]) -> Figure:
    """Quality against latency (ms) of all trials, and a line through those on the front, beside each of which stands what it drew.

    titles: of quality and of latency. on_front: as ``front`` returns it, in the order of latency. Where more than four values were drawn
    the number of the trial is written instead. Labels slant to where nothing can lie: below and left of a front.
    """
    size = (LEFT + WIDTH + RIGHT, BELOW + HEIGHT + ABOVE)
    figure = Figure(figsize=(size[0] / 72, size[1] / 72))
    axis = figure.add_axes((LEFT / size[0], BELOW / size[1], WIDTH / size[0], HEIGHT / size[1]))
    points, chosen = _points(trials), _points(on_front)
    points = points[np.isfinite(points).all(axis=1)]
    axis.plot(*points.T, "o", color=FAINT, markersize=4, alpha=0.6)
    axis.plot(*chosen.T, "o-", color=BEST, markersize=5, linewidth=1.2)
    axis.set(xlabel=titles[1], ylabel=titles[0])
    if spans(points[:, 0], 1):
        logarithmic(axis, "x")
    if spans(points[:, 1], 1.5):
        logarithmic(axis, "y")
    names = swept(on_front)
    names = names if len(names) <= MOST else []
    if on_front:
        _label(axis, points, chosen, [_text(trial, names) for trial in on_front])
        axis.set_title("beside the front: " + (" · ".join(names) or "number of the trial"), fontsize=8, loc="right")
    return figure


def _points(trials: Sequence[Trial]) -> np.ndarray:
    """Latency (ms) and quality ``(trials, 2)``."""
    return np.array([(1000 * trial.value(LATENCY), trial.value(QUALITY)) for trial in trials]).reshape(-1, 2)


def _text(trial: Trial, names: Sequence[str]) -> str:
    """The trial's name if it has one and its values; its number where values are not to be written."""
    if not names:
        return trial.label
    values = [shown(trial.drawn.get(name, "–"), 3) for name in names] if trial.drawn else []
    return " · ".join([trial.name] * bool(trial.name) + values) or trial.label


def _label(axis: Axes, points: np.ndarray, chosen: np.ndarray, texts: Sequence[str]) -> None:
    """Leaves room at the axes and writes the labels, with a thin line to the point where they had to move apart."""
    lengths = np.array([1.1 * TextPath((0, 0), text, size=SIZE).get_extents().width + LINE for text in texts])  # hinting widens them
    room = np.zeros(2)  # left and below
    for _ in range(8):  # room changes the scale, and with it how far labels have to move apart
        places = _scaled(axis, points, chosen, room)
        anchors = _anchors(places)
        room += np.maximum(0, -(anchors - lengths[:, None] / math.sqrt(2)).min(axis=0, initial=0))
    slant = {"rotation": 45, "rotation_mode": "anchor", "ha": "right", "va": "center", "fontsize": SIZE}
    line = {"arrowstyle": "-", "linewidth": 0.4, "color": BEST, "shrinkA": 0, "shrinkB": 2, "relpos": (1, 1), "patchA": None}
    for text, point, offset in zip(texts, chosen, anchors - places, strict=True):
        moved = abs(offset[0] - offset[1]) > LINE / 2
        axis.annotate(text, point, offset, textcoords="offset points", arrowprops=dict(line) if moved else None, **slant)


def _anchors(places: np.ndarray) -> np.ndarray:
    """Where the labels of a front end ``(n, 2)``: moved apart across their slant, and back along it until they stay clear of the front."""
    across, along = (places[:, 0] - places[:, 1]) / math.sqrt(2), places.sum(axis=1) / math.sqrt(2)
    apart = spread(across, LINE)
    back = np.min([np.interp(apart + side, across, along) for side in (-LINE / 2, 0, LINE / 2)], axis=0) - GAP
    return np.stack([back + apart, back - apart], axis=1) / math.sqrt(2)


def _scaled(axis: Axes, points: np.ndarray, chosen: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Sets the limits so that so many points are left free at the left and below, and returns where the chosen lie ``(n, 2)`` in points."""
    places = []
    for i, (length, scale, limit) in enumerate(((WIDTH, axis.get_xscale(), axis.set_xlim), (HEIGHT, axis.get_yscale(), axis.set_ylim))):
        to, back = (np.log10, lambda value: 10**value) if scale == "log" else (np.asarray, float)
        low, high = to(points[:, i].min()), to(points[:, i].max())
        low, high = (low, high) if low < high else (low - 0.5, high + 0.5)
        unit = (high - low) / max(length - room[i] - 2 * GAP, length / 3)
        limit(back(low - room[i] * unit), back(high + 2 * GAP * unit))
        places.append((to(chosen[:, i]) - low) / unit + room[i])
    return np.stack(places, axis=1)


def spread(places: np.ndarray, least: float) -> np.ndarray:
    """Ascending places moved as little as possible (in squares) until each is so far from the one before: isotonic regression."""
    with extra("tune"):
        from sklearn.isotonic import isotonic_regression  # takes long to load
    shifts = least * np.arange(len(places))
    return isotonic_regression(places - shifts) + shifts
