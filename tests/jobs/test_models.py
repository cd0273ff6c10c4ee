"""Registered models as options of jobs, from a real registry of MLflow."""

import re
import shutil
from pathlib import Path

import pytest

from jobs.evaluate import EvaluateCommand
from jobs.evaluate import run as evaluate
from jobs.models import with_folders
from jobs.produce import ProduceCommand, run
from jobs.tune import TuneCommand
from jobs.tune import run as tune
from ms2sl.errors import InputError
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from ms2sl.tracking.mlflow_server import connect
from ms2sl.tracking.tracker import Tracker, default_uri
from ms2sl.training import checkpoint
from ms2sl.training.checkpoint import fingerprint, read_card

CHAMPION = "models:/ms2sl@champion"


@pytest.fixture(scope="module")
def better(tiny_checkpoint, tmp_path_factory) -> Path:
    """The tiny model with other weights."""
    folder, weights = tmp_path_factory.mktemp("better"), MS2SLProducer.load(tiny_checkpoint).model.state_dict()
    checkpoint.save(folder, read_card(tiny_checkpoint, "ms2sl"), {name: weight * 1.5 for name, weight in weights.items()})
    return folder


@pytest.fixture(scope="module")
def registry(tiny_checkpoint, better, tiny_recogniser, tmp_path_factory) -> str:
    """Its URI. The tiny model is version 1, the better one version 2 and the champion; a recogniser is version 1 of models:/reader."""
    uri = default_uri(tmp_path_factory.mktemp("registry"))
    tracker = Tracker.open(uri, "signs", "first")
    assert [tracker.register(model, "ms2sl", "champion") for model in (tiny_checkpoint, better)] == ["1", "2"]
    tracker.finish()
    client = connect(uri)
    client.create_registered_model("reader")
    client.create_model_version("reader", str(tiny_recogniser))
    return uri


def found(model: str, tracking: str, within: Path) -> str:
    return with_folders(ProduceCommand(model=model, tracking=tracking), "model", within=str(within)).model


def test_an_alias_and_a_version_become_folders_and_what_the_alias_means_is_printed(registry, tiny_checkpoint, better, tmp_path, capsys):
    folder = found(CHAMPION, registry, tmp_path)
    assert Path(folder).parent == tmp_path / ".models"
    assert fingerprint(folder) == fingerprint(better)
    assert capsys.readouterr().out == "models:/ms2sl@champion is version 2\n"
    assert fingerprint(found("models:/ms2sl/1", registry, tmp_path)) == fingerprint(tiny_checkpoint)
    assert found("models:/ms2sl/2", registry, tmp_path) == folder
    assert capsys.readouterr().out == ""
    assert len(list((tmp_path / ".models").iterdir())) == 2, "nothing temporary stays"


def test_a_version_is_fetched_once(registry, tmp_path):
    folder = found(CHAMPION, registry, tmp_path)
    before = Path(folder, "model.safetensors").stat()
    assert found(CHAMPION, registry, tmp_path) == folder
    assert Path(folder, "model.safetensors").stat() == before


def test_the_same_version_of_another_registry_is_another_model(registry, better, tmp_path):
    other = default_uri(tmp_path / "other")
    tracker = Tracker.open(other, "signs", "first")
    tracker.register(better, "ms2sl", "champion")
    tracker.finish()
    first, second = (found("models:/ms2sl/1", uri, tmp_path) for uri in (registry, other))
    assert fingerprint(first) != fingerprint(second) == fingerprint(better)


def test_a_folder_is_itself_and_absolute_and_asks_no_registry(tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny_checkpoint.parent)
    options = EvaluateCommand(model=tiny_checkpoint.name, others={"a": tiny_checkpoint.name}, tracking="http://127.0.0.1:9")
    options = with_folders(options, "model", "others", within=str(tmp_path))
    assert (options.model, options.others) == (str(tiny_checkpoint), {"a": str(tiny_checkpoint)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("model", ["models:/ms2sl@nobody", "models:/ms2sl/9", "models:/unknown@champion"])
def test_what_is_not_registered_is_refused_in_a_line(registry, model, tmp_path):
    with pytest.raises(InputError, match=f"^{re.escape(model)} is not registered at sqlite:.*mlflow.db: [^\n]*$"):
        found(model, registry, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_database_that_is_not_there_is_named_and_not_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"no MLflow database at {tmp_path}/runs/mlflow.db; give tracking"):
        run(ProduceCommand(model=CHAMPION, text="cab", out=tmp_path / "out"))
    assert not list(tmp_path.iterdir())


def test_one_text_is_signed_by_the_champion(registry, better, tmp_path, monkeypatch, capsys):
    (tmp_path / "runs").mkdir()
    shutil.copyfile(registry.removeprefix("sqlite:///"), tmp_path / "runs" / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    run(ProduceCommand.parse(["--model", CHAMPION, "--text", "cab", "--steps", "1"]))  # from runs/mlflow.db
    assert "models:/ms2sl@champion is version 2\n" in capsys.readouterr().out
    run(ProduceCommand(model=better, text="cab", out=tmp_path / "other", steps=1))
    assert (tmp_path / "produced" / "cab.pose").read_bytes() == (tmp_path / "other" / "cab.pose").read_bytes()


@pytest.mark.usefixtures("ray_cluster")
def test_many_are_signed_by_the_champion_and_go_on_with_it(registry, better, tmp_path, capsys):
    (tmp_path / "words.txt").write_text("cab\n")
    options = ProduceCommand(model=CHAMPION, tracking=registry, utterances=tmp_path / "words.txt", out=tmp_path / "out", steps=1)
    assert [run(options), run(options.model_copy(update={"model": better}))] == [0, 0]
    said = capsys.readouterr().out
    assert "1 produced, 0 were there already" in said
    assert "0 produced, 1 were there already" in said


def test_models_of_another_kind_are_refused_by_every_job(registry, tiny_dataset, tiny_recogniser, tmp_path):
    given = {"data": str(tiny_dataset), "tracking": registry}
    with pytest.raises(InputError, match=r"reader-1-.* holds a recogniser model, not a ms2sl model"):
        run(ProduceCommand(model="models:/reader/1", text="cab", tracking=registry, out=tmp_path / "out"))
    with pytest.raises(InputError, match=r"ms2sl-2-.* holds a ms2sl model, not a recogniser or translator model"):
        evaluate(EvaluateCommand(model="models:/ms2sl/1", back_translator=CHAMPION, out=tmp_path / "out", **given))
    with pytest.raises(InputError, match=r"reader-1-.* holds a recogniser model, not a ms2sl model"):
        evaluate(
            EvaluateCommand(
                model=CHAMPION, others={"a": "models:/reader/1"}, back_translator="models:/reader/1", out=tmp_path / "out", **given
            )
        )
    with pytest.raises(InputError, match=r"reader-1-.* holds a recogniser model, not a ms2sl model"):
        tune(TuneCommand(space="sampling", trained="models:/reader/1", back_translator="models:/reader/1", runs=tmp_path / "runs", **given))
