import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ms2sl.data.batch_sampler import EpochPlan, split_batches
from ms2sl.data.collate import Batch, BatchField
from ms2sl.data.dataset import Dataset
from ms2sl.errors import InputError
from ms2sl.metrics.text import letter_error_rate
from ms2sl.nn.vocabulary import PAD
from ms2sl.systems import back_translation
from ms2sl.systems.ms2sl import task as task_of_the_model
from ms2sl.systems.translator.model import Translator, TranslatorConfig
from ms2sl.systems.translator.task import TranslationTask, load
from ms2sl.training.checkpoint import ModelCard
from ms2sl.training.local import LocalReporter, local_batches
from ms2sl.training.loop import TrainingConfig, train

TINY = TranslatorConfig(vocabulary="characters", width=32, heads=2, layers=1, longest=12)


@pytest.fixture(scope="module")
def dataset(tiny_dataset) -> Dataset:
    return Dataset(tiny_dataset)


def make(dataset, config=TINY) -> TranslationTask:
    torch.manual_seed(0)
    return TranslationTask(dataset, config, ModelCard.of("translator", config, dataset.card))


@pytest.fixture(scope="module")
def model(dataset) -> Translator:
    return make(dataset).module.eval()


@pytest.fixture(scope="module")
def batch(dataset, model):
    return next(split_batches(dataset, "test", make(dataset).collate, 6))


@torch.no_grad()
def test_padding_changes_nothing(model, batch):
    likelihoods = model.log_likelihood(batch)
    for i, single in enumerate(one_by_one(batch)):
        assert float(model.log_likelihood(single)) == pytest.approx(float(likelihoods[i]), abs=1e-4)


def one_by_one(batch):
    """Each clip as a batch of its own, without padding."""
    for i in range(len(batch)):
        poses, targets, row = batch["poses"], batch["targets"], slice(i, i + 1)
        n, pieces = int(batch.n_frames[i]), int((targets.values[i] != PAD).sum())
        yield Batch(
            {
                "poses": BatchField(poses.values[row, :n], poses.lengths[row], poses.mask[row, :n]),
                "targets": BatchField(targets.values[row, :pieces], targets.lengths[row]),
            }
        )


def test_the_likelihood_is_that_of_a_distribution_over_next_pieces(model, batch):
    """Over all vocabulary, the probabilities of the first piece add up to 1, and a text's is their product."""
    logits = model(batch)
    first = logits[0, 0].softmax(0)
    assert float(first.sum()) == pytest.approx(1, abs=1e-5)
    by_hand = sum(float(logits[0, i].log_softmax(0)[piece]) for i, piece in enumerate(batch["targets"].values[0].tolist()) if piece != PAD)
    pieces = int((batch["targets"].values[0] != PAD).sum())
    assert float(model.log_likelihood(batch)[0]) == pytest.approx(by_hand / pieces, abs=1e-5)


@pytest.mark.parametrize("beams", [1, 4])
def test_what_it_writes_has_at_most_so_many_pieces(model, batch, beams):
    texts = model.write(batch, beams)
    assert len(texts) == len(batch)
    assert all(len(text) <= 12 for text in texts)


def test_it_learns_to_read_and_finds_the_true_text_likelier_than_another(dataset, tmp_path):
    config = TranslatorConfig(vocabulary="characters", width=64, heads=2, layers=1, noise=0.0, dropout=0.0, smoothing=0.0, longest=12)
    task = make(dataset, config)
    training = TrainingConfig(
        steps=220, batch_size=40, warmup=20, ema_decay=0.9, learning_rate=4e-3, validate_every=220, checkpoint_every=220
    )
    plan, reporter = EpochPlan(dataset.shards("train"), 32, seed=0), LocalReporter(tmp_path)
    train(task, lambda step: local_batches(plan, task.collate, step), training, reporter)
    losses = [report["loss"] for report in reporter.history]
    assert losses[-1] < losses[0] / 10
    reader = back_translation.load(reporter.latest())
    clips = [clip for clip in dataset.clips("train") if clip.text]
    poses, texts = [clip.poses for clip in clips], [clip.text for clip in clips]
    assert letter_error_rate(reader.read(poses), texts) < 10
    right, wrong = (np.mean(reader.likelihoods(poses, some)) for some in (texts, texts[::-1]))
    assert right > wrong + 1
    assert math.isfinite(reporter.history[-1]["dev_nll"])


def test_the_state_of_a_clip_does_not_depend_on_the_clips_beside_it(model, dataset):
    few = [clip.poses for clip in dataset.clips("test")][:5]
    together = model.embeddings(few)
    assert together.shape == (5, model.config.width)
    for poses, state in zip(few, together, strict=True):
        assert np.allclose(model.embeddings([poses])[0], state, atol=1e-4)


def test_a_checkpoint_reads_as_it_did(dataset, batch, tmp_path):
    task = make(dataset)
    task.save(tmp_path, task.module.state_dict())
    again = load(tmp_path)
    assert torch.allclose(again(batch), task.module.eval()(batch), atol=1e-6)
    with pytest.raises(InputError, match="holds a translator model, not a ms2sl model"):
        task_of_the_model.load(tmp_path)


def test_heads_must_divide_the_width():
    with pytest.raises(ValidationError, match=r"heads \(3\) must divide width \(32\)"):
        TranslatorConfig(width=32, heads=3)
