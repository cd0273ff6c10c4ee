import socket

import pytest
import requests

from ms2sl.posefile import from_bytes
from ms2sl.skeletons import HOLISTIC_49X2

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture(scope="module")
def url(tiny_checkpoint, ray_cluster):
    from ray import serve

    from serve.app import build

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build({"model": str(tiny_checkpoint), "steps": "1"}))
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


def test_text_becomes_a_pose_file(url):
    answer = requests.post(f"{url}/v1/signs", json={"text": "cab", "seconds": 2}, timeout=30)
    assert answer.status_code == 200
    assert from_bytes(answer.content, HOLISTIC_49X2).poses.n_frames == 25


def test_what_the_model_cannot_say_is_the_clients_error_and_says_why(url):
    answer = requests.post(f"{url}/v1/signs", json={"text": "ß"}, timeout=30)
    assert answer.status_code == 422
    assert "learned only" in answer.json()["detail"]


def test_unknown_options_are_refused(url):
    assert requests.post(f"{url}/v1/signs", json={"text": "cab", "stepz": 2}, timeout=30).status_code == 422


def test_the_model_tells_what_it_is(url):
    assert requests.get(f"{url}/v1/model", timeout=30).json()["skeleton"] == "holistic-49x2"
