"""Clips of every combination of modalities in one training."""

import json
import math
from itertools import chain, combinations

import pytest
import torch

from ms2sl.corpora.posefiles import PoseFiles, PoseFilesConfig
from ms2sl.data.batch_sampler import EpochPlan
from ms2sl.data.dataset import Dataset
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.training.checkpoint import ModelCard
from ms2sl.training.local import LocalReporter, local_batches
from ms2sl.training.loop import TrainingConfig, train
from tests.conftest import prepare
from tests.corpora import builders

MODALITIES = ("pose", "text", "speech")
COMBINATIONS = list(chain.from_iterable(combinations(MODALITIES, n) for n in (3, 2, 1)))


def corpus(root, combination_of_each) -> PoseFiles:
    rows = []
    for i, combination in enumerate(combination_of_each):
        builders.pose_file(root / f"{i}.pose", seed=i, frames=6 + i % 5)
        builders.speech(root / f"{i}.wav", 0.2 + 0.02 * i)
        given = {"pose": f"{i}.pose", "text": f"word {i}", "speech": f"{i}.wav"}
        rows.append({"id": f"clip-{i}", "split": "train"} | {key: given[key] for key in combination})
    (root / "clips.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return PoseFiles(PoseFilesConfig(source=str(root), table="clips.jsonl", skeleton="holistic-50x3"))


@pytest.mark.parametrize(
    "each",
    [COMBINATIONS * 2, [("pose",)] * 4, [("text",)] * 4 + [("pose",)], [("pose", "speech")] * 4],
    ids=["all together", "unlabelled signing alone", "hardly any signing", "no text"],
)
def test_it_trains(each, tiny_model, tmp_path):
    dataset = Dataset(prepare(corpus(tmp_path, each), tmp_path / "data"))
    assert dataset.card.splits["train"].clips == len(each)
    torch.manual_seed(0)
    task = MS2SLTask(dataset, tiny_model, LossWeights(), ModelCard.of("ms2sl", tiny_model, dataset.card))
    reporter = LocalReporter(tmp_path / "run")
    training = TrainingConfig(steps=12, batch_size=4, warmup=2, log_every=4, validate_every=12, checkpoint_every=12, precision="fp32")
    plan = EpochPlan(dataset.shards("train"), 4, seed=0)
    train(task, lambda step: local_batches(plan, task.collate, step), training, reporter)
    last = {key: value for each in reporter.history for key, value in each.items()}
    assert all(math.isfinite(value) for value in last.values()), last
    if each[0] == ("pose",):
        assert last["contrastive"] == last["cycle"] == last["length"] == 0
        assert last["x0_mse"] > 0
