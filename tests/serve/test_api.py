"""The routes, before a service that is imitated: who may ask, what is told of errors, what a stream says."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from types import SimpleNamespace

import numpy as np
import pytest
from ray.exceptions import TaskCancelledError
from starlette.requests import ClientDisconnect

from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.data.types import Poses
from ms2sl.training.checkpoint import read_card
from serve.api import make
from serve.middleware import Answers
from serve.problems import Problem
from serve.settings import Service
from tests.serve.test_request_parsing import FORM, field, form, recording


class Counted(list):
    def inc(self, value: float = 1, tags: dict | None = None) -> None:
        self.append(tags)


class Imitation:
    """Signs three parts of four frames; ``trouble`` happens before the part of that number."""

    def __init__(self, card, keys=(), trouble: dict[int, Exception] | None = None, pause: float = 0, **settings):
        self.service, self.keys, self.card = Service.parse(settings), keys, card
        self.trouble, self.pause, self.requests, self.closed, self.working = trouble or {}, pause, Counted(), False, 0

    async def served(self):
        return SimpleNamespace(version="7", card=self.card, failure="")

    @asynccontextmanager
    async def admitted(self):
        self.working += 1
        try:
            yield
        finally:
            self.working -= 1

    async def sign(self, ask) -> AsyncIterator[tuple[SimpleNamespace, Poses]]:
        try:
            for part in range(3):
                await asyncio.sleep(self.pause)
                if part in self.trouble:
                    raise self.trouble[part]
                n = HOLISTIC_49X2.n_joints
                yield await self.served(), Poses(np.full((4, n, 2), part, np.float32), np.ones((4, n), np.float32), 12.5)
        finally:
            self.closed = True

    async def encode(self, poses, skeleton, kind) -> bytes:
        return f"{kind} of {poses.n_frames}".encode()


class Answer:
    def __init__(self, messages: list[dict]):
        starts = [message for message in messages if message["type"] == "http.response.start"]
        assert len(starts) == 1
        self.status = starts[0]["status"]
        self.headers = {name.decode().lower(): value.decode() for name, value in starts[0]["headers"]}
        self.parts = [message["body"] for message in messages if message.get("body")]
        self.body = b"".join(self.parts)

    def problem(self) -> dict:
        assert self.headers["content-type"] == "application/problem+json"
        content = json.loads(self.body)
        assert content["status"] == self.status
        assert set(content) == {"type", "title", "status", "detail"}
        return content

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.body.splitlines()]


def ask(imitation: Imitation, path: str, method: str = "GET", body: bytes = b"", silent: bool = False, **headers: str) -> Answer:
    """silent: whether the body never comes."""
    coming, messages = [{"type": "http.request", "body": body, "more_body": False}], []

    async def receive():
        if silent or not coming:
            await asyncio.sleep(3)
        return coming.pop(0)

    async def send(message):
        messages.append(message)

    pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "headers": pairs}
    scope |= {"root_path": "", "scheme": "http", "server": ("127.0.0.1", 80), "http_version": "1.1", "asgi": {"version": "3.0"}}
    asyncio.run(make(imitation)(scope, receive, send))
    return Answer(messages)


def sign(imitation: Imitation, path: str = "/v1/signs", text: str = "hello", **headers: str) -> Answer:
    return ask(imitation, path, "POST", json.dumps({"text": text}).encode(), content_type="application/json", **headers)


@pytest.fixture
def card(tiny_checkpoint):
    return read_card(tiny_checkpoint, "ms2sl")


def test_an_answer_is_in_the_format_that_is_accepted(card):
    answer = sign(Imitation(card), accept="application/json")
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "application/json", b"application/json of 12")
    assert sign(Imitation(card)).body == b"application/pose of 12"


def test_what_was_odd_about_a_recording_is_remarked(card):
    cut = recording(2.0)[:32_044]
    said = {"body": form(field("speech", cut, "a.wav")), "content_type": FORM, "accept": "application/json"}
    remark = "speech has 1.0 s of the 2.0 s that its header promises"
    assert ask(Imitation(card), "/v1/signs", "POST", **said).headers["remarks"] == remark
    assert ask(Imitation(card), "/v1/signs/stream", "POST", **said).lines()[0]["remarks"] == [remark]
    said["body"] = form(field("speech", recording(1.0), "a.wav"))
    assert "remarks" not in ask(Imitation(card), "/v1/signs", "POST", **said).headers
    assert "remarks" not in sign(Imitation(card), "/v1/signs/stream").lines()[0]


@pytest.mark.parametrize("body", ["json", "form"])
def test_a_language_that_the_model_does_not_sign_in_is_remarked_beside_the_recording(card, body):
    def answered(path: str, language: str) -> Answer:
        if body == "json":
            return ask(Imitation(card), path, "POST", json.dumps({"text": "cab", "signed_language": language}).encode(), **kinds)
        return ask(Imitation(card), path, "POST", form(field("signed_language", language.encode()), recorded), **kinds)

    recorded = field("speech", recording(2.0)[:32_044], "a.wav")
    kinds = {"content_type": FORM if body == "form" else "application/json", "accept": "*/*"}
    cut = ["speech has 1.0 s of the 2.0 s that its header promises"] if body == "form" else []
    other = "signed_language bfi is ignored: the model signs as it learned, from ase"
    for language, remarks in (("ase", cut), ("und", cut), ("bfi", [*cut, other])):
        assert answered("/v1/signs", language).headers.get("remarks", "") == "; ".join(remarks)
        assert answered("/v1/signs/stream", language).lines()[0].get("remarks", []) == remarks
    for path in ("/v1/signs", "/v1/signs/stream"):
        detail = answered(path, "de").problem()["detail"]
        assert detail.startswith("signed_language: 'de' is no signed_language: write an ISO 639-3 code of three lower-case letters")


@pytest.mark.parametrize("signer", ["José", "李雷", "a\r\nSet-Cookie: b=c", "\x00", "“"])
def test_a_remark_on_any_name_can_stand_in_a_header(card, signer):
    said = {"body": json.dumps({"text": "cab", "signer": signer}).encode(), "content_type": "application/json", "accept": "*/*"}
    headers = ask(Imitation(card), "/v1/signs", "POST", **said).headers
    assert headers["remarks"] == f"signer {ascii(signer)[1:-1]} is ignored: the model does not tell signers apart"
    assert "set-cookie" not in headers
    whole = f"signer {signer} is ignored: the model does not tell signers apart"
    assert ask(Imitation(card), "/v1/signs/stream", "POST", **said).lines()[0]["remarks"] == [whole]


def test_the_reference_describes_the_language_and_the_remarks(card):
    signs = json.loads(ask(Imitation(card), "/openapi.json").body)["paths"]["/v1/signs"]["post"]
    for kind in ("application/json", "multipart/form-data"):
        described = signs["requestBody"]["content"][kind]["schema"]["properties"]["signed_language"]
        assert described["examples"] == ["ase"]
        assert described["anyOf"] == [{"type": "string", "pattern": "^[a-z]{3}$"}, {"type": "null"}]
        assert "ISO 639-3" in described["description"]
    assert "language" in signs["responses"]["200"]["headers"]["Remarks"]["description"]


def test_a_format_that_does_not_exist_is_refused_before_any_work(card):
    imitation = Imitation(card)
    problem = sign(imitation, accept="image/png").problem()
    assert problem["status"] == 406
    assert "image/gif" in problem["detail"]
    assert not imitation.closed


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": "Bearer first second"}, 401),
        ({"authorization": "Basic first"}, 401),
        ({"authorization": "first"}, 401),
        ({"authorization": "Bearer fir\xb2t"}, 401),
        ({"authorization": "Bearer firstt"}, 401),
        ({"authorization": "Bearer first"}, 200),
        ({"authorization": "bearer second"}, 200),
    ],
)
@pytest.mark.parametrize("path", ["/v1/signs", "/v1/signs/stream", "/v1/model"])
def test_with_keys_only_those_who_have_one_may_ask(card, path, headers, status):
    imitation = Imitation(card, keys=("first", "second"))
    answer = ask(imitation, path, **headers) if path == "/v1/model" else sign(imitation, path, **headers)
    assert answer.status == status
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "API key" in answer.problem()["detail"]
        assert not imitation.closed


@pytest.mark.parametrize("path", ["/", "/v1/health", "/docs", "/openapi.json", "/page/app.js"])
def test_the_page_and_health_and_the_reference_need_no_key(card, path):
    assert ask(Imitation(card, keys=("first",)), path).status == 200


def test_without_keys_everybody_may_ask_with_whatever_key(card):
    assert sign(Imitation(card), authorization="Bearer any").status == 200


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/nowhere", "GET", 404),
        ("/v1/signs", "GET", 405),
        ("/v1/model", "POST", 405),
        ("/page/none.js", "GET", 404),
        ("/page/../api.py", "GET", 404),
    ],
)
def test_unknown_places_and_methods_are_problems_too(card, path, method, status):
    assert ask(Imitation(card), path, method).problem()["status"] == status


def test_a_stream_has_a_start_frames_and_an_end(card):
    answer = sign(Imitation(card), "/v1/signs/stream")
    start, *parts, end = answer.lines()
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
    assert set(start) == {"type", "fps", "skeleton", "dims", "seen"}
    assert [(part["type"], part["first"], len(part["frames"])) for part in parts] == [("frames", 0, 4), ("frames", 4, 4), ("frames", 8, 4)]
    assert end == {"type": "end", "n_frames": 12, "seconds": 0.96}


def test_each_part_of_a_stream_is_sent_by_itself(card):
    assert len(sign(Imitation(card), "/v1/signs/stream").parts) == 4


def test_what_is_wrong_before_the_first_frame_is_the_status_of_a_stream(card):
    trouble = {0: Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "unknown letter")}
    assert sign(Imitation(card, trouble=trouble), "/v1/signs/stream").problem()["detail"] == "unknown letter"


def test_what_goes_wrong_later_is_the_last_line_of_a_stream(card):
    lines = sign(Imitation(card, trouble={2: Problem(HTTPStatus.SERVICE_UNAVAILABLE, "gone")}), "/v1/signs/stream").lines()
    assert [line["type"] for line in lines] == ["start", "frames", "frames", "error"]
    assert (lines[-1]["status"], lines[-1]["detail"]) == (503, "gone")


def test_a_fault_of_ours_is_told_without_what_was_said(card, caplog):
    imitation = Imitation(card, trouble={0: KeyError("secret")})
    for path in ("/v1/signs", "/v1/signs/stream"):
        answer = sign(imitation, path, text="secret")
        assert answer.problem()["status"] == 500
        assert b"secret" not in answer.body
    assert "KeyError" in caplog.text
    assert "secret" not in caplog.text


def test_a_fault_of_ours_in_a_stream_is_told_in_its_last_line(card):
    assert sign(Imitation(card, trouble={2: KeyError("secret")}), "/v1/signs/stream").lines()[-1]["type"] == "error"


@pytest.mark.parametrize(("path", "setting"), [("/v1/signs", "request_timeout_s"), ("/v1/signs/stream", "stream_timeout_s")])
def test_what_takes_too_long_is_given_up(card, path, setting):
    imitation = Imitation(card, pause=5, **{setting: 0.1})
    assert sign(imitation, path).problem()["status"] == 504
    assert imitation.closed
    assert imitation.working == 0


@pytest.mark.parametrize("path", ["/v1/signs", "/v1/signs/stream"])
def test_those_who_never_send_what_they_announce_give_their_place_back(card, path):
    imitation = Imitation(card, request_timeout_s=0.1)
    answer = ask(imitation, path, "POST", silent=True, content_type="application/json")
    assert answer.status in (408, 504)
    assert imitation.working == 0


def test_a_film_that_is_too_long_is_not_made(card):
    imitation = Imitation(card, **{"limits.rendered_frames": 5})
    assert sign(imitation, accept="image/gif").problem()["status"] == 422
    assert sign(imitation, accept="application/json").status == 200


def test_all_answers_forbid_other_sites_and_guessing(card):
    for answer in (
        sign(Imitation(card)),
        ask(Imitation(card), "/"),
        ask(Imitation(card), "/nowhere"),
        ask(Imitation(card), "/page/app.js"),
    ):
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_signing_is_kept_by_no_cache(card):
    assert (
        sign(Imitation(card)).headers["cache-control"] == sign(Imitation(card), "/v1/signs/stream").headers["cache-control"] == "no-store"
    )


def test_pages_of_other_sites_may_ask_only_if_the_operator_says_so(card):
    asking = {"origin": "https://example.org", "access_control_request_method": "POST", "access_control_request_headers": "authorization"}
    closed, opened = Imitation(card), Imitation(card, cors_origins="https://example.org")
    assert "access-control-allow-origin" not in sign(closed, origin="https://example.org").headers
    assert sign(opened, origin="https://example.org").headers["access-control-allow-origin"] == "https://example.org"
    assert "access-control-allow-origin" not in sign(opened, origin="https://example.com").headers
    assert ask(closed, "/v1/signs", "OPTIONS", **asking).status == 405
    allowed = ask(opened, "/v1/signs", "OPTIONS", **asking)
    assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (200, "https://example.org")
    assert "authorization" in allowed.headers["access-control-allow-headers"]
    assert ask(opened, "/v1/signs", "OPTIONS", **asking | {"origin": "https://example.com"}).status == 400


def test_answers_are_counted_by_route_and_status(card):
    imitation = Imitation(card, trouble={1: KeyError("x")})
    for path in ("/v1/signs", "/nowhere/at/all"):
        sign(imitation, path)
    assert imitation.requests == [{"route": "/v1/signs", "status": "500"}, {"route": "none", "status": "404"}]


@pytest.mark.parametrize("told", [ClientDisconnect, TaskCancelledError])
def test_a_client_that_leaves_is_counted_and_is_no_fault_in_the_log(told, caplog):
    async def leaving(scope, receive, send):
        raise told

    counted = Counted()
    asyncio.run(Answers(leaving, counted)({"type": "http"}, None, None))
    assert counted == [{"route": "none", "status": "left"}]
    assert not caplog.records
