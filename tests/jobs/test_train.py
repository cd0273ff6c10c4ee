import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import mlflow
import psutil
import pytest
import torch
from safetensors.torch import load_file

from jobs.train import TrainCommand, dealt, run
from ms2sl.errors import InputError
from ms2sl.systems.ms2sl import task
from ms2sl.training.checkpoint import fingerprint
from tests.jobs.nodes import SOON_MISSED

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]

TINY = {"width": 16, "heads": 2, "encoder_layers": 1, "denoiser_layers": 1, "embedding": 8}


def command(data, runs, name, **options) -> TrainCommand:
    training = {"steps": 8, "batch_size": 4, "validate_every": 4, "checkpoint_every": 2, "log_every": 2, "precision": "fp32"}
    return TrainCommand(data=data, runs=runs, name=name, model=TINY, training=training | options.pop("training", {}), **options)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def whole(tiny_dataset, runs, ray_cluster):
    return run(command(tiny_dataset, runs, "whole", workers=2))


def tracking(runs) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{runs}/mlflow.db", registry_uri=f"sqlite:///{runs}/mlflow.db")


def test_two_workers_train_one_model_that_loads_without_ray(whole):
    model, card = task.load(whole)
    assert card.recipe["workers"] == 2
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


# Two machines, of which one goes while both are at work. Between these two stands ``change``: when it goes.
MACHINES = """
import os, sys, threading, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
machines = [cluster.add_node(num_cpus=1) for _ in range(2)]
os.environ["RAY_ADDRESS"] = cluster.address
from jobs.train import TrainCommand, run
options, gone = TrainCommand.parse(["--recipe", sys.argv[1]]), threading.Event()
ray._private.utils.set_sigterm_handler = lambda handler: None  # which a thread that adds a machine may not set

def checkpoints(pause):
    while not list(Path(options.folder).glob("train/step-*/model.safetensors")):
        time.sleep(pause)
    return [path.name for path in Path(options.folder).glob("train/step-*")]

def lose(another):
    if another:
        cluster.add_node(num_cpus=1)
    cluster.remove_node(machines[0], allow_graceful=False)
    gone.set()
    time.sleep(1000)  # the machine that was added ends with the thread that added it
"""
TRAIN = """
threading.Thread(target=change, daemon=True).start()
run(options)
assert gone.is_set(), "no machine was lost"
ray.shutdown()  # before its machines: a driver whose machine is gone ends with 1
cluster.shutdown()
"""
LOST = """
def change():
    checkpoints(0.01)
    groups = [group for group in ray.util.placement_group_table().values() if group["state"] == "CREATED"]
    at_work = {node for group in groups for node in group["bundles_to_node_id"].values()}
    assert at_work == {machine.node_id for machine in machines}, "not every CPU of every machine was taken"
    lose(another=ANOTHER)
"""


def train_on_machines(options: TrainCommand, change: str, env: Mapping[str, str] = os.environ) -> str:
    """What the driver of a training prints, whose machines change on the way."""
    recipe = Path(options.runs) / f"{options.name}.yaml"
    recipe.write_text(options.model_dump_json(exclude={"recipe"}), encoding="utf-8")
    script = [sys.executable, "-c", MACHINES + change + TRAIN, str(recipe)]
    return subprocess.run(script, timeout=400, check=True, stdout=subprocess.PIPE, text=True, env=env | SOON_MISSED).stdout


def test_workers_take_every_cpu_of_every_machine_and_one_that_is_lost_costs_no_more_than_an_interval(whole, tiny_dataset, runs):
    """With a token at hand that the cluster does not want. A third machine comes before one is lost."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")} | {"RAY_AUTH_TOKEN": "a" * 64}
    options = command(tiny_dataset, runs, "lost", workers=2, candidate=False)
    train_on_machines(options, LOST.replace("ANOTHER", "True"), env=plain)
    assert task.load(runs / "lost" / "model")[1].recipe["workers"] == 2
    assert_same_weights(whole, runs / "lost" / "model")
    assert tracking(runs).get_run((runs / "lost" / "mlflow_run_id").read_text()).info.status == "FINISHED"


def test_with_a_range_of_workers_those_that_are_left_go_on_and_learn_the_same(whole, tiny_dataset, runs):
    train_on_machines(command(tiny_dataset, runs, "fewer", workers="1:2", candidate=False), LOST.replace("ANOTHER", "False"))
    recipe = task.load(runs / "fewer" / "model")[1].recipe
    assert (recipe["workers"], recipe["training"]["virtual_workers"]) == ("1:2", 2)
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, runs / "fewer" / "model"))
    assert max((one[name] - other[name]).abs().max().item() for name in one) < 1e-3


# A machine is taken away, and that is known some seconds before.
NOTICE = """
from ray._raylet import GcsClient
from ray.core.generated import autoscaler_pb2

