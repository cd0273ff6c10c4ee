"""The service as it runs, with a tiny model of random weights."""

import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests


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


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="session")
def serving(ray_cluster):
    """Ray Serve on a free port; yields its URL."""
    from ray import serve

    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


@pytest.fixture(scope="session")
def service(serving, tiny_checkpoint) -> Running:
    """The application at ``/``."""
    from ray import serve

    from serve.app import build

    serve.run(build({"model": str(tiny_checkpoint), "sampling.steps": "2"}))
    return Running(serving, tiny_checkpoint)
