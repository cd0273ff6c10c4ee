"""Runs reach MLflow, and whatever MLflow does never reaches training."""

import contextlib
import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from ms2sl.errors import InputError
from ms2sl.tracking import tracker as tracking
from ms2sl.tracking.outbox import Outbox
from ms2sl.tracking.tracker import Tracker, default_uri, git_commit


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """One database for all tests here: a fresh one costs two seconds."""
    return default_uri(tmp_path_factory.mktemp("runs"))


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(tracking, "INTERVAL", 0.05)


@pytest.fixture
def tracker(uri):
    return Tracker.open(uri, "signs", "first", params={"model": {"width": 64}, "seed": 0}, tags={"commit": "abc", "gpu": None})


@pytest.fixture
def warnings(caplog):
    """What the tracker itself has warned of."""
    return lambda: [r.getMessage() for r in caplog.records if r.name.startswith("ms2sl.") and r.levelno >= logging.WARNING]


def client(uri):
    return mlflow.MlflowClient(uri, registry_uri=uri)


def run_of(tracker):
    """The run in MLflow, once all that was reported is there."""
    until = time.monotonic() + 30
    while tracker.outbox.sent < tracker.outbox.end:
        assert time.monotonic() < until
        time.sleep(0.05)
    return client(tracker.uri).get_run(tracker.run_id)


def artifacts_of(tracker):
    return Path(run_of(tracker).info.artifact_uri)


def folder_of(uri):
    return Path(uri.removeprefix("sqlite:///")).parent


def test_a_run_arrives(tracker, warnings):
    tracker.metrics({"loss": 0.5, "R@5": np.float32(0.25), "val": {"dtw": 2}, "../a//b": 1}, step=3)
    assert tracker.finish()
    run = run_of(tracker)
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert run.data.params == {"model.width": "64", "seed": "0"}
    assert run.data.metrics == {"loss": 0.5, "R_5": 0.25, "val.dtw": 2.0, "_/a/_/b": 1.0}
    assert client(tracker.uri).get_metric_history(tracker.run_id, "loss")[0].step == 3
    assert run.data.tags["commit"] == "abc"
    assert "gpu" not in run.data.tags
    assert warnings() == []


def test_what_is_no_finite_number_is_no_metric(tracker, warnings):
    tracker.metrics({"nan": float("nan"), "inf": np.inf, "text": "0.5", "none": None, "array": np.zeros(3), "step": 1}, step=1)
    tracker.metrics({"epoch": "first"}, step=2)
    assert run_of(tracker).data.metrics == {"step": 1.0}
    assert warnings() == []


def test_artifacts_lie_beside_the_database_wherever_the_process_stands(tracker, tmp_path, monkeypatch):
    source = tmp_path / "samples"
    source.mkdir()
    (source / "hello.pose").write_bytes(b"pose")
    monkeypatch.chdir(tmp_path)
    tracker.artifact(source / "hello.pose")
    tracker.artifact(source, "epoch_1")
    tracker.text("good", "notes/verdict.txt")
    tracker.dictionary({"bleu": 1.5}, "scores.json")
    kept = artifacts_of(tracker)
    assert kept.is_relative_to(folder_of(tracker.uri))
    assert (kept / "hello.pose").read_bytes() == (kept / "epoch_1" / "samples" / "hello.pose").read_bytes() == b"pose"
    assert (kept / "notes" / "verdict.txt").read_text() == "good"
    assert json.loads((kept / "scores.json").read_text()) == {"bleu": 1.5}
    assert os.listdir(tmp_path) == ["samples"]


def test_a_relative_uri_becomes_absolute(uri, monkeypatch):
    monkeypatch.chdir(folder_of(uri))
    assert Tracker.open("sqlite:///mlflow.db", "signs", "relative").uri == uri


def test_a_resumed_training_continues_its_run(tracker, uri, warnings):
    tracker.metrics({"loss": 2.0}, step=1)
    tracker.finish("FAILED")
    resumed = Tracker.open(uri, "signs", "first", run_id=tracker.run_id, params={"model": {"width": 128}, "seed": 0, "epochs": 9})
    assert resumed.run_id == tracker.run_id
    assert run_of(resumed).info.status == "RUNNING"
    resumed.metrics({"loss": 1.0}, step=2)
    run = run_of(resumed)
    assert run.data.params == {"model.width": "64", "seed": "0", "epochs": "9"}
    assert run.data.tags["resumed.model.width"] == "128"
    assert [m.value for m in client(uri).get_metric_history(run.info.run_id, "loss")] == [2.0, 1.0]
    assert warnings() == []