def change():
    outbox = Path(options.folder) / "mlflow.jsonl"
    while not outbox.exists() or '{"operation": "metrics"' not in outbox.read_text():
        time.sleep(0.05)
    reason, deadline = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"), int((time.time() + 30) * 1000)
    GcsClient(address=cluster.address).drain_node(machines[0].node_id, reason, "taken away", deadline)
    print("saved", *checkpoints(0.05), flush=True)
    lose(another=True)
"""


def test_when_a_machine_is_about_to_be_taken_away_a_checkpoint_is_made_from_which_training_goes_on(tiny_dataset, runs):
    """No checkpoint is due in all of the training."""
    training = {"steps": 120, "log_every": 2, "checkpoint_every": 1000, "validate_every": 1000}
    options = command(tiny_dataset, runs, "taken", training=training, workers=2, candidate=False)
    watching = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "1", "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.2"}
    said = train_on_machines(options, NOTICE, env=os.environ | watching)
    saved = [int(step) for step in re.findall(r"step-(\d+)", said)]
    assert saved, "no checkpoint was made when the notice came"
    assert saved[0] < 120
    history = tracking(runs).get_metric_history((runs / "taken" / "mlflow_run_id").read_text(), "loss")
    steps = [metric.step for metric in history]
    assert set(steps) == set(range(2, 121, 2))
    assert len([step for step in steps if step <= saved[0]]) == saved[0] // 2, "it began again"


def test_the_run_is_in_mlflow_with_metrics_recipe_dataset_and_a_registered_model(whole, runs):
    client = tracking(runs)
    tracked = client.get_run((runs / "whole" / "mlflow_run_id").read_text())
    assert tracked.info.status == "FINISHED"
    assert {"loss", "x0_mse", "frames_per_second", "data_wait_share", "dev_amplitude_text"} <= tracked.data.metrics.keys()
    assert tracked.data.params["model.width"] == "16"
    assert {"recipe.yaml", "dataset.json"} <= {file.path for file in client.list_artifacts(tracked.info.run_id)}
    version = client.get_model_version_by_alias("ms2sl", "candidate")
    assert version.run_id == tracked.info.run_id
    assert fingerprint(Path(version.source) / "artifacts" / "checkpoint") == fingerprint(whole), "the registered model has the weights"
    assert client.get_registered_model("ms2sl").aliases.keys() == {"candidate"}, "nobody has judged it yet"


def test_the_last_weights_are_written_three_times(whole, runs):
    """By the worker, into the storage of Ray Train, and into MLflow: the model of the run is another name of the second."""
    run_id = (runs / "whole" / "mlflow_run_id").read_text()
    last = [path for path in (runs / "whole").rglob("model.safetensors") if fingerprint(path.parent) == fingerprint(whole)]
    assert {path.parent.parent.name for path in last} == {"train", "whole"}
    assert len({path.stat().st_ino for path in last}) == 1
    assert "checkpoint" not in {file.path for file in tracking(runs).list_artifacts(run_id)}


def test_the_same_command_again_trains_nothing(whole, tiny_dataset, runs, capsys):
    before = Path(whole / "model.safetensors").stat().st_mtime_ns
    run(command(tiny_dataset, runs, "whole", workers=2))
    assert Path(whole / "model.safetensors").stat().st_mtime_ns == before
    assert "trained already" in capsys.readouterr().out


def test_other_settings_under_the_same_name_are_refused(whole, tiny_dataset, runs):
    with pytest.raises(InputError, match="losses"):
        run(command(tiny_dataset, runs, "whole", workers=2, losses={"cycle": 0.7}))


def test_a_worker_killed_in_mid_training_costs_no_more_than_an_interval(whole, tiny_dataset, runs):
    """The run goes on from its last checkpoint and ends in the very weights of the run that nothing disturbed."""
    killer = threading.Thread(target=kill_a_worker_after_the_first_checkpoint, args=(runs / "killed",), daemon=True)
    killer.start()
    killed = run(command(tiny_dataset, runs, "killed", workers=2))
    killer.join(timeout=1)
    assert not killer.is_alive(), "no worker was killed"
    assert_same_weights(whole, killed)


def kill_a_worker_after_the_first_checkpoint(folder) -> None:
    """A worker of this very cluster, whose processes are below this one: others may train on this machine too."""
    while not list(folder.glob("train/step-*/model.safetensors")):
        time.sleep(0.01)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # one that ended just now
            if "ray::RayTrainWorker" in " ".join(process.cmdline()):
                process.kill()
                return


def test_a_finished_run_goes_on_to_more_steps_and_with_other_workers(whole, tiny_dataset, runs, capsys):
    shutil.copytree(runs / "whole", runs / "longer", ignore=shutil.ignore_patterns("mlflow_run_id"))
    longer = command(tiny_dataset, runs, "longer", training={"steps": 10, "log_every": 1}, workers=1)
    model = run(longer)
    said = capsys.readouterr().out
    assert "longer goes on with training.steps 10 (8 before); the learning rate follows the schedule of that many steps" in said
    assert "longer goes on with training.log_every 1 (2 before)\n" in said
    assert "longer goes on with workers 1 (2 before); what is learned from here on is the same, but for rounding" in said
    assert task.load(model)[1].recipe == dealt(longer).learns
    assert dealt(longer).training.virtual_workers == 2
    before, after = load_file(whole / "model.safetensors"), load_file(model / "model.safetensors")
    assert any(not torch.equal(after[name], before[name]) for name in before)
    history = tracking(runs).get_metric_history((runs / "longer" / "mlflow_run_id").read_text(), "loss")
    assert [metric.step for metric in history] == [9, 10], "it went on, and did not begin again"
    run(longer)
    assert "longer is trained already" in capsys.readouterr().out


def assert_same_weights(one, other) -> None:
    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_divergence_stops_with_a_clear_word_and_is_not_tried_again(tiny_dataset, runs):
    with pytest.raises(InputError, match=r"lower training\.learning_rate"):
        run(command(tiny_dataset, runs, "wild", training={"learning_rate": 1e9, "warmup": 0, "steps": 40}))


def test_a_driver_killed_in_mid_training_is_resumed_by_the_same_command(whole, tiny_dataset, runs, on_cluster):
    options = command(tiny_dataset, runs, "interrupted", workers=2)
    recipe = runs / "interrupted.yaml"
    recipe.write_text(options.model_dump_json(exclude={"recipe"}))
    script = [sys.executable, "-m", "jobs.train", "--recipe", str(recipe)]
    driver = subprocess.Popen(script, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=on_cluster)
    deadline = time.monotonic() + 300
    try:
        while not list((runs / "interrupted").glob("train/step-*/model.safetensors")):
            assert time.monotonic() < deadline
            assert driver.poll() is None
            time.sleep(0.01)
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    assert not (runs / "interrupted" / "model").exists(), "the run was over before it could be killed"
    assert_same_weights(whole, run(options))


# Beside a cluster that was started later, with a dashboard. Ray Train's actor that frees what a dead training had reserved lives as long
# as it is not told by another cluster that it knows no such training.
BESIDE = """
import sys, threading, time
from pathlib import Path
from ray._private.state import actors
from jobs.cli import start_ray
from jobs.train import TrainCommand, run
start_ray()
options, seen = TrainCommand.parse(sys.argv[1:]), []

