"""From measures of clips to scores of a producer, each with an interval and one value a seed.

All producers are resampled alike, so that the difference of two is resampled in pairs (Koehn 2004).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ms2sl.evaluation.motion_scores import Ratios, mean, motion_scores
from ms2sl.metrics.distribution import frechet_distance
from ms2sl.metrics.text import bleu_of_counts, chrf

REAL = "real signing"
ROUNDS, LEVEL = 1000, 0.95
Measures = Mapping[str, np.ndarray]  # a column of each measure, over the same clips in the same order


@dataclass(frozen=True)
class Score:
    """Mean over seeds, its 95 % interval under resampling of clips (NaN where none can be given), and its value for each seed."""

    value: float
    low: float
    high: float
    seeds: tuple[float, ...]

    @property
    def spread(self) -> float:
        """Standard deviation over seeds, 0 with one."""
        return float(np.std(self.seeds, ddof=1)) if len(self.seeds) > 1 else 0.0


@dataclass(frozen=True, eq=False)
class Result:
    """How a producer scores from a modality (``""`` if it listens to none).

    letter_error, word_error, bleu_1 … bleu_4, chrf, rouge_l: of what is read, in per cent; log_likelihood: of a piece of the true text.
    hand_dtw, body_dtw, dtw_mje: shoulder widths. amplitude (of hands, and of parts), jerk, length, distance: as a share of real signing;
    amplitude and jerk are ratios of means over clips, length is the mean ratio of lengths, distance is SLRTP 2025's. frechet: distance
    of motion in the reader's space, larger with fewer clips. diversity: mean hand DTW between samples of other seeds.
    failed: why, for each clip that it could not produce and that was judged as the mean pose. resampled: scores ``(rounds,)`` behind the
    intervals.
    """

    name: str
    modality: str
    scores: Mapping[str, Score]
    failed: tuple[str, ...] = ()
    resampled: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def label(self) -> str:
        return f"{self.name} from {self.modality}" if self.modality else self.name

    def value(self, name: str) -> float:
        return self.scores[name].value

    def minus(self, other: "Result", name: str) -> Score:
        """By how much this scores more than the other, with the interval of the difference."""
        mine, theirs = self.scores[name], other.scores[name]
        gap = self.resampled[name] - other.resampled[name] if name in self.resampled else np.array([np.nan])
        return Score(mine.value - theirs.value, *percentile_interval(gap), ())


def summarise(name: str, modality: str, by_seed: Sequence[Measures], real: Measures) -> Result:
    """Scores of a producer, from its measures with each seed, beside those of the real clips."""
    drawn = resampling(len(real["seconds"]))
    scores, resampled = {}, {}
    every = [_resampled_scores(measures, real, drawn) for measures in by_seed]
    for key in every[0]:
        seeds = np.stack([scored[key] for scored in every])  # (seeds, 1 + rounds)
        resampled[key] = seeds.mean(axis=0)[1:]
        scores[key] = Score(float(seeds[:, 0].mean()), *percentile_interval(resampled[key]), tuple(seeds[:, 0].tolist()))
    for key, measured in (("chrf", _chrf), ("frechet", _frechet)):
        seeds = [measured(measures, real) for measures in by_seed]
        scores[key] = Score(float(np.mean(seeds)), np.nan, np.nan, tuple(seeds))
    reasons = [[reason for reason in some if reason] for some in zip(*(measures["failed"] for measures in by_seed), strict=True)]
    return Result(name, modality, scores, tuple(some[0] for some in reasons if some), resampled)


def resampling(n: int) -> np.ndarray:
    """How often each of ``n`` clips counts in each round ``(1 + rounds, n)``; in the first, once."""
    draws = np.random.default_rng(0).integers(n, size=(ROUNDS, n))
    counts = np.zeros((ROUNDS + 1, n))
    np.add.at(counts, (np.arange(1, ROUNDS + 1)[:, None], draws), 1)
    counts[0] = 1
    return counts


def percentile_interval(resampled: np.ndarray) -> tuple[float, float]:
    """Percentile interval (Efron 1979)."""
    known = resampled[np.isfinite(resampled)]
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def _resampled_scores(measures: Measures, real: Measures, drawn: np.ndarray) -> dict[str, np.ndarray]:
    """Each score for each resampling ``(1 + rounds,)``."""
    scores = {}
    for key, ratios in _ratios(measures, real).items():
        with np.errstate(divide="ignore", invalid="ignore"):  # a draw may miss the only clips in which, say, the left hand moves
            shares = [(drawn @ top) / (drawn @ bottom) for top, bottom in ratios if np.any(bottom)]
        if shares:
            scores[key] = np.mean(shares, axis=0)
    counts = drawn @ np.stack(measures["bleu"])
    return scores | {f"bleu_{order}": np.array([bleu_of_counts(some, order) for some in counts]) for order in (1, 2, 3, 4)}


def _ratios(mine: Measures, real: Measures) -> Ratios:
    """Of each score the sums ``(clips,)`` whose ratio it is; of several ratios it is the mean."""
    ones = np.ones(len(real["seconds"]))
    scores: dict[str, Sequence[tuple[np.ndarray, np.ndarray]]] = {
        "letter_error": [(100 * mine["letter_edits"], mine["letters"])],
        "word_error": [(100 * mine["word_edits"], mine["words"])],
        "rouge_l": [(mine["rouge_l"], ones)],
    }
    for ratios in (*(score.ratios for score in motion_scores()), mean("log_likelihood"), mean("diversity")):
        scores |= ratios(mine, real)
    return scores


def _chrf(mine: Measures, real: Measures) -> float:
    return chrf(list(mine["read"]), list(mine["text"]))


def _frechet(mine: Measures, real: Measures) -> float:
    states, true = np.stack(mine["state"]), np.stack(real["state"])
    return frechet_distance(states, true) if min(len(states), len(true)) > 1 else float("nan")
