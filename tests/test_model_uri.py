"""Models by where they lie."""

import shutil
from pathlib import Path

import mlflow
import pytest

from ms2sl.errors import InputError
from ms2sl.model_uri import ResolvedModel, resolve_model
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from ms2sl.tracking.tracker import Tracker, default_uri
from ms2sl.training import checkpoint
from ms2sl.training.checkpoint import fingerprint, read_card


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    return default_uri(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def tracker(uri) -> Tracker:
    return Tracker.open(uri, "signs", "first")


@pytest.fixture(scope="module")
def other_checkpoint(tiny_checkpoint, tmp_path_factory) -> Path:
    """As the tiny one, with other weights."""
    folder = tmp_path_factory.mktemp("other")
    model = MS2SLProducer.load(tiny_checkpoint).model
    checkpoint.save(folder, read_card(tiny_checkpoint, "ms2sl"), {name: weight * 1.5 for name, weight in model.state_dict().items()})
    return folder


@pytest.fixture(scope="module")
def registered(tracker, tiny_checkpoint) -> str:
    """Version 1 of models:/ms2sl, its champion."""
    assert tracker.register(tiny_checkpoint, "ms2sl", "champion") == "1"
    return "models:/ms2sl@champion"


def test_registering_a_model_asks_for_no_example(tracker, tiny_checkpoint, recwarn):
    assert tracker.register(tiny_checkpoint, "quiet", "champion") == "1"
    assert not [said for said in recwarn if "input example" in str(said.message)]


def weights(pinned: ResolvedModel) -> str:
    """Fingerprint of the checkpoint that it is."""
    with pinned.folder() as folder:
        return fingerprint(folder)


def refusal(model: str, tracking: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        weights(resolve_model(model, tracking))
    return str(caught.value)


def test_a_folder_is_known_by_its_weights_and_not_by_where_it_lies(tiny_checkpoint, other_checkpoint, tmp_path):
    shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    first, copy, other = (resolve_model(str(folder)) for folder in (tiny_checkpoint, tmp_path / "copy", other_checkpoint))
    assert first.version == copy.version == fingerprint(tiny_checkpoint)
    assert first.version != other.version
    assert str(tiny_checkpoint) not in first.version
    assert not first.registered
    assert weights(copy) == weights(first)


def test_a_folder_is_found_from_wherever_it_is_asked_for(tiny_checkpoint, monkeypatch, tmp_path):
    monkeypatch.chdir(tiny_checkpoint.parent)
    pinned = resolve_model(tiny_checkpoint.name)
    monkeypatch.chdir(tmp_path)
    assert weights(pinned) == fingerprint(tiny_checkpoint)


@pytest.mark.parametrize("folder", ["missing", "empty", "", "file"])
def test_a_folder_without_a_checkpoint_is_refused(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("{}")
    assert "no checkpoint" in refusal(str(tmp_path / folder))


def test_a_folder_without_weights_or_of_another_kind_is_refused(tiny_checkpoint, tiny_recogniser, tmp_path):
    shutil.copyfile(tiny_checkpoint / "config.json", tmp_path / "config.json")
    assert "model.safetensors" in refusal(str(tmp_path))
    assert "recogniser" in refusal(str(tiny_recogniser))
    (tmp_path / "config.json").write_text("{")
    assert "damaged" in refusal(str(tmp_path))


def test_an_alias_is_pinned_to_the_version_it_points_to(registered, uri, tiny_checkpoint):
    pinned = resolve_model(registered, uri)
    assert (pinned.place, pinned.version, pinned.registered) == ("models:/ms2sl/1", "ms2sl/1", True)
    assert resolve_model("models:/ms2sl/1", uri) == pinned
    assert resolve_model(pinned.place, pinned.tracking) == pinned
    assert weights(pinned) == fingerprint(tiny_checkpoint)


def test_what_is_fetched_is_a_checkpoint_that_loads_and_no_copy_stays(registered, uri):
    with resolve_model(registered, uri).folder() as folder:
        assert MS2SLProducer.load(folder).card.kind == "ms2sl"
    assert not folder.exists()


def test_an_alias_that_moves_leaves_a_pinned_model_where_it_is(tracker, uri, tiny_checkpoint, other_checkpoint):
    tracker.register(tiny_checkpoint, "moving", "champion")
    before = resolve_model("models:/moving@champion", uri)
    tracker.register(other_checkpoint, "moving", "champion")
    after = resolve_model("models:/moving@champion", uri)
    assert (before.version, after.version) == ("moving/1", "moving/2")
    assert weights(before) == fingerprint(tiny_checkpoint)
    assert weights(after) == fingerprint(other_checkpoint)


@pytest.mark.parametrize("model", ["models:/ms2sl@nobody", "models:/ms2sl/99", "models:/unknown@champion", "models:/unknown/1"])
def test_what_is_not_registered_is_refused_by_name(registered, uri, model):
    message = refusal(model, uri)
    assert model in message
    assert "not registered" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "model", ["models:/ms2sl", "models:/", "models:/ms2sl/", "models:/ms2sl@", "models:/a/b/1", "models:/ms2sl/latest", "models:/a@b@c"]
)
def test_a_broken_name_is_told_how_to_write_it(uri, model):
    assert "models:/name@alias" in refusal(model, uri)


def test_a_registry_that_is_not_there_is_refused_soon():
    assert "not registered at http://127.0.0.1:9" in refusal("models:/ms2sl@champion", "http://127.0.0.1:9")


def test_a_password_in_the_uri_is_not_told(tmp_path):
    message = refusal("models:/ms2sl@champion", "postgresql+none://user:secret@127.0.0.1:9/runs")
    assert "secret" not in message


def test_a_registered_model_of_another_project_is_refused(uri, tmp_path):
    client = mlflow.MlflowClient(uri, registry_uri=uri)
    (tmp_path / "note.txt").write_text("no model")
    client.create_registered_model("foreign")
    client.create_model_version("foreign", str(tmp_path))
    assert "no model of this project" in refusal("models:/foreign/1", uri)


def test_a_version_whose_files_are_gone_is_refused(uri, tmp_path):
    client = mlflow.MlflowClient(uri, registry_uri=uri)
    client.create_registered_model("gone")
    client.create_model_version("gone", str(tmp_path / "nowhere"))
    assert "models:/gone/1" in refusal("models:/gone/1", uri)
