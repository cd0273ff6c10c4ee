"""Quality against sampling steps and latency, of one trained model."""

import io
import statistics
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from ms2sl.data.types import Utterance
from ms2sl.errors import InputError
from ms2sl.evaluation.aggregation import Result
from ms2sl.evaluation.tables import Table, cell, decisive, interval, title_of
from ms2sl.extras import extra
from ms2sl.inference.producer import Producer
from ms2sl.systems.back_translation import Reading

UTTERANCES, REPEATS = 5, 3


@dataclass(frozen=True)
class Point:
    """So many sampling steps: how good, and how long one utterance takes alone (seconds of computing)."""

    steps: int
    result: Result
    latency: float


def latency(producer: Producer, utterances: Iterable[Utterance]) -> float:
    """Seconds for one utterance alone: the median over the first that can be produced, each the fastest of some repeats, since all that
    runs beside it can only slow it down. NaN without any."""
    fastest = []
    for utterance in utterances:
        with suppress(InputError):
            fastest.append(min(_seconds(producer, utterance) for _ in range(REPEATS)))
        if len(fastest) == UTTERANCES:
            break
    return statistics.median(fastest) if fastest else float("nan")


def _seconds(producer: Producer, utterance: Utterance) -> float:
    start = time.perf_counter()
    producer.produce([utterance], seed=0)
    return time.perf_counter() - start


def steps_table(points: Sequence[Point], reads: Reading) -> Table:
    key, name = decisive(reads), title_of(reads)
    rows: Table = [("steps", "from", name, "95 %", "hand DTW", "speed ratio", "jerk", "ms an utterance")]
    for point in points:
        motion = (cell(point.result, name, digits) for name, digits in (("hand_dtw", 3), ("amplitude", 2), ("jerk", 2)))
        score = point.result.scores[key]
        cells = (f"{score.value:.1f}", interval(score), *motion, f"{1000 * point.latency:.0f}")
        rows.append((str(point.steps), point.result.modality, *cells))
    return rows


def steps_plot(points: Sequence[Point], ceiling: Result, reads: Reading) -> bytes:
    """PNG: the decisive score and the speed ratio against steps, and the score against latency."""
    with extra("render"):
        from matplotlib.figure import Figure

    key, name = decisive(reads), title_of(reads)
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    steps, milliseconds = [point.steps for point in points], [1000 * point.latency for point in points]
    scores = [point.result.scores[key] for point in points]
    around = np.array([[score.value - score.low for score in scores], [score.high - score.value for score in scores]])
    for axis, places, label in ((axes[0], steps, "sampling steps"), (axes[2], milliseconds, "milliseconds for one utterance")):
        axis.errorbar(places, [score.value for score in scores], yerr=np.maximum(around, 0), marker="o", capsize=3, label="MS2SL")
        axis.axhline(ceiling.value(key), linestyle="--", color="grey", label="real signing")
        axis.set(xlabel=label, ylabel=name)
        axis.legend()
    for measure, title, marker in (("amplitude", "speed ratio", "o"), ("jerk", "jerk", "s")):
        if measure in points[0].result.scores:
            axes[1].plot(steps, [point.result.value(measure) for point in points], marker=marker, label=title)
    axes[1].axhline(1, linestyle="--", color="grey", label="real signing")
    axes[1].set(xlabel="sampling steps", ylabel="share of real signing")
    axes[1].set_ylim(bottom=0)  # frozen is 0
    axes[1].legend()
    for axis in axes[:2]:
        axis.set_xscale("log", base=2)
        axis.set_xticks(steps, labels=map(str, steps))
    for point, place, score in zip(points, milliseconds, scores, strict=True):
        axes[2].annotate(str(point.steps), (place, score.value), textcoords="offset points", xytext=(4, 4))
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()