def test_a_run_that_is_gone_is_begun_anew(uri, warnings):
    tracker = Tracker.open(uri, "signs", "again", run_id="0" * 32)
    assert run_of(tracker).info.run_name == "again"
    assert len(warnings()) == 1


def test_many_and_long_parameters(uri, warnings):
    tracker = Tracker.open(uri, "signs", "many", params={"long": "x" * 10_000, **{f"p{i}": i for i in range(250)}})
    params = run_of(tracker).data.params
    assert len(params) == 251
    assert params["long"] == "x" * 6000
    assert warnings() == []


def test_a_tracker_travels(tracker):
    tracker.metrics({"loss": 2.0}, step=1)
    copy = pickle.loads(pickle.dumps(tracker))
    copy.metrics({"loss": 1.0}, step=2)
    assert run_of(tracker).data.metrics == {"loss": 1.0}


def test_registering_makes_versions_and_moves_the_alias(tracker, tiny_checkpoint, tmp_path, warnings):
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, checkpoint)  # whose card tells the parameters of the model
    for name in ("model.safetensors", "training.safetensors"):
        (checkpoint / name).write_text("{}")
    assert [tracker.register(checkpoint, "plain", "champion") for _ in range(2)] == ["1", "1"], "the same weights of the same run"
    (checkpoint / "model.safetensors").write_text("{ }")
    assert tracker.register(checkpoint, "plain", "champion") == "2"
    version = client(tracker.uri).get_model_version_by_alias("plain", "champion")
    assert (version.version, version.run_id) == (2, tracker.run_id)
    kept = Path(version.source)
    assert kept.is_relative_to(folder_of(tracker.uri))
    assert sorted(os.listdir(kept / "artifacts" / "checkpoint")) == ["config.json", "model.safetensors"]
    assert not list(kept.rglob("*.pkl"))
    assert warnings() == []


def test_a_registered_model_is_loaded_and_signs(tracker, tiny_checkpoint, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))  # loading a model adds to it
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)
    assert tracker.register(tiny_checkpoint, "ms2sl", "champion") == "1"
    model = mlflow.pyfunc.load_model("models:/ms2sl@champion")
    first, second = model.predict(["hello", "bead"], params={"seed": 1, "steps": 2})
    assert (first["text"], second["text"]) == ("hello", "bead")
    assert first["joints"].shape[:2] == first["confidence"].shape
    assert len(first["joints"]) == first["n_frames"]
    again = model.predict(["hello", "bead"], params={"seed": 1, "steps": 2})
    other = model.predict(["hello", "bead"], params={"seed": 2, "steps": 2})
    assert np.array_equal(first["joints"], again[0]["joints"])
    assert not np.array_equal(first["joints"], other[0]["joints"])
    assert len(model.predict(["hello"])) == 1
    table = pd.DataFrame({"id": ["cab", "bad"], "Text": ["hello", "bead"], "n": [1, 2]})
    for given in (table, table["Text"], table["Text"].to_numpy(), pd.DataFrame(["hello", "bead"])):
        found = model.predict(given, params={"seed": 1, "steps": 2})
        assert [row["text"] for row in found] == ["hello", "bead"]
        assert np.array_equal(found[0]["joints"], first["joints"])
    for given, params, reason in (
        (table.drop(columns="Text"), {}, "one column text; its columns are: id, n"),
        (pd.DataFrame({"word": ["cab"]}), {}, "one column text; its columns are: word"),
        (["hello"], {"stepz": 2, "seed": 1}, "no parameter stepz; there are: steps, guidance, sampler, seed"),
        ("hello", {}, "give a list of texts, or a table with a column text, not a str"),
        ({"text": "hello"}, {}, "give a list of texts, or a table with a column text, not a dict"),
        ([["hello"]], {}, "give a list of texts"),
        ([{"text": "hello"}], {}, "row 1 is no text"),
        (["cab", None], {}, "1: the text is empty"),
        (pd.DataFrame({"text": pd.array(["cab", pd.NA], "string")}), {}, "1: the text is empty"),
        ([b"cab"], {}, "row 1 is no text"),
        (["ca\ue000b"], {}, "0: the text has a private-use character"),
        (table.assign(signed_language=["ase", "de"]), {}, "row 2: 'de' is no signed_language: write an ISO 639-3 code"),
        (table.assign(signed_language=["ase", "gsg"], Signed_Language="ase"), {}, "the table has 2 columns signed_language: leave one"),
    ):
        with pytest.raises(InputError, match=reason):
            model.predict(given, params=params)
    ddim, dpm = (model.predict(["hello"], params={"steps": 5, "sampler": sampler})[0] for sampler in ("ddim", "dpm++"))
    assert not np.allclose(ddim["joints"], dpm["joints"], atol=1e-3)
    found = model.predict(table.assign(Signed_Language=["bfi", None], signer=[None, "anna"]), params={"seed": 1, "steps": 2})
    language, signer = (row["remarks"] for row in found)
    assert language == ["signed_language bfi is ignored: the model signs as it learned, from ase"]
    assert signer == ["signer anna is ignored: the model does not tell signers apart"]
    assert np.array_equal(found[0]["joints"], first["joints"])


