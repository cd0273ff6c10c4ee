"""Who hardly moves, signs something else or signs backwards must not score like who signs what is said."""

from dataclasses import replace

import pytest
import torch

from ms2sl.data.batch_sampler import EpochPlan
from ms2sl.data.dataset import Dataset
from ms2sl.evaluation.aggregation import Result, summarise
from ms2sl.evaluation.evaluator import Evaluator, SystemUnderTest, columns, real_signing
from ms2sl.inference.sampling_config import Sampling
from ms2sl.systems import recogniser
from ms2sl.systems.ms2sl.config import ModelConfig
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.systems.recogniser import RecogniserConfig, RecogniserTask
from ms2sl.training.checkpoint import ModelCard
from ms2sl.training.local import LocalReporter, local_batches
from ms2sl.training.loop import TrainingConfig, train

pytestmark = pytest.mark.slow


def trained(task, dataset: Dataset, folder, steps: int, rate: float):
    every = {"steps": steps, "validate_every": steps, "checkpoint_every": steps, "log_every": 50}
    plan, reporter = EpochPlan(dataset.shards("train"), 20, seed=0), LocalReporter(folder)
    training = TrainingConfig(**every, batch_size=20, learning_rate=rate, warmup=20, ema_decay=0.95, precision="fp32")
    train(task, lambda step: local_batches(plan, task.collate, step), training, reporter)
    return reporter.latest()


@pytest.fixture(scope="module")
def dataset(tiny_dataset) -> Dataset:
    return Dataset(tiny_dataset)


@pytest.fixture(scope="module")
def judge(dataset, tmp_path_factory) -> Evaluator:
    torch.manual_seed(0)
    config = RecogniserConfig(width=48, layers=1)
    task = RecogniserTask(dataset, config, ModelCard.of("recogniser", config, dataset.card))
    return Evaluator(dataset, recogniser.load(trained(task, dataset, tmp_path_factory.mktemp("reader"), 160, 5e-3)))


@pytest.fixture(scope="module")
def model(dataset, tmp_path_factory) -> SystemUnderTest:
    """It knows its training clips by heart, which is all that is asked of it here."""
    torch.manual_seed(0)
    config = ModelConfig(width=64, encoder_layers=1, denoiser_layers=2, embedding=32)
    task = MS2SLTask(dataset, config, LossWeights(), ModelCard.of("ms2sl", config, dataset.card))
    folder = trained(task, dataset, tmp_path_factory.mktemp("model"), 300, 4e-3)
    return SystemUnderTest(name="ms2sl", kind="ms2sl", modality="text", source=str(folder), options=Sampling(steps=4))


@pytest.fixture(scope="module")
def clips(dataset):
    return [clip for clip in dataset.clips("train") if clip.text and clip.text != clip.text[::-1]]


class Fooling(Evaluator):
    """A judge who is handed something else than what was produced."""

    def __init__(self, judge: Evaluator, trick):
        super().__init__(judge.dataset, judge.reader)
        self.trick = trick

    def produce(self, entry, clips, seed):
        return self.trick(super().produce, entry, clips, seed)


def shuffled(produce, entry, clips, seed):
    """The signing of another text."""
    others = [replace(clip, text=other.text) for clip, other in zip(clips, clips[1:] + clips[:1], strict=True)]
    return produce(entry, others, seed)


def backwards(produce, entry, clips, seed):
    made, failed = produce(entry, clips, seed)
    return [replace(poses, joints=poses.joints[::-1], confidence=poses.confidence[::-1]) for poses in made], failed


def score(judge: Evaluator, entry: SystemUnderTest, clips) -> Result:
    ids = [clip.id for clip in clips]
    (real,), own = (columns(judge.rows(each, clips), each, ids) for each in (real_signing(), entry))
    return summarise(entry.name, entry.modality, own, real)


@pytest.fixture(scope="module")
def own(judge, model, clips) -> Result:
    return score(judge, model, clips)


def test_who_signs_what_is_said_is_near_the_ceiling(own, judge, clips):
    ceiling = score(judge, real_signing(), clips)
    assert own.minus(ceiling, "letter_error").value < 10
    assert own.value("amplitude") == pytest.approx(1, abs=0.15)
    assert own.value("length") == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    "name",
    ["mean pose", "static pose", "random clip", "another text", "backwards", "real signing of another text", "real signing backwards"],
)
def test_nobody_gets_away_with_less(name, own, judge, model, clips):
    entry = real_signing() if name.startswith("real") else model
    if name in ("mean pose", "static pose", "random clip"):
        other = score(judge, SystemUnderTest(name=name, kind=name), clips)
    elif name.endswith("backwards"):
        other = score(Fooling(judge, backwards), entry, clips)
    elif entry == model:
        other = score(Fooling(judge, shuffled), entry, clips)
    else:
        moved = dict(zip([clip.id for clip in clips], [clip.poses for clip in clips[1:] + clips[:1]], strict=True))
        other = score(Fooling(judge, lambda produce, entry, some, seed: ([moved[clip.id] for clip in some], {})), entry, clips)
    assert other.minus(own, "letter_error").low > 20
    assert other.minus(own, "log_likelihood").high < -1
    assert other.minus(own, "hand_dtw").low > 0.02
    assert other.minus(own, "dtw_mje").low > 0.01
    if "pose" in name:  # the distance of distributions does not ask who signs what, but sees who does not sign
        assert other.value("frechet") > 2 * own.value("frechet")
        assert other.value("amplitude") == other.value("jerk") == other.value("distance") == 0
