import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from ms2sl.data.dataset import Dataset
from ms2sl.data.types import Clip
from ms2sl.errors import InputError
from ms2sl.evaluation.aggregation import Result, Score, summarise
from ms2sl.evaluation.evaluator import Evaluator, SystemUnderTest, columns, real_signing
from ms2sl.evaluation.judged_clips import chosen_clips
from ms2sl.evaluation.objective import ErrorName, Quality, ScoreName, amplitude_penalty, to_minimize
from ms2sl.inference.sampling_config import Sampling
from ms2sl.systems import back_translation
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.training import checkpoint
from ms2sl.training.checkpoint import ModelCard

QUICK = Sampling(steps=2, guidance=1.5, sampler="dpm++")
ERRORS = get_args(ErrorName)
PER_CENT = ("bleu_1", "bleu_4", "chrf", "rouge_l")


@pytest.fixture(scope="module")
def dataset(tiny_dataset) -> Dataset:
    return Dataset(tiny_dataset)


@pytest.fixture(scope="module")
def clips(dataset) -> list[Clip]:
    return chosen_clips(dataset, "dev", 5)


@pytest.fixture(scope="module")
def recogniser(tiny_recogniser):
    return back_translation.load(tiny_recogniser)


@pytest.fixture(scope="module")
def quality(dataset, clips, recogniser) -> Quality:
    return Quality(dataset, recogniser, clips)


@pytest.fixture
def by(dataset, clips, recogniser):
    """A function: the quality by a score."""
    return lambda score: Quality(dataset, recogniser, clips, score)


@pytest.fixture(scope="module")
def still(dataset, tiny_model, tmp_path_factory) -> Path:
    """A model before its first step, whose heads are zero: it shows the mean pose, whatever is said."""
    task = MS2SLTask(dataset, tiny_model, LossWeights(), ModelCard.of("ms2sl", tiny_model, dataset.card))
    folder = tmp_path_factory.mktemp("still")
    task.save(folder, task.module.state_dict())
    return folder


@pytest.fixture
def learned(tiny_checkpoint, tmp_path):
    """A function: the checkpoint as one that met these modalities alone."""

    def with_card(*modalities: str) -> Path:
        card = checkpoint.read_card(tiny_checkpoint, "ms2sl").model_copy(update={"learned": modalities})
        folder = tmp_path / "-".join(modalities)
        checkpoint.publish(tiny_checkpoint, folder)
        (folder / checkpoint.CONFIG).write_text(card.model_dump_json())
        return folder

    return with_card


def timeless(metrics: dict) -> dict:
    return {name: value for name, value in metrics.items() if name != "latency"}


def test_who_moves_like_real_signers_is_not_punished():
    assert [amplitude_penalty(amplitude) for amplitude in (0.8, 0.9, 1.0, 1.1, 1.25)] == pytest.approx([1] * 5)


def test_who_moves_less_or_more_is_punished_in_proportion():
    assert [amplitude_penalty(amplitude) for amplitude in (0.4, 0.2, 0.1)] == pytest.approx([2, 4, 8])
    assert [amplitude_penalty(amplitude) for amplitude in (2.5, 5, 12.5)] == pytest.approx([2, 4, 10])


def test_who_does_not_move_at_all_is_punished_most_but_not_out_of_all_proportion():
    assert amplitude_penalty(0.05) < amplitude_penalty(1e-9) == amplitude_penalty(0.0) < 100


def test_a_score_belongs_to_one_kind():
    assert {*ERRORS, *PER_CENT, "log_likelihood"} == {name for part in get_args(ScoreName) for name in (get_args(part) or (part,))}


@pytest.mark.parametrize("score", ERRORS)
def test_an_error_or_a_distance_is_lost_as_it_is(score):
    assert [to_minimize(value, score) for value in (0.0, 0.25, 120.0)] == [0.0, 0.25, 120.0]


@pytest.mark.parametrize("score", PER_CENT)
def test_of_a_per_cent_is_lost_what_it_lacks(score):
    assert [to_minimize(value, score) for value in (100.0, 75.0, 0.0)] == [0.0, 25.0, 100.0]


def test_of_a_likelihood_is_lost_its_negative():
    assert [to_minimize(value, "log_likelihood") for value in (0.0, -2.5)] == [0.0, 2.5]


def test_what_is_read_decides_by_default(dataset, clips, recogniser, tiny_translator):
    assert Quality(dataset, recogniser, clips).score == "letter_error"
    assert Quality(dataset, recogniser, clips, "dtw_mje").score == "dtw_mje"
    assert Quality(dataset, back_translation.load(tiny_translator), clips).score == "log_likelihood"


def recomputed(dataset, reader, clips, folder: Path, sampling: Sampling, modality: str) -> Result:
    judge, ids = Evaluator(dataset, reader), [clip.id for clip in clips]
    entry = SystemUnderTest(name="again", kind="ms2sl", modality=modality, source=str(folder), options=sampling)
    (real,) = columns(judge.rows(real_signing(), clips), real_signing(), ids)
    return summarise("again", modality, columns(judge.rows(entry, clips), entry, ids), real)