def use(tracker):
    """All that a training does with a tracker."""
    for step in range(20):
        tracker.metrics({"loss": 1.0}, step)
    tracker.text("content", "note.txt")
    tracker.dictionary({}, "values.json")
    assert tracker.register(Path("nowhere"), "ms2sl", "champion") is None
    tracker.finish()


@pytest.fixture(params=["refused", "no folder", "garbage", "nonsense"])
def broken_uri(request, tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 1000)
    garbage = default_uri(tmp_path)
    return {"refused": "http://127.0.0.1:9", "no folder": f"{garbage}/below/a/file.db", "garbage": garbage, "nonsense": "??"}[request.param]


def test_mlflow_down_costs_a_warning_and_one_more_for_what_was_lost(broken_uri, warnings):
    begun = time.monotonic()
    tracker = Tracker.open(broken_uri, "signs", "first", params={"a": 1})
    use(tracker)
    assert tracker.run_id is None
    assert time.monotonic() - begun < 10
    assert len(warnings()) == 2
    assert all(broken_uri in warning for warning in warnings())
    assert "does not answer" in warnings()[0]
    assert "that is lost" in warnings()[1]


def test_a_warning_holds_no_password(warnings):
    Tracker.open("postgresql+none://user:secret@127.0.0.1:9/runs", "signs", "first")
    assert len(warnings()) == 1
    assert "127.0.0.1:9/runs" in warnings()[0]
    assert "secret" not in warnings()[0]


def test_one_bad_file_is_no_outage(tracker, warnings):
    for _ in range(2):
        tracker.artifact(Path("/no/such/file"))
        tracker.metrics({"loss": 1.0}, 1)
    assert run_of(tracker).data.metrics == {"loss": 1.0}
    assert len(warnings()) == 1


def test_the_commit_is_that_of_the_package(tmp_path, monkeypatch):
    def git(*arguments):
        command = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr(tracking, "PACKAGE", package)
    (package / "__init__.py").write_text("")
    assert git_commit() is None
    git("init")
    assert git_commit() is None
    git("add", ".")
    git("commit", "-m", "first")
    assert git_commit() == git("rev-parse", "HEAD")
    (package / "__init__.py").write_text("changed = True")
    assert git_commit() == git("rev-parse", "HEAD") + "+dirty"
    monkeypatch.setenv("PATH", "")
    assert git_commit() is None


def test_an_outbox_whose_deletion_is_cut_short_has_no_mark_for_a_later_one(tmp_path):
    outbox = Outbox(tmp_path / "mlflow.jsonl")
    outbox.add_metrics({"loss": 1.0}, 1)
    outbox.sent = outbox.end
    outbox.path.unlink()
    outbox.path.mkdir()  # so that it cannot be deleted
    with contextlib.suppress(OSError):
        outbox.delete()
    outbox.path.rmdir()
    for step in range(9):
        outbox.add_metrics({"loss": 2.0}, step)
    assert outbox.sent == 0
