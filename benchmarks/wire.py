"""Servers behind a wire that can be cut: of MLflow, and one that speaks S3."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.service import reserved_port
from tests.proxy import Proxy

AWAY = 20  # seconds for which it is cut
LIMIT = 400.0  # seconds for a server to start


class Wire(Proxy):
    def cut(self) -> None:
        """For a while."""
        self.stop()
        time.sleep(AWAY)
        self.start()


@contextmanager
def _server(arguments: list[str], log: Path) -> Iterator[Wire]:
    """A server that is called with a port as its last argument."""
    with reserved_port() as port, reserved_port() as seen, log.open("wb") as file:
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # which would start six more processes
        process = subprocess.Popen(
            [sys.executable, *arguments, str(port)], stdout=file, stderr=file, env=environment, start_new_session=True
        )
        wire = Wire(seen, port)
        try:
            _answers(f"http://127.0.0.1:{port}/")
            wire.start()
            yield wire
        finally:
            wire.stop()
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(url: str) -> None:
    until = time.monotonic() + LIMIT
    while True:
        try:
            urllib.request.urlopen(url, timeout=10).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


@contextmanager
def mlflow_server(folder: Path) -> Iterator[tuple[Wire, str]]:
    """And its URI."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = ["-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
    arguments += ["--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port"]
    with _server(arguments, folder / "server.log") as wire:
        yield wire, f"http://127.0.0.1:{wire.port}"


@contextmanager
def s3_server(log: Path) -> Iterator[tuple[Wire, str]]:
    """And the URI of a folder in a bucket."""
    with _server(["-m", "moto.server", "--host", "127.0.0.1", "--port"], log) as wire:
        bucket = urllib.request.Request(f"http://127.0.0.1:{wire.port}/bucket", method="PUT")
        urllib.request.urlopen(bucket, timeout=60).close()
        yield wire, f"s3://bucket/runs?endpoint_override=127.0.0.1:{wire.port}&scheme=http&region=us-east-1"