def look():
    while not list(Path(options.folder).glob("train/step-*/model.safetensors")):
        time.sleep(0.01)
    seen.extend(actor["State"] for actor in actors().values() if actor["ActorClassName"] == "PlacementGroupCleaner")

looking = threading.Thread(target=look, daemon=True)
looking.start()
run(options)
looking.join(60)
assert seen == ["ALIVE"], seen
"""


def test_a_training_asks_nothing_of_another_cluster(tiny_dataset, runs, ray_cluster):
    often = {"steps": 60, "validate_every": 60, "checkpoint_every": 40}
    beside = command(tiny_dataset, runs, "beside", workers=2, candidate=False, max_failures=0, training=often)
    recipe = runs / "beside.yaml"
    recipe.write_text(beside.model_dump_json(exclude={"recipe"}))
    with tempfile.TemporaryDirectory(prefix="ms2sl", dir="/tmp") as folder:
        Path(folder, "ray").mkdir()
        Path(folder, "ray", "ray_current_cluster").write_text(ray_cluster.get_runtime_context().gcs_address)
        script = [sys.executable, "-c", BESIDE, "--recipe", str(recipe)]
        subprocess.run(script, timeout=240, check=True, env=os.environ | {"RAY_TMPDIR": folder})


def test_more_workers_than_the_cluster_has_is_an_error_and_no_hang(tiny_dataset, runs, ray_cluster):
    with pytest.raises(InputError, match=r"lower --workers|cannot feed"):
        run(command(tiny_dataset, runs, "many", workers=99))
