"""One number for how well a checkpoint signs, to be minimised: by what is read in its samples, or how far they are from real signing."""

from collections.abc import Sequence
from typing import Literal, TypeVar, get_args

import numpy as np

from ms2sl.config import Config
from ms2sl.data.dataset import Dataset
from ms2sl.data.types import Clip
from ms2sl.errors import InputError
from ms2sl.evaluation.aggregation import Result, Score, percentile_interval, summarise
from ms2sl.evaluation.evaluator import Evaluator, SystemUnderTest, columns, real_signing
from ms2sl.evaluation.motion_scores import motion_scores
from ms2sl.evaluation.steps import latency
from ms2sl.io.storage import AnyPath, StoragePath
from ms2sl.systems.back_translation import BackTranslator, Reading
from ms2sl.systems.registry import read_producer_card

V = TypeVar("V", float, np.ndarray)
QUALITY, LATENCY = "quality_loss", "latency"  # what a trial is judged by, both to be minimised; seconds
DISTANCES = tuple(score.name for score in motion_scores() if score.is_error)
ErrorName = Literal[("letter_error", "word_error", *DISTANCES)]  # the lower the better
ScoreName = Literal[ErrorName, "bleu_1", "bleu_4", "chrf", "rouge_l", "log_likelihood"]
USUAL: dict[Reading, ScoreName] = {"letters": "letter_error", "glosses": "word_error", "sentences": "log_likelihood"}
MOTION = ("log_likelihood", "hand_dtw", "amplitude", "jerk")
# Beside the terms of the loss, one of which is "length".
REPORTED: dict[Reading, tuple[str, ...]] = {
    "letters": ("letter_error", *MOTION),
    "glosses": ("word_error", *MOTION),
    "sentences": ("bleu_1", "bleu_4", "chrf", *MOTION),
}
STILL, WILD = 0.8, 1.25  # shares of real signers' speed that count as moving like them


def amplitude_penalty(amplitude: float) -> float:
    """1 for who moves 0.8 to 1.25 times as much as real signers; more, in proportion, for who moves less or more.

    Distances alone are won by who hardly moves (regression to the mean), and a reader does not see trembling.
    """
    return max(1.0, STILL / max(amplitude, 0.01), amplitude / WILD)


def to_minimize(value: V, score: ScoreName) -> V:
    """A score as something to minimise, 0 at best: an error or a distance as it is, what a per cent lacks of 100, a likelihood negated."""
    if score in get_args(ErrorName):
        return value
    return -value if score == "log_likelihood" else 100 - value


def usual_score(reader: BackTranslator) -> ScoreName:
    """By which a reader judges if nothing else is asked for."""
    return USUAL[reader.reads]


def digits(score: ScoreName) -> int:
    """That a score deserves after its point: distances in shoulder widths are small."""
    return 4 if score in DISTANCES else 2


class Quality:
    """Judges checkpoints on the same clips, from each modality that they learned, with the same noise."""

    def __init__(
        self, dataset: Dataset, reader: BackTranslator, clips: Sequence[Clip], score: ScoreName | None = None, device: str = "cpu"
    ):
        self.dataset, self.reader, self.clips, self.device = dataset, reader, clips, device
        self.score: ScoreName = score or usual_score(reader)
        self._order = [clip.id for clip in clips]
        self._spoken = all(clip.speech for clip in clips)
        (self._real,) = self._columns(Evaluator(dataset, reader, device), real_signing())

    def results(self, folder: AnyPath, sampling: Config | None, seeds: Sequence[int] = (0,)) -> list[Result]:
        """Scores from text, and from speech where all clips have it."""
        judge = Evaluator(self.dataset, self.reader, self.device)
        return [self._result(judge, entry) for entry in self._entries(folder, sampling, seeds)]

    def metrics(self, folder: AnyPath, sampling: Config | None) -> dict[str, float]:
        """What a trial reports: the loss of quality, the latency (seconds for one utterance alone) and the scores behind it, each the
        mean over modalities; and the score from each modality."""
        entries, judge = self._entries(folder, sampling, (0,)), Evaluator(self.dataset, self.reader, self.device)
        results = [self._result(judge, entry) for entry in entries]
        names = REPORTED[self.reader.reads]
        found = {name: np.mean([result.value(name) for result in results]) for name in names if name in results[0].scores}
        found |= {f"{self.score}_{result.modality}": result.value(self.score) for result in results}
        found[QUALITY] = self.loss(results)
        found[LATENCY] = self._latency(judge, entries[0])
        return {name: float(value) for name, value in found.items()}

    def loss(self, results: Sequence[Result]) -> float:
        """What is minimised: the mean over modalities of the shortfall times the guard of the amplitude."""
        return float(np.mean([to_minimize(r.value(self.score), self.score) * amplitude_penalty(r.value("amplitude")) for r in results]))

    def latency(self, folder: AnyPath, sampling: Config | None) -> float:
        """Seconds of computing for one utterance alone, from the first modality."""
        return self._latency(Evaluator(self.dataset, self.reader, self.device), self._entries(folder, sampling, (0,))[0])

    def _latency(self, judge: Evaluator, entry: SystemUnderTest) -> float:
        return latency(judge.producer(entry), [clip.utterance(entry.modality) for clip in self.clips])

    def gap(self, results: Sequence[Result], others: Sequence[Result]) -> Score:
        """By how much more is lost here than there, from the modalities that both were judged from and without the guard, with a 95 %
        interval that resamples clips in pairs (NaN of chrF). NaN where they share no modality."""
        shared = {r.modality for r in results} & {r.modality for r in others}
        if not shared:
            return Score(np.nan, np.nan, np.nan, ())
        results, others = ([r for r in some if r.modality in shared] for some in (results, others))
        value = np.mean([to_minimize(r.value(self.score), self.score) for r in results])
        value -= np.mean([to_minimize(r.value(self.score), self.score) for r in others])
        mine, theirs = (np.mean([self._resampled(result) for result in some], axis=0) for some in (results, others))
        return Score(float(value), *percentile_interval(mine - theirs), ())

    def _resampled(self, result: Result) -> np.ndarray:
        return to_minimize(result.resampled.get(self.score, np.array([np.nan])), self.score)

    def _entries(self, folder: AnyPath, sampling: Config | None, seeds: Sequence[int]) -> list[SystemUnderTest]:
        card = read_producer_card(folder)
        learned = [modality for modality in card.learned if self._spoken or modality == "text"]
        if not learned:
            raise InputError(
                f"{StoragePath(folder)} never learned text, and not all of the {len(self.clips)} clips to judge on have speech"
            )
        shared = {"name": card.kind, "kind": card.kind, "source": StoragePath(folder).uri, "seeds": tuple(seeds), "options": sampling}
        return [SystemUnderTest(modality=modality, **shared) for modality in learned]

    def _result(self, judge: Evaluator, entry: SystemUnderTest) -> Result:
        return summarise(entry.name, entry.modality, self._columns(judge, entry), self._real)

    def _columns(self, judge: Evaluator, entry: SystemUnderTest) -> list[dict[str, np.ndarray]]:
        return columns(judge.rows(entry, self.clips), entry, self._order)
