"""What a model lets choose, what training changes, and where its sampling steps lie."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import torch

from ms2sl.data.collate import Collate
from ms2sl.data.dataset import Dataset
from ms2sl.data.modality_masking import MaskConfig
from ms2sl.data.shards import read_shard, with_column
from ms2sl.data.speech_augmentation import SpeechAugmentConfig
from ms2sl.data.types import Poses
from ms2sl.errors import InputError
from ms2sl.metrics.motion import hand_dtw
from ms2sl.nn.diffusion import sampling_times
from ms2sl.systems.ms2sl.config import ModelConfig
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.model import MS2SL
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from ms2sl.systems.ms2sl.system import make_task
from ms2sl.systems.ms2sl.task import MS2SLTask, choices
from ms2sl.training.checkpoint import ModelCard
from tests.conftest import BYTES, LOG_MEL
from tests.systems.ms2sl.test_model import overfitted


@pytest.fixture(scope="module")
def dataset(tiny_dataset) -> Dataset:
    return Dataset(tiny_dataset)


@pytest.mark.parametrize(("choice", "values", "stranger"), [("signed_language", ("ase", "bfi"), "gsg"), ("signer", ("anna", "ben"), "eve")])
def test_who_and_what_is_asked_for_is_signed(dataset, choice, values, stranger):
    """Two languages, or people, that say the same, one upside down."""
    torch.manual_seed(0)
    config = ModelConfig(width=64, encoder_layers=1, denoiser_layers=2, embedding=32)
    card = ModelCard.of("ms2sl", config, dataset.card).model_copy(update={"choices": {choice: values}})
    task = MS2SLTask(dataset, config, LossWeights(), card)
    table = read_shard(dataset.shards("test")[0][0], task.collate.columns).slice(0, 4)
    batch = task.collate(pa.concat_tables([with_column(table, choice, [value] * 4) for value in values]))
    batch.poses[4:, ..., 1] *= -1
    producer, clips = MS2SLProducer(overfitted(task, batch, steps=300), task.card), list(dataset.clips("test"))[:4]
    upright = [clip.poses for clip in clips]
    upside_down = [Poses(poses.joints * np.array([1, -1], np.float32), poses.confidence, poses.fps) for poses in upright]
    said = [dataclasses.replace(clip.utterance("text"), signed_language=None) for clip in clips]
    for value, own, other in zip(values, (upright, upside_down), (upside_down, upright), strict=True):
        made = producer.produce([dataclasses.replace(each, **{choice: value}) for each in said], seed=0)
        assert hand_dtw(made, own, dataset.skeleton).sum() < hand_dtw(made, other, dataset.skeleton).sum() / 3
    with pytest.raises(InputError, match=f"does not know the {choice} {stranger}; it learned {values[0]}, {values[1]}"):
        producer.features(dataclasses.replace(said[0], **{choice: stranger}))
    assert len(producer.produce(said[:1], seed=0)) == 1


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_steps_lie_where_the_shift_of_the_model_says(dataset, shift):
    model = MS2SL(ModelConfig(width=32, encoder_layers=1, denoiser_layers=1, sampling_shift=shift), dataset.skeleton, BYTES, LOG_MEL)
    times, denoise = [], model._denoise
    model._denoise = lambda x, t, *given: (times.append(t[0].item()), denoise(x, t, *given))[1]
    batch = Collate(dataset.skeleton, dataset.card.text, dataset.card.speech)(read_shard(dataset.shards("test")[0][0]).slice(0, 2))
    white = torch.randn(2, model.overhang + batch.poses.shape[1], model.features)
    model.generate([model.conditions(batch)["text"]], batch.n_frames, model.noise(white), 4)
    assert times == pytest.approx(sampling_times(4, shift)[:-1].tolist())


def test_noise_is_heard_in_training_and_not_in_validation(dataset):
    config = ModelConfig(width=32, encoder_layers=1, denoiser_layers=1, embedding=16)
    sections = {"model": config, "losses": LossWeights(), "mask": MaskConfig(), "augment": SpeechAugmentConfig(noise=1)}
    task = make_task(dataset, sections, ModelCard.of("ms2sl", config, dataset.card))
    table = next(dataset.tables("train", task.collate.columns)).slice(0, 4)
    noisy, clean = task.collate(table), task.whole(table)
    assert (noisy.speech != clean.speech).any()
    assert torch.equal(noisy.poses, clean.poses)
    features = Collate(dataset.skeleton, dataset.card.text, dataset.card.speech)(table)
    assert torch.equal(clean.speech, features.speech)


@pytest.mark.parametrize(
    ("languages", "signers", "known"),
    [
        (("ase",), (), {}),
        (("ase", "und"), ("anna",), {}),
        (("ase", "bfi", "und"), (), {"signed_language": ("ase", "bfi")}),
        (("ase",), ("anna", "ben"), {"signer": ("anna", "ben")}),
    ],
)
def test_what_can_be_chosen_is_what_there_are_several_of(dataset, languages, signers, known):
    described = dataset.card.model_copy(update={"signed_languages": languages, "signers": signers})
    assert choices(described, ModelConfig()) == known
    assert choices(described, ModelConfig(language_condition=False, signer_condition=False)) == {}
