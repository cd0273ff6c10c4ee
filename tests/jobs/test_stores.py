"""Jobs whose folders are all in a bucket: what they leave there, that they go on there, and that nothing of it lies here instead."""

import io
import json
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml

from benchmarks.service import reserved_port
from jobs import evaluate, produce, train, tune
from jobs.evaluate import EvaluateCommand
from jobs.outboxes import kept_outboxes, outboxes
from jobs.produce import ProduceCommand
from jobs.sweep.command import TuneCommand
from jobs.train import TrainCommand
from ms2sl.data.pose_format_io import from_bytes
from ms2sl.errors import InputError
from ms2sl.evaluation.judged_clips import chosen_clips
from ms2sl.inference.batch_output import OutputFolder
from ms2sl.io.storage import StoragePath
from ms2sl.sweep.trial_store import TrialStore
from ms2sl.systems.ms2sl import task
from ms2sl.training.checkpoint import fingerprint, publish, read_card
from tests.jobs.test_train import TINY
from tests.proxy import Proxy

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(s3, tmp_path, monkeypatch) -> StoragePath:
    """A folder of its own, for a user who works elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return StoragePath(s3) / tmp_path.name


@pytest.fixture
def tracking(tmp_path_factory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('tracking')}/mlflow.db"


@pytest.fixture
def model(bucket, tiny_checkpoint) -> StoragePath:
    publish(tiny_checkpoint, bucket / "models" / "tiny")
    return bucket / "models" / "tiny"


def training(data, runs: StoragePath, tracking: str, steps: int = 4, **options) -> TrainCommand:
    short = {"steps": steps, "batch_size": 4, "validate_every": 4, "checkpoint_every": 2, "log_every": 2, "precision": "fp32"}
    return TrainCommand(data=str(data), runs=runs.uri, name="there", model=TINY, training=short, tracking=tracking, **options)


def test_a_model_is_published_and_read_in_a_bucket(bucket, model, tiny_checkpoint):
    assert read_card(model) == read_card(tiny_checkpoint)
    assert fingerprint(model.uri) == fingerprint(tiny_checkpoint)
    here, there = task.load(tiny_checkpoint)[0].state_dict(), task.load(model.uri)[0].state_dict()
    assert all((there[name] == tensor).all() for name, tensor in here.items())
    with pytest.raises(InputError, match=r"s3://bucket/.*/nothing\?.* is no checkpoint: it has no config.json"):
        read_card(bucket / "nothing")


def test_a_training_lives_in_a_bucket(bucket, tracking, tiny_dataset, tmp_path, ray_cluster, capsys):
    runs = bucket / "runs"
    model = train.run(training(tiny_dataset, runs, tracking))
    assert model == runs / "there" / "model"
    assert f"model: {model}" in capsys.readouterr().out
    assert {"recipe.json", "mlflow_run_id"} < {each.name for each in (runs / "there").children()}
    client = mlflow.MlflowClient(tracking)
    run_id = (runs / "there" / "mlflow_run_id").read_text()
    assert [metric.step for metric in client.get_metric_history(run_id, "loss")] == [2, 4]
    assert client.get_model_version_by_alias("ms2sl", "candidate").run_id == run_id

    first = fingerprint(model)
    train.run(training(tiny_dataset, runs, tracking))
    assert "there is trained already" in capsys.readouterr().out
    train.run(training(tiny_dataset, runs, tracking, steps=8))
    assert "there goes on with training.steps 8 (4 before)" in capsys.readouterr().out
    assert read_card(model).recipe["training"]["steps"] == 8
    assert fingerprint(model) != first
    assert [metric.step for metric in client.get_metric_history(run_id, "loss")] == [2, 4, 6, 8], "it went on, and did not begin again"
    with pytest.raises(InputError, match=r"/runs/there\?.* holds a run with other settings \(losses.cycle 0.1 there, 2.0 here\)"):
        train.run(training(tiny_dataset, runs, tracking, losses={"cycle": 2.0}))

    train.run(training(tiny_dataset, runs, tracking, overwrite=True))
    assert fingerprint(model) == first
    begun = training(tiny_dataset, runs, tracking, **{"from": model.uri}).model_copy(update={"name": "further"})
    assert read_card(train.run(begun)).recipe["from"]["weights"] == first
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "nothing of it is here"


def test_a_training_goes_on_though_the_store_is_away_for_a_while(bucket, tracking, tiny_dataset, ray_cluster):
    data, began, ended = bucket / "data", time.monotonic(), threading.Event()
    data.upload(Path(tiny_dataset))
    port = re.search(r":(\d+)", bucket.query)[1]
    with reserved_port() as other, ThreadPoolExecutor() as beside:
        proxy = Proxy(other, int(port))
        proxy.start()

        def there(folder: StoragePath) -> str:
            return folder.uri.replace(port, str(other))

        def cut() -> None:
            while not list((bucket / "runs" / "there" / "train").folders()):
                assert not ended.wait(0.2), "it ended before its first checkpoint"
            proxy.stop()
            assert not ended.wait(20), "it ended while the store was away"
            proxy.start()

        watching = beside.submit(cut)
        try:
            train.run(training(there(data), StoragePath(there(bucket / "runs")), tracking, steps=40, max_failures=0))
        finally:
            ended.set()
        watching.result()
        proxy.stop()
    assert time.monotonic() - began > 20
    assert read_card(bucket / "runs" / "there" / "model").recipe["training"]["steps"] == 40


def test_batch_production_reads_and_writes_a_bucket(bucket, model, tmp_path, ray_cluster, capsys):
    (bucket / "words.csv").write(b"id,text\na,cab\nb,bad\n")
    options = ProduceCommand(model=model.uri, utterances=(bucket / "words.csv").uri, out=(bucket / "signed").uri, steps=1)
    assert produce.run(options) == 0
    said = capsys.readouterr().out
    assert f"2 produced, 0 were there already, 0 failed: {bucket / 'signed'}" in said
    assert {clip.id: clip.text for clip in OutputFolder(bucket / "signed").clips()} == {"a": "cab", "b": "bad"}
    before = (bucket / "signed" / "poses" / "a.pose").stamp()
    (bucket / "words.csv").write(b"id,text\na,cab\nb,dab\n")
    assert produce.run(options) == 0
    assert "1 produced, 1 were there already" in capsys.readouterr().out
    assert (bucket / "signed" / "poses" / "a.pose").stamp() == before
    with pytest.raises(InputError, match="holds signing made with another seed: choose another --out"):
        produce.run(options.model_copy(update={"seed": 1}))

    produce.run(ProduceCommand(model=model.uri, text="cab", out=(bucket / "one").uri, steps=1))
    one, many = ((bucket / folder).read_bytes() for folder in ("one/cab.pose", "signed/poses/a.pose"))
    skeleton = read_card(model).skeleton
    assert from_bytes(one, skeleton).poses.n_frames == from_bytes(many, skeleton).poses.n_frames
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_recordings_in_a_bucket_are_signed_and_known_again(bucket, model, ray_cluster, capsys):
    def record(name: str, seconds: float) -> None:
        file = io.BytesIO()
        soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, int(16000 * seconds)), 16000, format="WAV")
        (bucket / "said" / name).write(file.getvalue())

    record("a.wav", 0.5)
    record("b.wav", 0.6)
    (bucket / "said" / "notes.txt").write(b"")
    (bucket / "said" / "broken.wav").write(b"nothing")
    options = ProduceCommand(model=model.uri, utterances=(bucket / "said").uri, out=(bucket / "signed").uri, steps=1)
    assert produce.run(options) == 3
    said = capsys.readouterr().out
    assert "2 produced, 0 were there already, 1 failed" in said
    assert "not produced: broken" in said
    record("b.wav", 0.7)
    assert produce.run(options) == 3
    assert "1 produced, 1 were there already, 1 failed" in capsys.readouterr().out
    assert json.loads((bucket / "signed" / "failed.json").read_text()).keys() == {"broken"}
    produce.run(ProduceCommand(model=model.uri, speech=(bucket / "said" / "a.wav").uri, out=(bucket / "one").uri, steps=1))
    assert (bucket / "one" / "a.pose").exists()


def test_an_evaluation_of_models_in_a_bucket_lies_in_one(bucket, model, tiny_dataset, tiny_recogniser, ray_cluster, tmp_path):
    publish(tiny_recogniser, bucket / "reader")
    options = EvaluateCommand(
        data=str(tiny_dataset),
        model=model.uri,
        others={"same": model.uri},
        produced={"theirs": (bucket / "signed").uri},
        back_translator=(bucket / "reader").uri,
        out=(bucket / "judged").uri,
        clips=4,
        shown=1,
        seeds=1,
        baselines=("mean pose",),
        steps=1,
    )
    for clip in chosen_clips(evaluate.judged_data(str(tiny_dataset), tiny_recogniser), "test", 4, "letters"):
        (bucket / "signed" / f"{clip.id}.pose").write(evaluate_file(clip, tiny_dataset))
    evaluate.run(options)
    out = bucket / "judged"
    assert {each.name for each in out.children()} >= {"results.md", "results.json", "gallery.html", "samples.png", "measures.parquet"}
    names = {result["name"] for result in json.loads((out / "results.json").read_text())["results"]}
    assert names >= {"ms2sl", "same", "theirs", "mean pose"}
    assert len(pq.read_table((out / "measures.parquet").open())) == 4 * (1 + 3 + 3 + 1 + 1)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def evaluate_file(clip, dataset) -> bytes:
    from ms2sl.data.dataset import Dataset
    from ms2sl.data.pose_format_io import to_bytes

    return to_bytes(clip.poses, Dataset(dataset).skeleton)


def test_a_sweep_lives_in_a_bucket(bucket, tracking, tiny_dataset, tiny_recogniser, ray_cluster, tmp_path, capsys):
    space = tmp_path / "space.yaml"
    space.write_text(yaml.safe_dump({"losses": {"cycle": {"choice": [0.0, 2.0]}}}))
    options = TuneCommand(
        data=str(tiny_dataset),
        back_translator=tiny_recogniser,
        runs=bucket.uri,
        name="sweep",
        space=str(space),
        search="grid",
        scheduler="none",
        clips=4,
        num_evals=2,
        model=TINY,
        training={"steps": 4, "batch_size": 4, "precision": "fp32"},
        concurrent=1,
        tracking=tracking,
    )
    tune.run(options)
    folder = bucket / "sweep"
    found = TrialStore(folder / "trials").trials()
    assert {trial.outcome for trial in found} == {"finished"}
    assert all((options.checkpoint_of(trial) / "config.json").exists() for trial in found)
    assert (folder / "sweep.md").exists()
    assert read_card(folder / "best", "ms2sl").recipe["training"]["steps"] == 4
    ended = [(folder / "trials" / f"{trial.number:05d}.json").stamp() for trial in found]

    opened = found[0].model_copy(update={"outcome": "open", "history": found[0].history[:1], "checkpoint": None})
    TrialStore(folder / "trials").write(opened)  # as if the command had been killed
    tune.run(options)
    again = TrialStore(folder / "trials").trials()
    assert [trial.outcome for trial in again] == [trial.outcome for trial in found]
    kept = [(folder / "trials" / f"{trial.number:05d}.json").stamp() for trial in again[1:]]
    assert kept == ended[1:], "what had ended was not run again"
    client = mlflow.MlflowClient(tracking)
    (parent,) = client.search_runs([client.get_experiment_by_name("ms2sl-sweeps").experiment_id], "tags.task = 'tune'")
    assert {artifact.path for artifact in client.list_artifacts(parent.info.run_id)} >= {"sweep.md", "trials"}
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["space.yaml"], (
        "nothing else is here, but what plots cache"
    )


def test_what_mlflow_was_not_told_waits_in_the_bucket(bucket, tmp_path):
    folder = bucket / "run"
    with kept_outboxes(folder):
        (outboxes(folder) / "mlflow").mkdir()
        (outboxes(folder) / "mlflow.jsonl").write_text("a line\n")
        (outboxes(folder) / "mlflow" / "000.jsonl").write_text("of a trial\n")
    assert not outboxes(folder).exists()
    assert sorted(folder.files()) == ["mlflow.jsonl", "mlflow/000.jsonl"]
    (folder / "mlflow_run_id").write(b"7")
    with kept_outboxes(folder):
        assert (outboxes(folder) / "mlflow.jsonl").read_text() == "a line\n"
        (outboxes(folder) / "mlflow.jsonl").unlink()
        (outboxes(folder) / "mlflow" / "001.jsonl").write_text("of another\n")
    assert sorted(folder.files()) == ["mlflow/000.jsonl", "mlflow/001.jsonl", "mlflow_run_id"]


def test_what_a_killed_command_has_not_told_is_told_by_the_next_beside_what_others_left(bucket):
    folder = bucket / "run"
    killed = outboxes(folder)
    killed.mkdir(parents=True)
    (killed / "mlflow.jsonl").write_text("told\nnot told\n")
    (killed / "mlflow.sent").write_text("5")
    (folder / "mlflow.jsonl").write(b"of another machine\n")
    with kept_outboxes(folder):
        assert (outboxes(folder) / "mlflow.jsonl").read_text() == "of another machine\nnot told\n"
        assert not (outboxes(folder) / "mlflow.sent").exists()
    assert (folder / "mlflow.jsonl").read_text() == "of another machine\nnot told\n"


def test_a_store_that_is_away_at_the_end_does_not_hide_how_the_work_ended(bucket, monkeypatch, capsys):
    from jobs import run_lock

    monkeypatch.setattr(run_lock, "SETTLED", 0.1)
    options = TrainCommand(data="nothing", runs=bucket.uri, name="mine")

    def refuse(*_, **__):
        raise InputError("it is away")

    def work() -> None:
        with run_lock.held(options), kept_outboxes(options.folder):
            (outboxes(options.folder) / "mlflow.jsonl").write_text("a line\n")
            monkeypatch.setattr(StoragePath, "_listing", refuse)
            monkeypatch.setattr(StoragePath, "exists", refuse)
            raise KeyError("the work's own")

    with pytest.raises(KeyError, match="the work's own"):
        work()
    assert (outboxes(options.folder) / "mlflow.jsonl").read_text() == "a line\n"
    assert capsys.readouterr().out.count("it is away") == 2


def test_a_run_in_a_bucket_is_worked_on_by_one_command_at_a_time(bucket, monkeypatch, capsys):
    from jobs import run_lock

    monkeypatch.setattr(run_lock, "RENEWED", 0.1)
    monkeypatch.setattr(run_lock, "SILENCE", 2.0)
    monkeypatch.setattr(run_lock, "SETTLED", 0.1)
    options = TrainCommand(data="nothing", runs=bucket.uri, name="mine")
    begun, over = threading.Event(), threading.Event()

    def work() -> None:
        with run_lock.held(options):
            begun.set()
            over.wait()

    other = threading.Thread(target=work)
    other.start()
    begun.wait()
    with pytest.raises(InputError, match=r"another command works in s3://bucket/.*/mine.* \(process \d+ on "), run_lock.held(options):
        pass
    over.set()
    other.join()
    with run_lock.held(options):
        assert (bucket / ".mine.lock").exists()
    assert not (bucket / ".mine.lock").exists()
    (bucket / ".mine.lock").write(b"process 1 on a machine that is gone\n0\n7")
    with run_lock.held(options):
        pass
    assert "waiting 2 s to see whether another command still works in" in capsys.readouterr().out


FROZEN = """
import sys, threading
from jobs import run_lock
from jobs.train import TrainCommand
run_lock.RENEWED = run_lock.SETTLED = 0.1
with run_lock.held(TrainCommand(data="nothing", runs=sys.argv[1], name="mine")):
    print("held", flush=True)
    threading.Event().wait(60)
print("it ended as ever")
"""


@pytest.mark.parametrize("taken", [True, False], ids=["another works", "another has worked"])
def test_a_command_that_was_frozen_ends_at_once_when_another_has_had_its_run(bucket, taken):
    frozen = subprocess.Popen([sys.executable, "-c", FROZEN, bucket.uri], stdout=subprocess.PIPE, text=True)
    assert frozen.stdout.readline() == "held\n"
    if taken:
        (bucket / ".mine.lock").write(b"process 2 elsewhere\nffff\n0")
    else:
        (bucket / ".mine.lock").delete()
    said, _ = frozen.communicate(timeout=60)
    assert frozen.returncode == 1
    assert "another command has taken" in said
    assert "as ever" not in said
    assert (bucket / ".mine.lock").exists() == taken, "it leaves the other's"
