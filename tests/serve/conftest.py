"""The service as it runs, with a tiny model of random weights."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from benchmarks.service import reserved_port

os.environ.setdefault("RAY_metrics_report_interval_ms", "1000")  # so that tests need not wait for metrics


@dataclass(frozen=True)
class Running:
    """A service and where it answers."""

    url: str
    model: Path

    def sign(self, text: str, *, stream: bool = False, headers: dict | None = None, **options) -> requests.Response:
        place = f"{self.url}/v1/signs{'/stream' if stream else ''}"
        return requests.post(place, json={"text": text} | options, headers=headers, stream=stream, timeout=60)

    def hear(self, recording: bytes, *, headers: dict | None = None, **options) -> requests.Response:
        return requests.post(f"{self.url}/v1/signs", files={"speech": recording}, data=options, headers=headers, timeout=60)


@pytest.fixture(scope="package")  # it takes CPUs that other tests of its lane need
def serving(ray_cluster):
    """Ray Serve on a free port; yields its URL."""
    from ray import serve

    with reserved_port() as port:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        yield f"http://127.0.0.1:{port}"
        serve.shutdown()


@pytest.fixture(scope="package")
def service(serving, tiny_checkpoint) -> Running:
    """The application at ``/``."""
    from ray import serve

    from serve.app import build

    serve.run(build({"model": str(tiny_checkpoint), "sampling.steps": "2", "precision": "fp32", "cors_origins": "https://example.org"}))
    return Running(serving, tiny_checkpoint)


@pytest.fixture(scope="session")
def metrics(ray_cluster):
    """Waits until a metric is as it should be, and returns its values by labels, as Prometheus would read them."""

    def read(name: str) -> dict[str, float]:
        address, port = ray_cluster.nodes()[0]["NodeManagerAddress"], ray_cluster.nodes()[0]["MetricsExportPort"]
        found = [line for line in requests.get(f"http://{address}:{port}", timeout=30).text.splitlines() if line.startswith("ray_ms2sl_")]
        named = {line.rpartition(" ")[0].removeprefix("ray_"): float(line.rpartition(" ")[2]) for line in found}
        return {labels: value for labels, value in named.items() if labels.partition("{")[0] in (name, f"{name}_total")}

    def wait(name: str, good: Callable[[dict[str, float]], bool], seconds: float = 30) -> dict[str, float]:
        until = time.monotonic() + seconds
        while not (found := read(name)) or not good(found):
            assert time.monotonic() < until, f"{name}: {found}"
            time.sleep(0.5)
        return found

    return wait