def test_what_a_trial_reports_is_what_the_judge_finds(dataset, recogniser, clips, quality, tiny_checkpoint):
    found = quality.metrics(tiny_checkpoint, QUICK)
    both = [recomputed(dataset, recogniser, clips, tiny_checkpoint, QUICK, modality) for modality in ("text", "speech")]
    for name in ("letter_error", "log_likelihood", "hand_dtw", "amplitude", "jerk"):
        assert found[name] == pytest.approx(sum(result.value(name) for result in both) / 2), name
    assert [found["letter_error_text"], found["letter_error_speech"]] == pytest.approx([result.value("letter_error") for result in both])
    losses = [result.value("letter_error") * amplitude_penalty(result.value("amplitude")) for result in both]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
    assert found["quality_loss"] == pytest.approx(sum(losses) / 2)
    assert 0 < found["latency"] < 60
    assert all(type(value) is float and math.isfinite(value) for value in found.values())


def test_how_a_model_is_sampled_decides(quality, tiny_checkpoint):
    found = [quality.metrics(tiny_checkpoint, sampling)["hand_dtw"] for sampling in (QUICK, QUICK.model_copy(update={"guidance": 3.0}))]
    assert found[0] != pytest.approx(found[1], rel=1e-6)


def test_a_reader_of_sentences_reports_what_is_said_of_sentences(dataset, clips, tiny_translator, tiny_checkpoint):
    reader = back_translation.load(tiny_translator)
    found = Quality(dataset, reader, clips).metrics(tiny_checkpoint, QUICK)
    both = [recomputed(dataset, reader, clips, tiny_checkpoint, QUICK, modality) for modality in ("text", "speech")]
    for name in ("bleu_1", "bleu_4", "chrf", "log_likelihood"):
        assert found[name] == pytest.approx(sum(result.value(name) for result in both) / 2), name
    losses = [-result.value("log_likelihood") * amplitude_penalty(result.value("amplitude")) for result in both]
    assert found["quality_loss"] == pytest.approx(sum(losses) / 2)
    assert found["quality_loss"] > 0


def test_the_same_checkpoint_is_as_good_twice(quality, tiny_checkpoint, tmp_path):
    checkpoint.publish(tiny_checkpoint, tmp_path / "copy")
    found = [timeless(quality.metrics(folder, QUICK)) for folder in (tiny_checkpoint, tiny_checkpoint, tmp_path / "copy")]
    assert found[0] == found[1] == found[2]


def test_several_seeds_are_several_samples(quality, tiny_checkpoint):
    results = quality.results(tiny_checkpoint, QUICK, range(3))
    assert [result.modality for result in results] == ["text", "speech"]
    assert [len(set(result.scores["hand_dtw"].seeds)) for result in results] == [3, 3]
    alone = quality.results(tiny_checkpoint, QUICK)
    assert [len(result.scores["hand_dtw"].seeds) for result in alone] == [1, 1]
    assert alone[0].value("hand_dtw") == results[0].scores["hand_dtw"].seeds[0]


def test_who_stands_still_does_not_win_by_distance(by, still):
    for score in ("hand_dtw", "body_dtw", "dtw_mje"):
        (text, speech) = by(score).results(still, QUICK)
        assert text.value("amplitude") == speech.value("amplitude") == pytest.approx(0, abs=1e-4)
        lost = by(score).metrics(still, QUICK)["quality_loss"]
        assert lost > 10 * max(text.value(score), speech.value(score))


def test_who_trembles_does_not_win_by_what_is_read(by, tiny_checkpoint):
    results = by("letter_error").results(tiny_checkpoint, Sampling(steps=2, guidance=20.0))
    assert min(result.value("amplitude") for result in results) > 1.25
    assert by("letter_error").loss(results) > max(result.value("letter_error") for result in results)


def test_the_loss_is_the_mean_over_modalities(quality):
    results = [
        made(modality, letter_error=error, amplitude=amplitude) for modality, error, amplitude in (("text", 10, 0.4), ("speech", 30, 1))
    ]
    assert quality.loss(results) == pytest.approx((10 * 2 + 30) / 2)
    assert quality.loss(results[1:]) == pytest.approx(30)


def test_a_model_that_learned_text_alone_is_judged_from_text_alone(quality, learned, tiny_checkpoint):
    found, both = (quality.metrics(folder, QUICK) for folder in (learned("text"), tiny_checkpoint))
    assert "letter_error_speech" not in found
    assert found["letter_error_text"] == found["letter_error"] == both["letter_error_text"] != both["letter_error"]


def test_a_model_that_learned_speech_alone_is_judged_from_speech_alone(quality, learned, tiny_checkpoint):
    found, both = (quality.metrics(folder, QUICK) for folder in (learned("speech"), tiny_checkpoint))
    assert "letter_error_text" not in found
    assert found["letter_error"] == both["letter_error_speech"]


def test_nobody_is_judged_from_speech_that_some_clips_lack(dataset, recogniser, clips, tiny_checkpoint, learned):
    mute = Quality(dataset, recogniser, [replace(clips[0], speech=None), *clips[1:]])
    assert [result.modality for result in mute.results(tiny_checkpoint, QUICK)] == ["text"]
    with pytest.raises(InputError, match=r"never learned text, and not all of the 5 clips to judge on have speech"):
        mute.metrics(learned("speech"), QUICK)


