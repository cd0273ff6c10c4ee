"""What people say stands in no log, however their requests end."""

import time
from pathlib import Path

import pytest
import requests
from ray import serve

from ms2sl.training.checkpoint import read_card
from serve.ingress import Frontend
from serve.model_replica import Sampler
from serve.renderer import Renderer
from serve.settings import Service


def failing() -> type:
    """A sampler that fails, with what was said in its error; made here, so that Ray sends it to the replica whole."""

    class Failing(Sampler):
        def _run(self, version, requests):
            raise KeyError(requests[0].pieces[0].text)

    return Failing


@pytest.fixture
def secret(tiny_checkpoint) -> str:
    """A word that the model can say, and that nobody else writes."""
    letters = sorted(set(read_card(tiny_checkpoint, "ms2sl").characters) - {" "}, reverse=True)
    return "".join(letters[:7] + letters[3:8])


@pytest.fixture
def logs(ray_cluster) -> Path:
    from ray._private.worker import _global_node

    return Path(_global_node.get_logs_dir_path())


@pytest.fixture
def broken(serving, tiny_checkpoint) -> str:
    """An application whose sampler fails with each request."""
    settings = Service(sampling={"steps": 2})
    sampler = serve.deployment(failing()).options(
        name="Sampler", user_config={"model": str(tiny_checkpoint)}, ray_actor_options={"num_cpus": 0.2}
    )
    renderer = serve.deployment(Renderer).options(ray_actor_options={"num_cpus": 0.1})
    frontend = serve.deployment(Frontend).options(ray_actor_options={"num_cpus": 0.1})
    serve.run(frontend.bind(settings, sampler.bind(1, 2, "cpu", "fp32"), renderer.bind()), name="broken", route_prefix="/broken")
    yield f"{serving}/broken"
    serve.delete("broken")


def files_with(word: str, folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


def test_what_was_said_is_in_no_log(service, broken, secret, logs):
    place, kind = f"{service.url}/v1/signs", {"content-type": "application/json"}
    statuses = [
        service.sign(secret).status_code,
        service.sign(secret, headers={"accept": "image/gif"}, duration=1).status_code,
        len(service.sign(secret, stream=True).text) and 200,
        service.sign(secret + "ß").status_code,
        service.sign("cab", **{secret: 1}).status_code,
        requests.post(place, data=f'{{"text": "{secret}', headers=kind, timeout=30).status_code,
        requests.post(place, data={"text": secret}, timeout=30).status_code,
        requests.post(place, files={"speech": (f"{secret}.wav", secret.encode())}, timeout=30).status_code,
        requests.post(f"{broken}/v1/signs", json={"text": secret}, timeout=30).status_code,
        requests.post(f"{broken}/v1/signs/stream", json={"text": secret}, timeout=30).status_code,
    ]
    assert statuses == [200, 200, 200, 422, 422, 422, 415, 422, 500, 500]
    time.sleep(2)
    assert files_with("/v1/signs", logs), "the logs are elsewhere"
    assert files_with(secret, logs) == []


def test_what_stands_in_the_address_is_in_no_log(service, secret, logs):
    """Nobody is told to write it there, and some will."""
    word = f"q{secret}"
    requests.post(f"{service.url}/v1/signs?text={word}", json={"text": "cab"}, timeout=30)
    requests.get(f"{service.url}/v1/{word}", timeout=30)
    time.sleep(2)
    assert files_with(word, logs) == []
