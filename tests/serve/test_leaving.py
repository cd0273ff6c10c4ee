"""Clients that leave, at every point of a request, while others share batches with them."""

import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np
import pytest

from tests.serve.frames import as_poses

LONG = "cab bead face. " * 40
SLOW = {"steps": 20}  # so that many are at work at once
OWN_TIME = 60  # seconds that a request may take on a busy machine; who is forgotten waits for 120
SECONDS = 10


def frames(service, seed: int) -> np.ndarray:
    """Of a whole stream."""
    with service.sign(LONG, stream=True, seed=seed, **SLOW) as answer:
        assert answer.status_code == 200, answer.text
        said = list(map(json.loads, answer.iter_lines()))
    assert (said[0]["type"], said[-1]["type"]) == ("start", "end"), said[-1]
    return np.concatenate([as_poses(line["frames"]) for line in said[1:-1]])


def leave_early(service, seconds: float) -> None:
    """Before the answer begins: the connection is closed so long after the request."""
    body = json.dumps({"text": LONG} | SLOW).encode()
    _send(service, b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body), seconds)


def leave_upload(service, seconds: float) -> None:
    """With half of a form sent."""
    half = b"--x\r\nContent-Disposition: form-data; name=speech; filename=a.wav\r\n\r\n" + bytes(50_000)
    _send(service, b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 100000\r\n\r\n" + half, seconds)


def leave_stream(service, seconds: float) -> None:
    """In the middle of the answer."""
    with service.sign(LONG, stream=True, **SLOW) as answer:
        next(answer.iter_lines())
        time.sleep(seconds)


def _send(service, rest: bytes, seconds: float) -> None:
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(b"POST /v1/signs HTTP/1.1\r\nHost: localhost\r\n" + rest)
        time.sleep(seconds)


def test_those_who_leave_disturb_nobody(service, metrics):
    whole = {seed: frames(service, seed) for seed in (1, 2)}
    over = time.monotonic() + SECONDS
    slowest, lock = 0.0, threading.Lock()

    def stay(ask: Callable[[], None]) -> int:
        """How often it asked."""
        nonlocal slowest
        asked = 0
        while time.monotonic() < over:
            began = time.monotonic()
            ask()
            asked += 1
            with lock:
                slowest = max(slowest, time.monotonic() - began)
        return asked

    def stream(seed: int) -> None:
        assert np.allclose(frames(service, seed), whole[seed], atol=1e-3)

    def sign() -> None:
        answer = service.sign("cab bead", **SLOW)
        assert answer.status_code == 200, answer.text

    def go(leave: Callable, number: int) -> int:
        left, rng = 0, np.random.default_rng(number)
        while time.monotonic() < over:
            leave(service, rng.uniform(0, 0.5))
            left += 1
        return left

    with ThreadPoolExecutor(16) as pool:
        staying = [pool.submit(stay, ask) for ask in (lambda: stream(1), lambda: stream(2), sign, sign)]
        leaving = [pool.submit(go, leave, number) for leave in (leave_early, leave_upload, leave_stream) for number in range(3)]
        assert all(each.result(3 * OWN_TIME) for each in staying)
        assert all(each.result(3 * OWN_TIME) for each in leaving)
    assert slowest < OWN_TIME
    assert metrics("ms2sl_requests_at_work", lambda values: sum(values.values()) == 0)
    assert service.sign("cab").status_code == 200


@pytest.mark.parametrize("leave", [leave_early, leave_stream], ids=lambda leave: leave.__name__)
def test_one_who_began_a_batch_and_leaves_does_not_end_it(service, leave):
    """The first of two that share batches is the one that leaves."""
    whole = frames(service, 5)
    with ThreadPoolExecutor(2) as pool:
        for moment in (0.1, 0.4, 0.8):
            gone = pool.submit(leave, service, moment)
            time.sleep(0.05)
            stays = pool.submit(frames, service, 5)
            gone.result(OWN_TIME)
            assert np.allclose(stays.result(OWN_TIME), whole, atol=1e-3)