def test_what_is_no_model_cannot_be_judged(quality, tiny_recogniser, tmp_path):
    with pytest.raises(InputError, match="is no checkpoint"):
        quality.metrics(tmp_path, QUICK)
    with pytest.raises(InputError, match="a recogniser model, not a ms2sl model"):
        quality.metrics(tiny_recogniser, QUICK)


def test_latency_grows_with_steps(quality, tiny_checkpoint):
    assert 0 < quality.latency(tiny_checkpoint, Sampling(steps=1)) < quality.latency(tiny_checkpoint, Sampling(steps=40))


# Which of two is better


def made(modality: str = "text", resampled: dict[str, Sequence[float]] | None = None, **values: float) -> Result:
    scores = {name: Score(value, math.nan, math.nan, (value,)) for name, value in values.items()}
    return Result("somebody", modality, scores, resampled={name: np.array(some) for name, some in (resampled or {}).items()})


def drawn(value: float, spread: float = 5.0) -> np.ndarray:
    """The same clips are drawn in the same rounds, so whoever is judged has the same luck."""
    return value + spread * np.random.default_rng(0).normal(size=1000)


def test_a_checkpoint_is_exactly_as_good_as_itself(quality, tiny_checkpoint):
    one, same = (quality.results(tiny_checkpoint, QUICK) for _ in range(2))
    gap = quality.gap(one, same)
    assert (gap.value, gap.low, gap.high) == (0, 0, 0)


def test_the_gap_is_what_one_loses_more_without_the_guard(by, still, tiny_checkpoint):
    quality = by("hand_dtw")
    one, other = (quality.results(folder, QUICK) for folder in (still, tiny_checkpoint))
    distance = [sum(result.value("hand_dtw") for result in results) / 2 for results in (one, other)]
    gap, back = quality.gap(one, other), quality.gap(other, one)
    assert gap.value == pytest.approx(distance[0] - distance[1])
    assert gap.low < gap.value < gap.high
    assert (back.value, back.low, back.high) == pytest.approx((-gap.value, -gap.high, -gap.low))


@pytest.mark.parametrize(
    ("score", "better", "worse"),
    [("letter_error", 10.0, 30.0), ("hand_dtw", 10.0, 30.0), ("rouge_l", 30.0, 10.0), ("log_likelihood", -1, -21)],
)
def test_who_loses_less_has_a_gap_below_zero_whatever_the_score(by, score, better, worse):
    results = [[made(resampled={score: drawn(value)}, amplitude=1, **{score: value})] for value in (better, worse)]
    gap = by(score).gap(*results)
    assert gap.value == pytest.approx(-20)
    assert (gap.low, gap.high) == pytest.approx((-20, -20)), "clips are drawn in pairs"
    assert by(score).gap(*reversed(results)).low == pytest.approx(20)


def test_the_gap_is_the_mean_over_modalities(by):
    one = [made("text", {"hand_dtw": drawn(1.0, 0)}, hand_dtw=1.0), made("speech", {"hand_dtw": drawn(2.0, 0)}, hand_dtw=2.0)]
    other = [made("text", {"hand_dtw": drawn(4.0, 0)}, hand_dtw=4.0), made("speech", {"hand_dtw": drawn(4.0, 0)}, hand_dtw=4.0)]
    gap = by("hand_dtw").gap(one, other)
    assert (gap.value, gap.low, gap.high) == pytest.approx((-2.5, -2.5, -2.5))


def test_who_was_judged_from_text_alone_is_compared_from_text_alone(by):
    text, speech = (made(each, {"hand_dtw": drawn(value, 0)}, hand_dtw=value) for each, value in (("text", 1.0), ("speech", 9.0)))
    other = made("text", {"hand_dtw": drawn(4.0, 0)}, hand_dtw=4.0)
    assert by("hand_dtw").gap([text, speech], [other]).value == -3.0
    assert np.isnan(by("hand_dtw").gap([speech], [other]).value)


def test_the_interval_has_95_of_100_rounds(by):
    rounds = np.random.default_rng(0).permutation(1001) / 1000
    gap = by("hand_dtw").gap([made(resampled={"hand_dtw": rounds}, hand_dtw=0.5)], [made(resampled={"hand_dtw": 0 * rounds}, hand_dtw=0)])
    assert (gap.low, gap.high) == pytest.approx((0.025, 0.975))


@pytest.mark.parametrize("score", [name for part in get_args(ScoreName) for name in (get_args(part) or (part,))])
def test_every_score_can_be_what_quality_is(by, score, still, tiny_checkpoint):
    quality = by(score)
    one, other = (quality.results(folder, QUICK) for folder in (still, tiny_checkpoint))
    assert math.isfinite(quality.loss(one))
    gap = quality.gap(one, other)
    assert math.isfinite(gap.value)
    assert math.isnan(gap.low) == math.isnan(gap.high) == (score == "chrf")
