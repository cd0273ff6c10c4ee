"""What a training takes over from the model that it begins with, and what it takes from its own data."""

import numpy as np
import pytest
import torch

from ms2sl.data.dataset import Dataset
from ms2sl.data.skeleton_registry import skeleton
from ms2sl.errors import InputError
from ms2sl.nn.vocabulary import Vocabulary
from ms2sl.systems.ms2sl import task as ms2sl
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.systems.recogniser import RecogniserConfig, RecogniserTask
from ms2sl.systems.translator.model import TranslatorConfig
from ms2sl.systems.translator.task import TranslationTask
from ms2sl.training import checkpoint
from ms2sl.training.checkpoint import ModelCard
from ms2sl.training.initial import continued, load_initial, read_initial_card


def of_data(tiny_dataset, **changed) -> Dataset:
    """The tiny dataset with another card."""
    dataset = Dataset(tiny_dataset)
    dataset.card = dataset.card.model_copy(update=changed)
    return dataset


@pytest.fixture
def elsewhere(tiny_dataset) -> Dataset:
    """Data that are twice as wide and stand elsewhere; the left hand is seen in them, and the right elbow is not."""
    before = Dataset(tiny_dataset)
    mean, deviation = np.array(before.card.statistics.mean), np.array(before.card.statistics.deviation)
    seen = np.ones(len(mean))
    seen[before.skeleton.index("body/RIGHT_ELBOW")] = 0
    statistics = before.card.statistics.model_copy(
        update={"mean": (mean + 3).tolist(), "deviation": (2 * deviation + 1).tolist(), "seen": seen.tolist()}
    )
    return of_data(tiny_dataset, statistics=statistics)


def begun(dataset, model, folder) -> MS2SLTask:
    torch.manual_seed(1)
    task = MS2SLTask(dataset, model, LossWeights(), ModelCard.of("ms2sl", model, dataset.card))
    load_initial(task.module, folder)
    return task


