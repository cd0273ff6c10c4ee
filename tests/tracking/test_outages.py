"""A real MLflow server that goes away and comes back, drivers that are killed, and two commands that make one database."""

import logging
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from benchmarks.service import reserved_port
from jobs.evaluate import EvaluateCommand, track
from jobs.train import TrainCommand, hand_over, open_tracker
from ms2sl.data.dataset import Dataset
from ms2sl.evaluation.aggregation import Result, Score
from ms2sl.evaluation.report import Report
from ms2sl.tracking import heartbeat, mlflow_server
from ms2sl.tracking import tracker as tracking
from ms2sl.tracking.mlflow_server import connect, default_uri
from ms2sl.tracking.tracker import Tracker
from tests.proxy import Proxy

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    """Before a real server, which is started once, since it takes its time."""
    folder = tmp_path_factory.mktemp("server")
    with reserved_port() as port, reserved_port() as own:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        command += ["--backend-store-uri", default_uri(folder), "--artifacts-destination", str(folder / "artifacts")]
        server = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait(lambda: answers(f"http://127.0.0.1:{port}/health"), 180)
            yield Proxy(own, port)
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@pytest.fixture
def uri(proxy, monkeypatch):
    """Of a server that is away."""
    for module, name, seconds in ((tracking, "INTERVAL", 0.05), (mlflow_server, "RETRY", 0.2), (mlflow_server, "AT_ONCE", 0.0)):
        monkeypatch.setattr(module, name, seconds)
    mlflow_server.server.cache_clear()
    yield f"http://127.0.0.1:{proxy.port}"
    proxy.stop()


