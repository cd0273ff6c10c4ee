"""Asks a service for signs:

from ms2sl.client import Client

client = Client("http://127.0.0.1:8000")
poses = client.sign("hello", seed=1)
for poses in client.stream(Path("speech.wav")):
    ...
"""

import json
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import requests

from ms2sl.data.types import Poses
from ms2sl.errors import InputError

TRIES = 4
AGAIN = (429, 503)  # the service is busy, or restarts
PROBLEM = "application/problem+json"


class Client:
    """Of one service. Each request is tried again while the service is busy, restarts, or cannot be reached, and where the proxy before it
    answers that the replica died: the same request gives the same signing. What the service remarks (a recording that broke off, a
    signed_language that the model does not sign in, a signer that it does not tell from others) is a warning.

    url: where it answers; key: an API key, if it asks for one; timeout: seconds without a byte after which a request is given up.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", *, key: str | None = None, timeout: float = 120.0):
        self.url, self.timeout = (url if "://" in url else f"http://{url}").rstrip("/"), timeout
        self.session = requests.Session()
        if key is not None:
            self.session.headers["Authorization"] = f"Bearer {key}"

    def model(self) -> dict[str, Any]:
        """What is served: version, skeleton, languages, limits."""
        return self._ask("GET", "/v1/model").json()

    def sign(self, said: str | Path | bytes, **options: Any) -> Poses:
        """The signing of a text, or of a recording (a file, or its bytes): normalised poses.

        options: steps, guidance, sampler, seed, duration (seconds), fps, signed_language (an ISO 639-3 code), signer. Raises InputError
        for what the service refuses, and ConnectionError if it cannot be reached.
        """
        answer = self._say("/v1/signs", said, options, "application/json").json()
        return _poses(answer, answer["frames"])

    def file(self, said: str | Path | bytes, kind: str = "application/pose", **options: Any) -> bytes:
        """The same as a file: ``application/pose``, ``image/gif`` or ``video/mp4``."""
        return self._say("/v1/signs", said, options, kind).content

    def stream(self, said: str | Path | bytes, **options: Any) -> Iterator[Poses]:
        """The same part by part, as it is made. Raises ConnectionError if it ends too early."""
        with self._say("/v1/signs/stream", said, options, "*/*", stream=True) as answer:
            try:
                for line in map(json.loads, answer.iter_lines()):
                    if line["type"] == "start":
                        start = line
                        _warn(line.get("remarks", ()))
                    elif line["type"] == "frames":
                        yield _poses(start, line["frames"])
                    elif line["type"] == "error":
                        raise ConnectionError(line["detail"])
                    else:
                        return
            except (requests.RequestException, json.JSONDecodeError) as error:
                raise ConnectionError(f"the stream was cut: {error}") from None
        raise ConnectionError("the stream ended too early")

    def _say(self, path: str, said: str | Path | bytes, options: dict, accept: str, **more: Any) -> requests.Response:
        if isinstance(said, str):
            content: dict[str, Any] = {"json": {"text": said} | options}
        else:
            content = {"files": {"speech": _read(said) if isinstance(said, Path) else said}, "data": options}
        return self._ask("POST", path, headers={"Accept": accept}, **content, **more)

    def _ask(self, method: str, path: str, **content: Any) -> requests.Response:
        """A loop, since urllib3's Retry sees no body, so no answer that is cut either, and does not wait before it first asks again."""
        for attempt in range(TRIES):
            last = attempt == TRIES - 1
            try:
                answer = self.session.request(method, self.url + path, timeout=self.timeout, **content)
            except requests.ReadTimeout:
                raise ConnectionError(f"{self.url} did not answer in {self.timeout:g} s") from None
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                if last:
                    raise ConnectionError(f"no service answers at {self.url}: {error}") from None
                time.sleep(2**attempt)
                continue
            if answer.ok:
                _warn(filter(None, [answer.headers.get("Remarks")]))
                return answer
            if last or (not _lost(answer) and answer.status_code not in AGAIN):
                break
            after = answer.headers.get("Retry-After", "")
            time.sleep(int(after) if after.isdecimal() else 1)
        reason = _detail(answer)
        raise InputError(reason) if answer.status_code < 500 else ConnectionError(reason)


def _warn(remarks: Iterable[str]) -> None:
    """Of what the service found odd."""
    for remark in remarks:
        warnings.warn(remark, stacklevel=4)


def _read(recording: Path) -> bytes:
    """Raises InputError if the file cannot be read."""
    try:
        return recording.read_bytes()
    except OSError as error:
        raise InputError(f"{recording} cannot be read: {error.strerror}") from None


def _lost(answer: requests.Response) -> bool:
    """Whether a proxy answers in the place of a replica that died: what the service says itself is a problem."""
    return answer.status_code >= 500 and not answer.headers.get("Content-Type", "").startswith(PROBLEM)


def _poses(head: dict, frames: list) -> Poses:
    joints = np.array(frames, np.float32).reshape(len(frames), len(head["seen"]), head["dims"])  # null is NaN
    seen = np.isfinite(joints).all(axis=2) & np.array(head["seen"], bool)
    return Poses(np.where(seen[..., None], joints, 0), seen.astype(np.float32), head["fps"])


def _detail(answer: requests.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.reason}"
