"""From measures of clips to scores of a producer, each with an interval and one value a seed.

All producers are resampled alike, so that the difference of two is resampled in pairs (Koehn 2004).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ms2sl.evaluation.motion_scores import Ratios, mean, motion_scores
from ms2sl.metrics.distribution import frechet_distance
from ms2sl.metrics.text import bleu_of_counts, chrf

REAL = "real signing"
ROUNDS, LEVEL = 1000, 0.95
ALIKE = 16  # rounds that are summed in the same way, to the last bit, with others and without
DRAWN = 2**22  # draws of clips that are in memory at a time
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


def summarise(name: str, modality: str, by_seed: Iterable[Measures], real: Measures) -> Result:
    """Scores of a producer, from its measures with each seed, of which one at a time is in memory, beside those of the real clips."""
    every, whole, reasons = zip(*map(partial(_of_seed, real=real), by_seed), strict=True)
    scores, resampled = {}, {}
    for key in every[0]:
        seeds = np.stack([scored[key] for scored in every])  # (seeds, 1 + rounds)
        resampled[key] = seeds.mean(axis=0)[1:]
        scores[key] = Score(float(seeds[:, 0].mean()), *percentile_interval(resampled[key]), tuple(seeds[:, 0].tolist()))
    for key in whole[0]:
        values = tuple(scored[key] for scored in whole)
        scores[key] = Score(float(np.mean(values)), np.nan, np.nan, values)
    first = (next(filter(None, some), "") for some in zip(*reasons, strict=True))
    return Result(name, modality, scores, tuple(filter(None, first)), resampled)


def _of_seed(measures: Measures, real: Measures) -> tuple[dict[str, np.ndarray], dict[str, float], np.ndarray]:
    """Scores with each resampling, scores that are not resampled, and why each clip failed."""
    return _resampled_scores(measures, real), {"chrf": _chrf(measures, real), "frechet": _frechet(measures, real)}, measures["failed"]


def resampling(n: int, drawn: int = DRAWN) -> Iterator[np.ndarray]:
    """How often each of ``n`` clips counts in each round ``(rounds, n)``; in the first, once.

    The ``1 + ROUNDS`` rounds come some at a time, in arrays of at most ``drawn`` elements or of ``ALIKE`` rounds.
    """
    rng, some = np.random.default_rng(0), max(1, drawn // n // ALIKE) * ALIKE
    for start in range(0, ROUNDS + 1, some):
        counts = np.ones((min(some, ROUNDS + 1 - start), n))
        for i in range(start == 0, len(counts)):
            counts[i] = np.bincount(rng.integers(n, size=n), minlength=n)
        yield counts


def percentile_interval(resampled: np.ndarray) -> tuple[float, float]:
    """Percentile interval (Efron 1979)."""
    known = resampled[np.isfinite(resampled)]
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def _resampled_scores(measures: Measures, real: Measures) -> dict[str, np.ndarray]:
    """Each score for each resampling ``(1 + rounds,)``."""
    ratios, bleu = _ratios(measures, real), measures["bleu"]
    blocks = [_scores(ratios, bleu, drawn) for drawn in resampling(len(real["seconds"]), DRAWN)]
    return {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}


def _scores(ratios: Ratios, bleu: np.ndarray, drawn: np.ndarray) -> dict[str, np.ndarray]:
    scores = {}
    for key, some in ratios.items():
        with np.errstate(divide="ignore", invalid="ignore"):  # a draw may miss the only clips in which, say, the left hand moves
            shares = [(drawn @ top) / (drawn @ bottom) for top, bottom in some if np.any(bottom)]
        if shares:
            scores[key] = np.mean(shares, axis=0)
    counts = drawn @ bleu
    return scores | {f"bleu_{order}": np.array([bleu_of_counts(each, order) for each in counts]) for order in (1, 2, 3, 4)}


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
    states, true = mine["state"], real["state"]
    return frechet_distance(states, true) if min(len(states), len(true)) > 1 else float("nan")
