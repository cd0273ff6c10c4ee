"""What happens when something dies, is too much, leaves, or is replaced while requests go on."""

import contextlib
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
import requests

from ms2sl.systems.ms2sl.producer import MS2SLProducer
from ms2sl.training import checkpoint
from ms2sl.training.checkpoint import WEIGHTS, read_card
from tests.serve.frames import as_poses

pytestmark = pytest.mark.slow
LONG = "cab bead face. " * 100
SLOW = {"steps": 40}


def sign(url: str, text: str = "cab", **options) -> requests.Response:
    return requests.post(f"{url}/v1/signs", json={"text": text} | options, headers={"accept": "application/json"}, timeout=90)


@contextlib.contextmanager
def stream(url: str, text: str = LONG, **options):
    """The answer, and an iterator of its lines."""
    with requests.post(f"{url}/v1/signs/stream", json={"text": text} | options, stream=True, timeout=90) as answer:
        yield answer, map(json.loads, answer.iter_lines(chunk_size=None))


def frames(said: list[dict]) -> np.ndarray:
    """Of a whole stream."""
    assert [line["type"] for line in said] == ["start", *["frames"] * (len(said) - 2), "end"], said[-1]
    made = np.concatenate([as_poses(line["frames"]) for line in said[1:-1]])
    assert len(made) == said[-1]["n_frames"]
    return made


def undisturbed(url: str, **options) -> np.ndarray:
    with stream(url, **options) as (_answer, lines):
        return frames(list(lines))


def served(url: str) -> dict:
    return requests.get(f"{url}/v1/model", timeout=30).json()


def eventually(good, seconds: float = 30):
    """What ``good`` returns, once that is something."""
    until = time.monotonic() + seconds
    while not (found := good()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.1)
    return found


@dataclass
class Crowd:
    """Clients that ask one thing after another; what they got, by status."""

    url: str
    clients: int = 8
    statuses: Counter = field(default_factory=Counter)

    def __enter__(self) -> "Crowd":
        self._leaving = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def _ask(self, seed: int) -> None:
        while not self._leaving.is_set():
            try:
                self.statuses[sign(self.url, seed=seed, duration=2).status_code] += 1
            except requests.RequestException as error:
                self.statuses[type(error).__name__] += 1

    def answered(self, more: int) -> None:
        """Waits until so many more have been."""
        enough = self.statuses.total() + more
        eventually(lambda: self.statuses.total() >= enough, 60)

    def __exit__(self, *_):
        self._leaving.set()
        for thread in self._threads:
            thread.join(90)


@pytest.fixture(scope="module")
def deploy(serving, ray_cluster):
    """Deploys an application as ``serve deploy`` does; returns its status when it is no longer on the way."""
    from ray._private.worker import get_dashboard_url
    from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

    client, port, applications = ServeSubmissionClient(f"http://{get_dashboard_url()}"), urlsplit(serving).port, {}

    def details(name: str) -> dict:
        return client.get_serve_details()["applications"].get(name, {"status": "DEPLOYING", "last_deployed_time_s": None})

    def deploy(name: str, model: Path, **arguments) -> str:
        user_config = {"model": str(model), "tracking": None, "release": ""}
        deployments = [{"name": "Sampler", "user_config": user_config, "health_check_period_s": 1}]  # so that one that died is missed soon
        args = {"sampling": {"steps": 2}, "precision": "fp32", "cpus": 0.2} | arguments
        applications[name] = {
            "name": name,
            "route_prefix": f"/{name}",
            "import_path": "serve.app:build",
            "args": args,
            "deployments": deployments,
        }
        before = details(name)["last_deployed_time_s"]
        client.deploy_applications({"http_options": {"host": "127.0.0.1", "port": port}, "applications": list(applications.values())})
        eventually(lambda: details(name)["last_deployed_time_s"] != before)
        return eventually(lambda: (now := details(name)["status"]) not in ("NOT_STARTED", "DEPLOYING") and now, 90)

    return deploy


@pytest.fixture(scope="module")
def two(serving, deploy, tiny_checkpoint) -> str:
    """An application with two samplers."""
    assert deploy("two", tiny_checkpoint, min_replicas=2) == "RUNNING"
    return f"{serving}/two"


