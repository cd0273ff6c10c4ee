import errno
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ms2sl.data.dataset import Dataset
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.data.types import Utterance
from ms2sl.errors import InputError
from ms2sl.systems import recogniser
from ms2sl.systems.ms2sl import task
from ms2sl.systems.ms2sl.config import ModelConfig
from ms2sl.systems.ms2sl.model import MS2SL
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from ms2sl.training import checkpoint


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    return shutil.copytree(tiny_checkpoint, tmp_path / "model")


def test_what_is_saved_is_what_is_loaded(tiny_checkpoint, tmp_path):
    model, card = task.load(tiny_checkpoint)
    checkpoint.save(tmp_path, card, model.state_dict())
    again, same = task.load(tmp_path)
    assert same == card
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    ("former", "predicts"), [({}, "sample"), ({"objective": "clean"}, "sample"), ({"objective": "velocity"}, "v_prediction")]
)
def test_a_model_of_before_there_was_a_prediction_type(folder, tiny_model, former, predicts):
    config = folder / "config.json"
    card = json.loads(config.read_text())
    assert card["model"].pop("prediction_type") == "sample"
    config.write_text(json.dumps(card | {"model": card["model"] | former}))
    assert task.load(folder)[0].config == tiny_model.model_copy(update={"prediction_type": predicts})


def test_a_model_of_before_there_was_visibility_has_none(folder, tiny_dataset):
    dataset = Dataset(tiny_dataset)
    config = folder / "config.json"
    card = json.loads(config.read_text())
    later = {name: card["model"].pop(name) for name in ("visibility", "overlap", "noise_length", "reordering_layers")}
    assert later == {"visibility": True, "overlap": True, "noise_length": 5, "reordering_layers": 1}
    card["glosses"] = []
    config.write_text(json.dumps(card))
    shape = ModelConfig.model_validate(card["model"] | {"visibility": False, "overlap": False, "noise_length": 1, "reordering_layers": 0})
    earlier = MS2SL(shape, dataset.skeleton, dataset.card.text, dataset.card.speech)
    save_file(earlier.state_dict(), folder / "model.safetensors")
    model, _ = task.load(folder)
    assert (model.config, model.features, model.overhang) == (shape, 98, 0)
    poses = MS2SLProducer.load(folder).produce([Utterance("a", text="cab")], seed=0)[0]
    assert (poses.confidence > 0).all(axis=0).tolist() == model.space.seen.tolist()


def test_publishing_leaves_the_training_state_behind_and_puts_a_whole_model_in_the_place_of_another(folder, tmp_path):
    (folder / "training.safetensors").write_bytes(b"state")
    target = tmp_path / "published"
    checkpoint.publish(folder, target)
    assert sorted(path.name for path in target.iterdir()) == ["config.json", "model.safetensors"]
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError):
        checkpoint.publish(folder, target)
    assert (target / "model.safetensors").exists(), "what cannot be published whole leaves the other there"
    (folder / "model.safetensors").write_bytes(b"weights")
    checkpoint.publish(folder, target)
    assert (target / "model.safetensors").read_bytes() == b"weights"
    assert {path.name for path in tmp_path.iterdir()} <= {"published", folder.name}, "and nothing beside it"


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match="is no checkpoint"):
        task.load(tmp_path)


def test_another_kind_of_model(folder):
    with pytest.raises(InputError, match="holds a ms2sl model, not a recogniser model"):
        recogniser.load(folder)


def test_a_damaged_config(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json is damaged"):
        task.load(folder)


def test_truncated_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"model\.safetensors is damaged"):
        task.load(folder)


def test_missing_weights(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"has no model\.safetensors"):
        task.load(folder)


def test_a_pickle_is_not_opened(folder):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match="is damaged"):
        task.load(folder)


def test_weights_of_another_shape(folder):
    save_file({"null": torch.zeros(99)}, folder / "model.safetensors")
    with pytest.raises(InputError, match="do not fit"):
        task.load(folder)


def test_a_checkpoint_of_another_skeleton(folder):
    card = checkpoint.read_card(folder, "ms2sl")
    other = HOLISTIC_49X2.model_copy(update={"name": "other-12x3", "dims": 3})
    with pytest.raises(InputError, match="of skeleton holistic-49x2, but the data are of other-12x3"):
        checkpoint.check_skeleton(card, other, folder)


def test_the_config_is_plain_json_that_names_its_parts(folder):
    card = json.loads((folder / "config.json").read_text())
    assert card["text"]["featurizer"] == "bytes"
    assert card["skeleton"]["name"] == "holistic-49x2"
    assert card["fps"] == 12.5


@pytest.mark.parametrize("change", [{"colour": "red"}, {"width": 17}, {"schedule": "wavy"}])
def test_a_config_whose_model_this_version_does_not_know(folder, change):
    card = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(card | {"model": card["model"] | change}))
    with pytest.raises(InputError, match=r"config\.json"):
        task.load(folder)


def test_weights_are_linked_or_else_copied(folder, tmp_path, monkeypatch):
    linked = tmp_path / "published" / "model.safetensors"
    checkpoint.publish(folder, linked.parent)
    assert linked.samefile(folder / "model.safetensors")

    def refuse(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    checkpoint.publish(folder, linked.parent)
    assert not linked.samefile(folder / "model.safetensors")
    assert linked.read_bytes() == (folder / "model.safetensors").read_bytes()


def test_publishing_that_is_interrupted_leaves_the_model_that_was_there(folder, tmp_path, monkeypatch):
    target = tmp_path / "published"
    checkpoint.publish(folder, target)
    before, replace = (target / "model.safetensors").read_bytes(), os.replace

    def interrupt(source, where):
        if Path(where) == target and Path(source).name.startswith(".") and not target.exists() and not interrupted:
            interrupted.append(source)
            raise KeyboardInterrupt
        replace(source, where)

    interrupted = []
    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.publish(folder, target)
    assert interrupted
    assert (target / "model.safetensors").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} <= {"published", folder.name}