@pytest.fixture
def warnings(caplog):
    return lambda: [r.getMessage() for r in caplog.records if r.name.startswith("ms2sl.") and r.levelno >= logging.WARNING]


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def wait(done: Callable, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until
        time.sleep(0.05)


def history(uri: str, run_id: str) -> list[tuple[int, float, int]]:
    return [(m.step, m.value, m.timestamp) for m in mlflow.MlflowClient(uri).get_metric_history(run_id, "loss")]


def test_what_is_reported_in_an_outage_arrives_with_its_own_step_and_time(proxy, uri, warnings):
    proxy.start()
    tracker = Tracker.open(uri, "signs", "outage")
    tracker.metrics({"loss": 3.0}, 1)
    wait(lambda: tracker.outbox.sent == tracker.outbox.end)
    proxy.stop()
    for step in range(2, 150):
        tracker.metrics({"loss": 1.0}, step)
    reported = time.time() * 1000
    wait(warnings)
    time.sleep(0.3)
    proxy.start()
    wait(lambda: len(warnings()) == 2)
    came_back = time.time() * 1000
    assert tracker.finish()
    found = history(uri, tracker.run_id)
    assert [step for step, *_ in found] == list(range(1, 150))
    assert max(time for *_, time in found) <= reported < came_back
    assert "does not answer" in warnings()[0]
    assert "is back" in warnings()[1]
    assert len(warnings()) == 2


def test_a_server_that_is_away_at_the_start_gets_the_whole_run_when_it_is_there(proxy, uri, tmp_path, tiny_checkpoint, warnings):
    known = tmp_path / "mlflow_run_id"
    tracker = Tracker.open(uri, "signs", "late", params={"seed": 7}, tags={"task": "ms2sl"}, on_start=known.write_text)
    tracker.metrics({"loss": 2.0}, 1)
    tracker.text("good", "verdict.txt")
    assert tracker.run_id is None
    proxy.start()
    wait(lambda: tracker.run_id)
    assert tracker.register(tiny_checkpoint, "late", "champion") == "1"
    assert tracker.finish()
    run = mlflow.MlflowClient(uri).get_run(known.read_text())
    assert (run.info.status, run.data.params, run.data.tags["task"]) == ("FINISHED", {"seed": "7"}, "ms2sl")
    assert run.data.metrics == {"loss": 2.0}
    assert [file.path for file in mlflow.MlflowClient(uri).list_artifacts(run.info.run_id)] == ["verdict.txt"]
    assert len(warnings()) == 2


def test_what_was_not_sent_to_the_end_is_sent_by_the_next_command(proxy, uri, tmp_path, warnings):
    outbox = tmp_path / "mlflow.jsonl"
    first = Tracker.open(uri, "signs", "left", outbox=outbox)
    first.metrics({"loss": 2.0}, 1)
    assert not first.finish("KILLED")
    assert str(outbox) in warnings()[-1]
    proxy.start()
    again = Tracker.open(uri, "signs", "left", outbox=outbox)
    again.metrics({"loss": 1.0}, 2)
    assert again.finish()
    assert [(step, value) for step, value, _ in history(uri, again.run_id)] == [(1, 2.0), (2, 1.0)]


def test_scores_of_an_evaluation_wait_in_its_own_folder_for_the_next_one(proxy, uri, tmp_path):
    proxy.start()
    training = Tracker.open(uri, "signs", "judged")
    training.finish()
    proxy.stop()
    model, out = tmp_path / "run" / "model", tmp_path / "out"
    model.mkdir(parents=True)
    out.mkdir()
    (model.parent / "mlflow_run_id").write_text(training.run_id)
    options = EvaluateCommand(model=model, out=out, tracking=uri)
    scores = {"letter_error": Score(2.0, 1.0, 3.0, (2.0,))}
    report = Report("", "", [Result("ms2sl", "text", scores)], {}, [], reads="letters")
    track(options, report)
    assert "letter_error" in (out / f"mlflow-{training.run_id}.jsonl").read_text()
    assert {path.name for path in model.parent.iterdir()} == {"mlflow_run_id", "model"}
    proxy.start()
    mlflow_server.server.cache_clear()  # as another process
    track(options, report)
    metrics = mlflow.MlflowClient(uri).get_run(training.run_id).data.metrics
    assert metrics["test/ms2sl_from_text/letter_error"] == 2.0


def test_a_model_that_mlflow_did_not_register_is_told_and_registered_by_the_same_command(
    proxy, uri, tmp_path, tiny_dataset, tiny_checkpoint, capsys
):
    options, dataset = TrainCommand(data=str(tiny_dataset), runs=tmp_path, name="away", tracking=uri), Dataset(tiny_dataset)
    Path(options.folder).mkdir()
    hand_over(options, open_tracker(options, dataset), tiny_checkpoint)
    assert f"MLflow has no version of {tiny_checkpoint} yet" in capsys.readouterr().out
    assert (Path(options.folder) / "mlflow.jsonl").exists()
    proxy.start()
    mlflow_server.server.cache_clear()  # as another process
    hand_over(options, open_tracker(options, dataset), tiny_checkpoint)
    assert capsys.readouterr().out == ""
    assert not (Path(options.folder) / "mlflow.jsonl").exists()
    run_id = (Path(options.folder) / "mlflow_run_id").read_text()
    assert mlflow.MlflowClient(uri).get_model_version_by_alias("ms2sl", "candidate").run_id == run_id


def test_a_child_begins_when_its_parent_does_and_is_found_again(proxy, uri):
    parent = Tracker.open(uri, "signs", "sweep")
    child = Tracker.open(uri, "signs", "sweep-000", tags={"trial": 0}, parent=parent, key="trial")
    proxy.start()
    wait(lambda: child.run_id)
    run = mlflow.MlflowClient(uri).get_run(child.run_id)
    assert run.data.tags["mlflow.parentRunId"] == parent.run_id
    assert child.finish("KILLED")
    again = Tracker.open(uri, "signs", "sweep-000", tags={"trial": 0}, parent=parent, key="trial")
    assert again.run_id == child.run_id
    assert again.finish()
    assert parent.finish()


DRIVER = """
import sys, time
from ms2sl.tracking.tracker import Tracker
from tests.proxy import Proxy
print(Tracker.open(sys.argv[1], "signs", "killed").run_id, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return default_uri(tmp_path_factory.mktemp("runs"))


def test_runs_of_drivers_that_are_gone_are_ended_and_those_of_others_are_not(database, monkeypatch):
    drivers = [subprocess.Popen([sys.executable, "-c", DRIVER, database], stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    try:
        killed, alive = (driver.stdout.readline().strip() for driver in drivers)
        drivers[0].kill()
        drivers[0].wait()
        client = connect(database)
        experiment = client.get_experiment_by_name("signs").experiment_id
        silent, elsewhere, foreign = (client.create_run(experiment).info.run_id for _ in range(3))
        for run_id, age in ((silent, heartbeat.GONE + 60), (elsewhere, heartbeat.GONE - 60)):
            client.set_tag(run_id, heartbeat.DRIVER, "another-machine/boot/pid 1 1")
            client.set_tag(run_id, heartbeat.ALIVE, str(time.time() - age))
        tracker = Tracker.open(database, "other", "next")
        assert tracker.finish()
        runs = {run_id: client.get_run(run_id) for run_id in (killed, alive, silent, elsewhere, foreign)}
        status = {run_id: run.info.status for run_id, run in runs.items()}
        assert status == {killed: "KILLED", alive: "RUNNING", silent: "KILLED", elsewhere: "RUNNING", foreign: "RUNNING"}
        assert f"process {drivers[0].pid}" in runs[killed].data.tags[heartbeat.ENDED]
        assert "another-machine for 16 minutes" in runs[silent].data.tags[heartbeat.ENDED]
        assert runs[silent].info.end_time < (time.time() - heartbeat.GONE) * 1000, "its last sign of life"
    finally:
        for driver in drivers:
            driver.kill()
            driver.wait()


def test_a_driver_that_was_only_cut_off_goes_on_with_its_run(database, monkeypatch):
    monkeypatch.setattr(tracking, "INTERVAL", 0.05)
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.1)
    tracker, client = Tracker.open(database, "signs", "cut off"), connect(database)
    client.set_tag(tracker.run_id, heartbeat.ENDED, "no sign of life")
    client.set_terminated(tracker.run_id, "KILLED")
    wait(
        lambda: client.get_run(tracker.run_id).info.status == "RUNNING" and heartbeat.ENDED not in client.get_run(tracker.run_id).data.tags
    )
    assert tracker.finish()
    assert client.get_run(tracker.run_id).info.status == "FINISHED"


FIRST = """
import sys, time
from pathlib import Path
from ms2sl.tracking.mlflow_server import default_uri
from ms2sl.tracking.tracker import Tracker
from tests.proxy import Proxy
import mlflow
Path(sys.argv[1], f"ready{sys.argv[2]}").touch()
while len(list(Path(sys.argv[1]).glob("ready*"))) < 3: time.sleep(0.001)
tracker = Tracker.open(default_uri(sys.argv[1]), "signs", sys.argv[2], params={"seed": 1})
tracker.metrics({"loss": 1.0}, 1)
assert tracker.finish()
"""


def test_commands_that_begin_at_once_on_a_new_database_are_all_tracked(tmp_path):
    commands = [
        subprocess.Popen([sys.executable, "-c", FIRST, str(tmp_path), str(i)], stderr=subprocess.PIPE, text=True, cwd=ROOT)
        for i in range(3)
    ]
    said = [command.communicate(timeout=180)[1] for command in commands]
    assert [command.returncode for command in commands] == [0, 0, 0], said
    assert not any("WARNING" in text or "does not answer" in text for text in said), said
    client = connect(default_uri(tmp_path))
    runs = client.search_runs([client.get_experiment_by_name("signs").experiment_id])
    assert sorted((run.info.run_name, run.data.metrics["loss"]) for run in runs) == [("0", 1.0), ("1", 1.0), ("2", 1.0)]


def test_a_database_whose_lock_cannot_be_opened_is_used_without(tmp_path):
    (tmp_path / ".mlflow.db.lock").mkdir()  # as unwritable as another user's, even to root
    with mlflow_server._migrating(default_uri(tmp_path)):
        mlflow_server._try_database(default_uri(tmp_path))
