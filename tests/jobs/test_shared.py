"""A cluster of two nodes with different folders at the same paths: the second raylet lives in a mount namespace of its own."""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.service import reserved_port
from ms2sl.io.storage import StoragePath
from tests.jobs.nodes import ANY_PORTS, short_folder

pytestmark = pytest.mark.slow
NAME = "s3.nowhere.amazonaws.com"  # that only the driver's machine knows; the server wants one of this kind
RAY = f"{sys.executable} -m ray.scripts.scripts start --object-store-memory=100000000 --disable-usage-stats --block {ANY_PORTS}"
DRIVER = """
import json, sys, time
import ray
from jobs import evaluate, prepare, produce, shared as asking, train, tune
from jobs.cli import start_ray
from jobs.shared import others
from jobs.sweep.command import TuneCommand
from ms2sl.errors import InputError

own, shared, words, data, model, reader, bucket = sys.argv[1:]
asking.LAG = 1  # on one machine; a mount of another takes longer to show what is new
start_ray()
while not others():
    time.sleep(0.1)
tiny = {"task": "recogniser", "recogniser": {"width": 16, "heads": 2, "layers": 1}, "training": {"steps": 2, "batch_size": 4}}
one = {"utterances": words, "steps": 1}
judging = {"data": data, "clips": 2, "steps": 1, "seeds": 1, "out": f"{shared}/judged"}
cases = {
    "produce --out": (produce, produce.ProduceCommand(model=model, out=f"{own}/out", **one)),
    "produce --model": (produce, produce.ProduceCommand(model=f"{own}/model", out=f"{shared}/none", **one)),
    "train --runs": (train, train.TrainCommand(data=data, runs=f"{own}/runs", **tiny)),
    "train --data": (train, train.TrainCommand(data=f"{own}/data", runs=f"{shared}/runs", **tiny)),
    "evaluate --back-translator": (evaluate, evaluate.EvaluateCommand(model=model, back_translator=f"{own}/reader", **judging)),
    "evaluate the folder of ms2sl": (evaluate, evaluate.EvaluateCommand(model=f"{own}/model", back_translator=reader, **judging)),
    "tune --runs": (tune, TuneCommand(data=data, back_translator=reader, runs=f"{own}/runs", training=tiny["training"], clips=2)),
    "prepare --out": (prepare, prepare.PrepareCommand(out=f"{own}/new", workers=1, fingerspelling={"train": 8, "dev": 2, "test": 2})),
    "bucket": (produce, produce.ProduceCommand(model=model, out=bucket, **one)),
    "shared": (produce, produce.ProduceCommand(model=model, out=f"{shared}/out", **one)),
}
said = {}
for name, (job, options) in cases.items():
    began = time.monotonic()
    try:
        job.run(options)
        said[name] = ["done", time.monotonic() - began]
    except InputError as error:
        said[name] = [str(error), time.monotonic() - began]
print("RESULT", json.dumps(said))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("nodes")


@pytest.fixture(scope="module")
def other_view(folder):
    """Environment of a driver for a cluster whose workers run on the second node alone, where the folder ``own`` is another one.

    The cluster wants a token, which the driver has, though nothing tells it to show it.
    """
    tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"mount namespaces are not permitted here: {tried.stderr.strip()}")
    own = folder / "own"
    own.mkdir()
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_ADDRESS", "RAY_AUTH"))}
    plain["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    quiet = {
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        "env": plain | {"RAY_AUTH_MODE": "token", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"},
        "start_new_session": True,
    }
    with reserved_port() as port, reserved_port() as clients, short_folder() as short:
        head = f"{RAY} --head --port={port} --ray-client-server-port={clients} --temp-dir={short} --num-cpus=0 --include-dashboard=false"
        node = f"for attempt in $(seq 30); do {RAY} --address=127.0.0.1:{port} --num-cpus=2 && break; sleep 1; done"
        commands = [["sh", "-c", f"exec {head}"], ["unshare", "-m", "sh", "-c", f"mount -t tmpfs none {own} && {node}"]]
        processes = [subprocess.Popen(command, **quiet) for command in commands]
        until = time.monotonic() + 120
        while not _answers(port) and time.monotonic() < until:
            time.sleep(0.1)
        yield plain | {"RAY_ADDRESS": f"127.0.0.1:{port}"}
        for process in processes:
            os.killpg(process.pid, signal.SIGTERM)
        for process in processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_what_other_nodes_do_not_see_is_said_in_a_line(other_view, tiny_dataset, tiny_checkpoint, tiny_recogniser, folder, s3):
    own, shared, words = folder / "own", folder / "shared", folder / "words.txt"
    words.write_text("cab\n")
    for name, source in {"data": tiny_dataset, "model": tiny_checkpoint, "reader": tiny_recogniser}.items():
        shutil.copytree(source, own / name)
    bucket = (StoragePath(s3) / "out").uri.replace("127.0.0.1", NAME)
    arguments = [own, shared, words, tiny_dataset, tiny_checkpoint, tiny_recogniser, bucket]
    hosts = folder / "hosts"
    hosts.write_text(Path("/etc/hosts").read_text() + f"127.0.0.1 {NAME}\n")  # which the other node does not know
    alone = ["unshare", "-m", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh"]
    driver = [*alone, sys.executable, "-c", DRIVER, *map(str, arguments)]
    ended = subprocess.run(driver, capture_output=True, text=True, check=False, timeout=500, env=other_view)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    said = json.loads(ended.stdout.split("RESULT")[1])
    print(*said.items(), sep="\n")
    assert said.pop("shared")[0] == "done"
    assert len(list((shared / "out" / "poses").glob("*.pose"))) == 1
    error, seconds = said.pop("bucket")
    assert re.match(
        rf"--out: s3://bucket/folder/out\?endpoint_override={NAME}.* cannot be reached: .*: so it is on node [\d.]+; set the", error
    )
    assert seconds < 60
    for case, (error, _) in said.items():
        assert error.startswith(f"{case.split(' ', 1)[1]} {own}/"), (case, error)
        assert "choose a folder on storage that all nodes share" in error
        assert "\n" not in error
    assert not list(folder.rglob(".shared-*"))


def test_another_token_than_that_of_the_cluster_is_said_in_a_line(other_view, tmp_path):
    job = [sys.executable, "-m", "jobs.prepare", "--out", str(tmp_path / "data"), "--fingerspelling.train", "4"]
    environment = other_view | {"RAY_AUTH_TOKEN": "b" * 64}
    ended = subprocess.run(job, capture_output=True, text=True, check=False, timeout=500, env=environment)
    assert ended.returncode == 1
    error = ended.stderr.strip().splitlines()[-1]
    assert error.startswith(f"error: RAY_ADDRESS {other_view['RAY_ADDRESS']}: the cluster cannot be joined: it wants another token")
    assert "Traceback" not in ended.stderr
