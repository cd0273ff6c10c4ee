"""Jobs as people submit them: the checkout is shipped to a cluster that runs already, and the logs and the status come back."""

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from ray._private.runtime_env.packaging import create_package

from benchmarks.service import reserved_port
from tests.jobs.nodes import ANY_PORTS, short_folder

ROOT = Path(__file__).parents[2]
MOST = 2 * 2**20  # bytes that are shipped
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ray_job():
    """A function: what follows ``ray job`` and the address, on a cluster of its own, as a user calls it; returns what came of it."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_ADDRESS", "RAY_AUTH"))}
    plain |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    with reserved_port() as port, reserved_port() as board, reserved_port() as clients, short_folder() as short:
        head = [*ray, "start", "--head", f"--port={port}", f"--dashboard-port={board}", f"--ray-client-server-port={clients}", "--block"]
        head += [f"--temp-dir={short}", "--num-cpus=2", "--disable-usage-stats", "--object-store-memory=100000000", *ANY_PORTS.split()]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
        cluster = subprocess.Popen(head, env=plain, **quiet)

        def call(action: str, *arguments: str) -> subprocess.CompletedProcess:
            command = [*ray, "job", action, "--address", f"http://127.0.0.1:{board}", *arguments]
            until = time.monotonic() + 90
            while True:  # what takes jobs starts after the cluster
                told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd="/", env=plain)
                if not re.search("No available agent|Failed to connect", told.stderr) or time.monotonic() > until:
                    return told
                time.sleep(1)

        yield call
        os.killpg(cluster.pid, signal.SIGTERM)
        cluster.wait(timeout=60)


@pytest.fixture
def submit(ray_job):
    """Submits a job of the checkout, with these options of ``ray job submit``."""

    def submit(*job: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
        shipped = ["--working-dir", str(ROOT), "--runtime-env", str(ROOT / "deploy" / "runtime_env.yaml")]
        return ray_job("submit", *shipped, *options, "--", sys.executable, "-m", *job)

    return submit


def test_what_is_shipped_is_small(tmp_path):
    excludes = yaml.safe_load((ROOT / "deploy" / "runtime_env.yaml").read_text())["excludes"]
    create_package(str(ROOT), tmp_path / "package.zip", include_gitignore=True, excludes=excludes)
    assert (tmp_path / "package.zip").stat().st_size < MOST


def test_a_submitted_job_runs_the_checkout_and_tells_how_it_ended(submit, tiny_checkpoint, tmp_path):
    told = submit("jobs.produce", "--model", str(tiny_checkpoint), "--text", "cab", "--steps", "1", "--out", str(tmp_path / "signed"))
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"{tmp_path}/signed/cab.pose" in told.stdout
    assert (tmp_path / "signed" / "cab.pose").exists()

    told = submit("jobs.train", "--data", str(tmp_path / "nothing"), "--runs", str(tmp_path / "runs"))
    assert told.returncode != 0
    assert f"error: {tmp_path}/nothing" in told.stdout
    assert "Traceback" not in told.stdout


def test_a_job_is_stopped_and_gives_back_what_it_took(ray_job, submit, tiny_dataset, tiny_checkpoint, tmp_path):
    """The cluster has two CPUs."""
    endless = ["--workers", "2", "--training.steps", "1000000", "--training.checkpoint-every", "20", "--model.width", "16"]
    places = ["--data", str(tiny_dataset), "--runs", str(tmp_path / "runs"), "--tracking", f"sqlite:///{tmp_path}/mlflow.db"]
    submit("jobs.train", *places, *endless, options=("--no-wait", "--submission-id", "endless"))
    until = time.monotonic() + 180
    while not list((tmp_path / "runs" / "ms2sl").glob("train/step-*")):
        assert time.monotonic() < until, ray_job("logs", "endless").stdout
        time.sleep(0.2)
    assert "Job 'endless' was stopped" in ray_job("stop", "endless").stdout
    assert "stopped" in ray_job("status", "endless").stdout.lower()
    told = submit("jobs.produce", "--model", str(tiny_checkpoint), "--text", "cab", "--steps", "1", "--out", str(tmp_path / "signed"))
    assert told.returncode == 0, told.stdout + told.stderr