def test_all_weights_are_those_of_the_model(tiny_dataset, tiny_model, tiny_checkpoint):
    module, (before, _) = begun(Dataset(tiny_dataset), tiny_model, tiny_checkpoint).module, ms2sl.load(tiny_checkpoint)
    for (name, one), other in zip(module.state_dict().items(), before.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_statistics_stay_for_joints_that_the_model_knows_and_come_from_the_data_for_others(elsewhere, tiny_model, tiny_checkpoint):
    space, before = begun(elsewhere, tiny_model, tiny_checkpoint).module.space, ms2sl.load(tiny_checkpoint)[0].space
    hand, elbow = elsewhere.skeleton.part("left_hand"), elsewhere.skeleton.index("body/RIGHT_ELBOW")
    assert not before.seen[hand].any()
    known = before.seen
    assert torch.equal(space.mean[known], before.mean[known])
    assert torch.equal(space.deviation[known], before.deviation[known])
    statistics = elsewhere.card.statistics
    assert torch.equal(space.mean[hand], torch.tensor(statistics.mean)[hand])
    assert torch.equal(space.deviation[hand], torch.tensor(statistics.deviation)[hand])
    assert space.seen[hand].all(), "the data show it, so it will be produced"
    assert not space.seen[elbow], "nothing teaches it any more"


def test_before_it_learns_it_makes_the_very_poses_of_the_model(elsewhere, tiny_model, tiny_checkpoint):
    space, before = begun(elsewhere, tiny_model, tiny_checkpoint).module.space, ms2sl.load(tiny_checkpoint)[0].space
    features = torch.randn(2, 8, elsewhere.skeleton.n_joints * elsewhere.skeleton.dims)
    assert torch.equal(space.decode(features)[:, :, before.seen], before.decode(features)[:, :, before.seen])


def test_on_the_same_data_nothing_changes(tiny_dataset, tiny_model, tiny_checkpoint):
    space, before = begun(Dataset(tiny_dataset), tiny_model, tiny_checkpoint).module.space, ms2sl.load(tiny_checkpoint)[0].space
    for name in ("mean", "deviation", "share_seen"):
        assert torch.equal(getattr(space, name), getattr(before, name)), name


def test_settings_that_the_weights_depend_on_must_be_the_same_and_are_named(tiny_dataset, tiny_model, tiny_checkpoint):
    card = Dataset(tiny_dataset).card
    other = tiny_model.model_copy(update={"width": 32, "prediction_type": "v_prediction", "dropout": 0.5, "cond_drop_prob": 0.3})
    with pytest.raises(
        InputError, match=r"\(model\.width 16 there, 32 here, model\.prediction_type sample there, v_prediction here\)"
    ) as said:
        read_initial_card(tiny_checkpoint, "ms2sl", other, card, "model")
    assert str(said.value).endswith("go on from it with --model.width 16 --model.prediction-type sample")
    only_in_training = tiny_model.model_copy(update={"dropout": 0.5, "cond_drop_prob": 0.3})
    assert read_initial_card(tiny_checkpoint, "ms2sl", only_in_training, card, "model").kind == "ms2sl"


def test_another_kind_another_skeleton_and_other_features_are_refused(tiny_dataset, tiny_model, tiny_checkpoint, tiny_recogniser):
    card = Dataset(tiny_dataset).card
    with pytest.raises(InputError, match="holds a recogniser model, not a ms2sl model"):
        read_initial_card(tiny_recogniser, "ms2sl", tiny_model, card, "model")
    other = card.model_copy(update={"skeleton": skeleton("openpose-137x2")})
    with pytest.raises(InputError, match="is of skeleton holistic-49x2, but the data are of openpose"):
        read_initial_card(tiny_checkpoint, "ms2sl", tiny_model, other, "model")
    other = card.model_copy(update={"speech": card.speech.model_copy(update={"dim": 40})})
    with pytest.raises(InputError, match=r"other features of speech than the dataset has \(dim 80 there, 40 here\)"):
        read_initial_card(tiny_checkpoint, "ms2sl", tiny_model, other, "model")


def test_features_of_the_same_pretrained_weights_may_lie_elsewhere(tiny_dataset, tiny_model, tiny_checkpoint, tmp_path):
    card, (model, described) = Dataset(tiny_dataset).card, ms2sl.load(tiny_checkpoint)

    def speech(weights: str, digest: str):
        return card.speech.model_copy(update={"featurizer": "hubert", "weights": weights, "digest": digest})

    checkpoint.save(tmp_path, described.model_copy(update={"speech": speech("/here", "a1")}), model.state_dict())
    same = card.model_copy(update={"speech": speech("/there", "a1")})
    assert read_initial_card(tmp_path, "ms2sl", tiny_model, same, "model").speech.weights == "/here"
    other = card.model_copy(update={"speech": speech("/there", "b2")})
    with pytest.raises(InputError, match=r"weights /here there, /there here, digest a1 there, b2 here"):
        read_initial_card(tmp_path, "ms2sl", tiny_model, other, "model")


def test_a_card_has_met_what_either_met_and_signs_as_its_last_data(tiny_dataset, tiny_model):
    card = ModelCard.of("ms2sl", tiny_model, Dataset(tiny_dataset).card)
    before = card.model_copy(
        update={"characters": "äab", "learned": ("speech",), "signed_languages": ("gsg",), "vocabulary": "pieces", "longest": 9, "fps": 5.0}
    )
    now = continued(card.model_copy(update={"characters": "bc", "learned": ("text",), "signed_languages": ("ase",)}), before)
    assert (now.characters, now.learned, now.vocabulary) == ("abcä", ("text", "speech"), "pieces")
    assert now.signed_languages == ("gsg", "ase"), "what the model knows keeps its place, by which its weights know it"
    assert (now.longest, now.fps) == (card.longest, card.fps)


def test_a_reader_of_letters_keeps_its_classes(tiny_dataset, tiny_recogniser):
    config = RecogniserConfig(width=16, heads=2, layers=1)
    before = checkpoint.read_card(tiny_recogniser)

    def task(characters: str) -> RecogniserTask:
        dataset = of_data(tiny_dataset, characters=characters)
        return RecogniserTask(dataset, config, continued(ModelCard.of("recogniser", config, dataset.card), before))

    fewer = task(before.characters[:3])
    load_initial(fewer.module, tiny_recogniser)
    assert bytes(fewer.module.symbols).decode() == before.characters
    with pytest.raises(InputError, match=r"do not fit a model of these data: head\.bias, head\.weight"):
        load_initial(task(before.characters + "ä").module, tiny_recogniser)


def test_a_translator_keeps_its_vocabulary(tiny_dataset):
    config, dataset = TranslatorConfig(vocabulary="characters", width=16, heads=2, layers=1, longest=8), Dataset(tiny_dataset)
    card = ModelCard.of("translator", config, dataset.card)
    before = card.model_copy(update={"vocabulary": Vocabulary.learn(["äöü"], "characters", 20).dump()})
    task = TranslationTask(dataset, config, continued(card, before))
    assert task.card.vocabulary == before.vocabulary
    assert len(task.module.vocabulary) == len(Vocabulary.load(before.vocabulary))
