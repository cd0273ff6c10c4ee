from pathlib import Path

import pytest
import torch

from ms2sl.data.batch_sampler import EpochPlan
from ms2sl.data.dataset import Dataset
from ms2sl.errors import InputError
from ms2sl.evaluation.judged_clips import chosen_clips
from ms2sl.evaluation.objective import Quality
from ms2sl.evaluation.validation_sampling import SampleMetricsConfig, TaskWithSampleMetrics
from ms2sl.inference.sampling_config import Sampling
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.training.checkpoint import ModelCard
from ms2sl.training.local import LocalReporter, local_batches
from ms2sl.training.loop import TrainingConfig, train
from tests.training.checkpoints import contents

CPU = torch.device("cpu")
TIMES = {"latency", "frames_per_second", "data_wait_share"}
JUDGED = {"quality_loss", "latency", "letter_error", "letter_error_text", "letter_error_speech"}
JUDGED |= {"log_likelihood", "hand_dtw", "amplitude", "jerk"}


@pytest.fixture(scope="module")
def dataset(tiny_dataset) -> Dataset:
    return Dataset(tiny_dataset)


@pytest.fixture(scope="module")
def judging(tiny_recogniser) -> SampleMetricsConfig:
    return SampleMetricsConfig(back_translator=tiny_recogniser, clips=3, sampling=Sampling(steps=2))


@pytest.fixture(scope="module")
def quality(dataset, judging) -> Quality:
    return judging.quality(dataset)


@pytest.fixture
def plain(dataset, tiny_model) -> MS2SLTask:
    torch.manual_seed(0)
    return MS2SLTask(dataset, tiny_model, LossWeights(), ModelCard.of("ms2sl", tiny_model, dataset.card))


@pytest.fixture
def judged(plain, quality, judging) -> TaskWithSampleMetrics:
    return TaskWithSampleMetrics(plain, quality, judging.sampling)


def trained(task, dataset: Dataset, folder: Path) -> list[dict]:
    every = {"validate_every": 2, "checkpoint_every": 2, "log_every": 2}
    config = TrainingConfig(steps=4, batch_size=4, precision="fp32", **every)
    plan, reporter = EpochPlan(dataset.shards("train"), 4, 0), LocalReporter(folder)
    train(task, lambda step: local_batches(plan, task.collate, step), config, reporter)
    return reporter.history


def timeless(metrics: dict) -> dict:
    return {name: value for name, value in metrics.items() if name not in TIMES}


def test_it_is_the_task_that_it_wraps(plain, judged, dataset):
    plan = EpochPlan(dataset.shards("train"), 4, 0)
    losses = []
    for task in (plain, judged):
        batch = next(local_batches(plan, task.collate, 0))
        losses.append({name: value.item() for name, value in task.loss(task.module, batch, torch.Generator().manual_seed(7)).items()})
    assert losses[0] == losses[1]
    assert judged.module is plain.module


def test_judging_changes_nothing_of_training_and_hides_none_of_its_metrics(dataset, tiny_model, quality, judging, tmp_path):
    reported = []
    for name in ("plain", "judged"):
        torch.manual_seed(0)
        task = MS2SLTask(dataset, tiny_model, LossWeights(), ModelCard.of("ms2sl", tiny_model, dataset.card))
        reported.append(
            trained(task if name == "plain" else TaskWithSampleMetrics(task, quality, judging.sampling), dataset, tmp_path / name)
        )
    for without, with_judgement in zip(*reported, strict=True):
        assert timeless(without) == {name: value for name, value in timeless(with_judgement).items() if name in without}
        assert with_judgement.keys() - without.keys() == JUDGED
    one, other = (contents(tmp_path / name / "step-00000004") for name in ("plain", "judged"))
    assert one == other


def test_rank_0_alone_judges(plain, judged):
    weights = plain.module.state_dict()
    assert judged.validate(weights, 1, 2, CPU) == plain.validate(weights, 1, 2, CPU)
    found, before = judged.validate(weights, 0, 2, CPU), plain.validate(weights, 0, 2, CPU)
    assert found.keys() - before.keys() == JUDGED
    assert {name: found[name] for name in before} == before


def test_the_very_weights_are_judged_that_would_be_kept(plain, judged, quality, judging, tmp_path):
    first = {name: value.clone() for name, value in plain.module.state_dict().items()}
    other = {name: value + 0.3 if name.startswith("denoiser") else value for name, value in first.items()}
    found = [timeless(judged.validate(weights, 0, 1, CPU)) for weights in (first, other)]
    for weights, metrics, folder in zip((first, other), found, (tmp_path / "first", tmp_path / "other"), strict=True):
        judged.save(folder, weights)
        expected = timeless(quality.metrics(folder, judging.sampling))
        assert {name: metrics[name] for name in expected} == expected
    assert found[0]["hand_dtw"] != found[1]["hand_dtw"]


def test_it_is_sampled_as_was_said(plain, quality):
    weights = {name: value + 0.01 for name, value in plain.module.state_dict().items()}
    found = [TaskWithSampleMetrics(plain, quality, Sampling(steps=steps)).validate(weights, 0, 1, CPU)["hand_dtw"] for steps in (1, 4)]
    assert found[0] != found[1]


def test_judging_takes_so_many_clips_of_the_dev_split(dataset, judging, quality):
    assert [clip.id for clip in quality.clips] == [clip.id for clip in chosen_clips(dataset, "dev", 3)]
    assert {clip.split for clip in quality.clips} == {"dev"}
    other = judging.model_copy(update={"score": "hand_dtw", "clips": 5}).quality(dataset)
    assert (len(other.clips), other.score) == (5, "hand_dtw")


def test_who_cannot_read_cannot_judge(dataset, tiny_checkpoint, tmp_path):
    with pytest.raises(InputError, match="a ms2sl model, not a recogniser or translator model"):
        SampleMetricsConfig(back_translator=tiny_checkpoint).quality(dataset)
    with pytest.raises(InputError, match="is no checkpoint"):
        SampleMetricsConfig(back_translator=tmp_path).quality(dataset)