@pytest.fixture(scope="module")
def narrow(serving, deploy, tiny_checkpoint) -> str:
    """One that works on two requests at once."""
    assert deploy("narrow", tiny_checkpoint, max_concurrent_requests=2, request_timeout_s=5) == "RUNNING"
    return f"{serving}/narrow"


@pytest.fixture(scope="module")
def other(tiny_checkpoint, tmp_path_factory) -> Path:
    """Another model."""
    folder, weights = tmp_path_factory.mktemp("other"), MS2SLProducer.load(tiny_checkpoint).model.state_dict()
    checkpoint.save(folder, read_card(tiny_checkpoint, "ms2sl"), {name: weight * 1.1 for name, weight in weights.items()})
    return folder


@pytest.fixture
def samplers(ray_cluster):
    """The processes of the samplers of an application."""
    from ray.util.state import list_actors

    address = ray_cluster.get_runtime_context().gcs_address

    def pids(name: str) -> list[int]:
        actors = list_actors(address=address, filters=[("state", "=", "ALIVE")])
        return [actor.pid for actor in actors if actor.class_name.endswith(f":{name}:Sampler") and actor.pid]

    return pids


def test_no_request_is_lost_when_a_sampler_dies(two, samplers):
    before = samplers("two")
    assert len(before) == 2
    with Crowd(two, 16) as crowd:
        crowd.answered(16)
        os.kill(before[0], signal.SIGKILL)
        crowd.answered(32)
    assert crowd.statuses.keys() == {200}, crowd.statuses
    eventually(lambda: len(set(samplers("two")) - {before[0]}) == 2, 60)


def test_streams_go_on_when_samplers_die(two, samplers):
    """So many streams that some window is surely in the hands of the one that dies."""
    pid = samplers("two")[0]
    _streams_when_they_die(two, 6, [pid])
    eventually(lambda: len(set(samplers("two")) - {pid}) == 2, 60)


def _streams_when_they_die(url: str, streams: int, pids: list[int]) -> None:
    """Each is whole though the processes are killed in the middle of it."""
    whole, going = undisturbed(url, seed=3, **SLOW), threading.Barrier(streams + 1)

    def listen() -> np.ndarray:
        with stream(url, seed=3, **SLOW) as (_answer, lines):
            said = [next(lines), next(lines)]
            going.wait(60)
            return frames([*said, *lines])

    with ThreadPoolExecutor(streams) as pool:
        heard = [pool.submit(listen) for _ in range(streams)]
        going.wait(60)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for each in heard:
            assert np.allclose(each.result(), whole, atol=1e-3)


def test_requests_wait_when_all_samplers_die(two, samplers):
    pids = samplers("two")
    _streams_when_they_die(two, 4, pids)
    eventually(lambda: len(set(samplers("two")) - set(pids)) == 2, 60)


def test_too_many_at_once_are_told_to_come_back(narrow):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda seed: sign(narrow, LONG, seed=seed, steps=20), range(20)))
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses.keys() == {200, 429}, statuses
    assert statuses[200] >= 2
    for refused in (answer for answer in answers if answer.status_code == 429):
        assert refused.headers["content-type"] == "application/problem+json"
        assert int(refused.headers["retry-after"]) >= 1
    assert [sign(narrow).status_code for _ in range(3)] == [200] * 3


def test_those_who_leave_a_stream_free_their_places(narrow, metrics):
    with stream(narrow, LONG * 3, **SLOW) as (_one, first), stream(narrow, LONG * 3, **SLOW) as (_other, second):
        assert next(first)["type"] == next(second)["type"] == "start"
        assert sign(narrow).status_code == 429
        total = sum(line["type"] == "frames" for line in [next(first), next(second)])
    assert total == 2
    eventually(lambda: sign(narrow).status_code == 200, 10)
    assert metrics("ms2sl_requests_at_work", lambda values: sum(values.values()) == 0)


