import io
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
import ray
from tqdm import tqdm

from jobs import waiting
from jobs.produce import ProduceCommand, run
from tests.jobs.nodes import SOON_MISSED


def eventually(true, seconds: float = 90):
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


@ray.remote
class Holder:
    """Holds what it was given."""

    def ready(self) -> bool:
        return True


@pytest.fixture
def full(ray_cluster):
    """All CPUs of the cluster are taken."""
    cpus = ray.cluster_resources()["CPU"]
    holder = Holder.options(num_cpus=cpus).remote()
    ray.get(holder.ready.remote(), timeout=120)
    yield holder
    ray.kill(holder)


def test_a_job_without_room_says_what_it_waits_for_and_goes_on_when_there_is_some(full, tiny_checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(waiting, "STILL", 1.0)
    monkeypatch.setattr(waiting, "INTERVAL", 0.2)
    (tmp_path / "words.txt").write_text("cab\nbad\n")
    options = ProduceCommand(model=tiny_checkpoint, utterances=tmp_path / "words.txt", out=tmp_path / "out", steps=1)
    job = threading.Thread(target=run, args=(options,))
    job.start()
    said = []
    cpus = ray.cluster_resources()["CPU"]
    eventually(lambda: said.append(capsys.readouterr().err) or "waiting since" in "".join(said))
    ray.kill(full)
    job.join(timeout=120)
    assert not job.is_alive()
    assert re.search(rf"waiting since \d\d:\d\d \(\d+ s\) for 1 x 1 CPU; free: 0 of {cpus:g} CPUs", "".join(said))
    assert "2 produced" in capsys.readouterr().out


def test_a_word_about_waiting_goes_when_work_goes_on(full, monkeypatch):
    monkeypatch.setattr(waiting, "STILL", 0.2)
    monkeypatch.setattr(waiting, "INTERVAL", 0.1)
    group = ray.util.placement_group([{"CPU": 1}] * 2)
    with tqdm(total=3, file=io.StringIO(), postfix={"loss": 1}) as bar:
        said = bar.postfix
        waiting.watch(bar)
        assert eventually(lambda: "for 2 x 1 CPU; free: 0 of" in bar.postfix)
        ray.kill(full)
        ray.get(group.ready(), timeout=120)
        assert eventually(lambda: bar.postfix == said)
    ray.util.remove_placement_group(group)
    assert waiting.wanting() == ""


# Of a range of workers, for the fewest of which the cluster has no room; it is taken for one that grows.
FEW = """
import jobs.machines
from jobs import train, waiting
from jobs.cli import main

jobs.machines.autoscales = lambda: True
waiting.STILL, waiting.INTERVAL = 1.0, 0.2
PROGRAM = "train"
main(train.TrainCommand, train.run)
"""


@pytest.mark.slow
def test_a_training_that_waits_for_the_fewest_workers_says_so_and_is_ended_by_ctrl_c(tiny_dataset, tmp_path, on_cluster):
    options = ["--data", str(tiny_dataset), "--runs", str(tmp_path / "runs"), "--workers", "5:8", "--model.width", "16"]
    log = tmp_path / "log"
    with log.open("w") as file:
        job = subprocess.Popen([sys.executable, "-c", FEW, *options], stdout=file, stderr=file, env=on_cluster)
    eventually(lambda: job.poll() is not None or "waiting since" in log.read_text())
    assert re.search(r"waiting since \d\d:\d\d \(\d+ s\) for 5 x 1 CPU; free: \S+ of 4 CPUs", log.read_text())
    job.send_signal(signal.SIGINT)
    assert job.wait(timeout=90) == 130
    assert "interrupted: run the same command again to go on" in log.read_text()


LOST_NODE = """
import io, time
import ray
from ray.cluster_utils import Cluster
from tqdm import tqdm
from jobs import waiting

def until(true):
    while not true():
        time.sleep(0.1)

waiting.STILL, waiting.INTERVAL = 0.2, 0.1
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
node = cluster.add_node(num_cpus=2)
ray.init(cluster.address)
group = ray.util.placement_group([{"CPU": 1}] * 2)  # as a training reserves its workers
ray.get(group.ready())
with tqdm(total=1, file=io.StringIO(), postfix="step 3") as bar:
    waiting.watch(bar)
    cluster.remove_node(node, allow_graceful=False)
    until(lambda: "waiting since" in bar.postfix)
    until(lambda: "of 0 CPUs" in bar.postfix)
    print(bar.postfix)
    cluster.add_node(num_cpus=2)
    until(lambda: bar.postfix == "step 3")
"""


@pytest.mark.slow
def test_a_job_that_has_lost_a_node_says_what_it_waits_for_until_another_comes():
    script = [sys.executable, "-c", LOST_NODE]
    ended = subprocess.run(script, capture_output=True, text=True, check=False, timeout=240, env=os.environ | SOON_MISSED)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"waiting since \d\d:\d\d \(\d+ s\) for 2 x 1 CPU; free: 0 of 0 CPUs\n", ended.stdout)


LOST_HEAD = """
import os, signal, sys, time
import ray
from ray.cluster_utils import Cluster
from tqdm import tqdm
from jobs import waiting

waiting.INTERVAL = 0.2
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
ray.init(cluster.address)
bar = tqdm(total=3, file=sys.stdout)
waiting.watch(bar)
time.sleep(2)
print("killed", file=sys.stderr, flush=True)
os.kill(cluster.head_node.all_processes["gcs_server"][0].process.pid, signal.SIGKILL)
time.sleep(300)
"""


@pytest.mark.slow
def test_a_job_that_ray_ends_since_its_head_is_lost_has_said_so():
    environment = os.environ | {"RAY_gcs_rpc_server_reconnect_timeout_s": "5", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    job = subprocess.run([sys.executable, "-c", LOST_HEAD], capture_output=True, text=True, timeout=240, env=environment)
    assert job.returncode != 0
    assert job.stderr.split("killed\n")[1].startswith(f"{waiting.AWAY}\n")
    assert waiting.AWAY not in job.stderr.split("killed\n")[0]