def test_what_nobody_waits_for_is_not_sampled(narrow, metrics):
    """Frames are counted as they are sampled; the metric comes every second."""

    def sampled() -> float:
        return sum(metrics("ms2sl_frames", bool).values())

    with stream(narrow, LONG * 3, **SLOW) as (_answer, lines):
        next(lines)
        began = sampled()
        eventually(lambda: next(lines) and sampled() > began)  # as it goes on, it is seen
    time.sleep(3)
    before = sampled()
    time.sleep(3)
    assert sampled() == before


def test_those_who_send_nothing_free_their_places_in_time(narrow):
    address = urlsplit(narrow)
    head = b"POST /narrow/v1/signs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"
    silent = []

    def full() -> bool:  # one that comes while the sign before it is at work is refused, so more come until there are enough
        silent.append(socket.create_connection((address.hostname, address.port)))
        silent[-1].sendall(head)
        return sign(narrow).status_code == 429

    try:
        eventually(full, 5)
        eventually(lambda: sign(narrow).status_code == 200, 15)
    finally:
        for connection in silent:
            connection.close()


def test_a_slow_reader_disturbs_nobody_and_gets_all(two):
    whole = undisturbed(two, text=LONG * 3, seed=1)
    with stream(two, text=LONG * 3, seed=1) as (_answer, lines):
        said = [next(lines)]
        assert [sign(two).status_code for _ in range(20)] == [200] * 20
        time.sleep(3)
        said += lines
    assert np.allclose(frames(said), whole, atol=1e-3)


def test_another_model_takes_over_and_nothing_is_dropped(two, deploy, samplers, tiny_checkpoint, other):
    before, pids, whole = served(two)["version"], sorted(samplers("two")), undisturbed(two, seed=2, **SLOW)
    with Crowd(two) as crowd, stream(two, seed=2, **SLOW) as (_answer, lines):
        said = [next(lines), next(lines)]
        assert deploy("two", other, min_replicas=2) == "RUNNING"
        eventually(lambda: served(two)["version"] != before)
        said += lines
        eventually(lambda: all(served(two)["version"] != before for _ in range(5)))
    assert crowd.statuses.keys() == {200}, crowd.statuses
    assert np.allclose(frames(said), whole, atol=1e-3)
    assert np.abs(undisturbed(two, seed=2, **SLOW) - whole[:1]).max() > 0.01
    assert sorted(samplers("two")) == pids
    assert deploy("two", tiny_checkpoint, min_replicas=2) == "RUNNING"
    eventually(lambda: served(two)["version"] == before)


def test_a_model_that_does_not_load_leaves_the_old_one(two, deploy, tiny_checkpoint, tmp_path):
    before = served(two)["version"]
    shutil.copytree(tiny_checkpoint, tmp_path / "damaged")
    (tmp_path / "damaged" / WEIGHTS).write_bytes(b"damaged")
    with Crowd(two) as crowd:
        deploy("two", tmp_path / "damaged", min_replicas=2)
        eventually(lambda: "failure" in served(two))
        crowd.answered(16)
    assert crowd.statuses.keys() == {200}, crowd.statuses
    assert served(two)["version"] == before
    deploy("two", tiny_checkpoint, min_replicas=2)
    eventually(lambda: "failure" not in served(two))


def test_other_settings_take_over_and_nothing_is_dropped(two, deploy, samplers, tiny_checkpoint):
    """Replicas restart for them, new ones before old ones."""
    pids, whole = set(samplers("two")), undisturbed(two, seed=4, **SLOW)
    with Crowd(two) as crowd, stream(two, seed=4, **SLOW) as (_answer, lines):
        said = [next(lines), next(lines)]
        assert deploy("two", tiny_checkpoint, min_replicas=2, sampling={"steps": 3}) == "RUNNING"
        eventually(lambda: served(two)["sampling"]["steps"] == 3)
        said += lines
        eventually(lambda: not pids & set(samplers("two")), 90)
    assert crowd.statuses.keys() == {200}, crowd.statuses
    assert np.allclose(frames(said), whole, atol=1e-3)


def test_http_listens_to_this_machine_alone(serving):
    port = urlsplit(serving).port
    listening = [each.laddr.ip for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN and each.laddr.port == port]
    assert set(listening) == {"127.0.0.1"}
