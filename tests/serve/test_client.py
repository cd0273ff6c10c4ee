"""The client, and what the documentation shows, against the service as it runs."""

import http.server
import io
import json
import re
import socket
import subprocess
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ms2sl.client import Client
from ms2sl.data.pose_format_io import from_bytes
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.errors import InputError

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "serving.md"
SENTENCE = "cab bead face deaf " * 10


@pytest.fixture(scope="module")
def client(service) -> Client:
    return Client(service.url)


@pytest.fixture(scope="module")
def recording(corpus) -> bytes:
    speech = next(clip.speech for clip in map(corpus.clip, range(10)) if clip.speech)
    wav = io.BytesIO()
    soundfile.write(wav, speech.waveform, speech.rate, format="WAV")
    return wav.getvalue()


def test_a_text_comes_back_as_poses(client):
    poses = client.sign("cab", duration=2, fps=25)
    assert (poses.n_frames, poses.fps) == (50, 25)
    HOLISTIC_49X2.check(poses)


def test_what_streams_is_what_comes_whole(client):
    parts = list(client.stream(SENTENCE, seed=3))
    assert len(parts) > 1
    np.testing.assert_allclose(np.concatenate([p.joints for p in parts]), client.sign(SENTENCE, seed=3).joints, atol=5e-3)


def test_a_recording_is_a_file_or_its_bytes(client, recording, tmp_path):
    (tmp_path / "spelled.wav").write_bytes(recording)
    from_file, from_memory = (client.sign(said, duration=2) for said in (tmp_path / "spelled.wav", recording))
    np.testing.assert_allclose(from_file.joints, from_memory.joints, atol=5e-3)


def test_a_file_is_what_it_says(client):
    assert from_bytes(client.file("cab", duration=2), HOLISTIC_49X2).poses.n_frames == 25
    assert client.file("cab", "image/gif").startswith(b"GIF8")


def test_the_model_tells_its_limits(client):
    assert client.model()["limits"]["text_characters"] == 5000


def test_a_language_that_the_model_does_not_sign_in_is_a_warning_and_the_signing_is_as_ever(client, recording):
    remark = "signed_language bfi is ignored: the model signs as it learned, from ase"
    for said in ("cab", recording):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            plain = client.sign(said, duration=2, signed_language="ase")
        with pytest.warns(UserWarning, match=remark):
            other = client.sign(said, duration=2, signed_language="bfi")
        np.testing.assert_allclose(other.joints, plain.joints, atol=5e-3)
        with pytest.warns(UserWarning, match=remark):
            list(client.stream(said, duration=2, signed_language="bfi"))
    with pytest.raises(InputError, match="signed_language: 'de' is no signed_language"):
        client.sign("cab", signed_language="de")


def test_what_is_refused_is_an_input_error_that_says_why(client):
    with pytest.raises(InputError, match="learned only"):
        client.sign("ß")
    with pytest.raises(InputError, match="steps: the limit is 50"):
        list(client.stream("cab", steps=5000))


def test_a_recording_that_is_not_there_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"hello\.wav cannot be read: No such file"):
        Client("http://127.0.0.1:9").sign(tmp_path / "hello.wav")


def test_a_service_that_is_not_there_is_said_to_be_so(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with socket.socket() as bound:  # and not listening, so that nobody else does
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionError, match="no service answers"):
            Client(f"http://127.0.0.1:{bound.getsockname()[1]}").model()


@contextmanager
def answering(*answers: tuple, **headers: str) -> Iterator[tuple[str, list]]:
    """A server that gives these answers (status, content type, body, and perhaps another length than that of the body), the last one again
    and again; its URL, and those that were given."""
    given = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body, *length = answers[min(len(given), len(answers) - 1)]
            given.append(status)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(length[0] if length else len(body)))
            for header in headers.items():
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(body.encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", given
    finally:
        server.shutdown()
        server.server_close()


def test_what_the_service_remarks_on_a_recording_is_a_warning():
    remark, head = "speech has 1.0 s of the 2.0 s that its header promises", {"fps": 12.5, "dims": 2, "seen": [True]}
    lines = [{"type": "start", "remarks": [remark]} | head, {"type": "frames", "first": 0, "frames": [[[0.0, 0.0]]]}, {"type": "end"}]
    whole = (200, "application/json", json.dumps(head | {"frames": [[[0.0, 0.0]]]}))
    with answering(whole, Remarks=remark) as (url, _), pytest.warns(UserWarning, match=remark):
        assert Client(url).sign(b"a recording").n_frames == 1
    with answering((200, "application/x-ndjson", "\n".join(map(json.dumps, lines)))) as (url, _), pytest.warns(UserWarning, match=remark):
        assert [poses.n_frames for poses in Client(url).stream(b"a recording")] == [1]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_what_a_proxy_says_of_a_replica_that_died_is_asked_again(monkeypatch, status):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with answering((status, "text/plain", "Internal Server Error"), (200, "application/json", '{"version": "1"}')) as (url, given):
        assert Client(url).model() == {"version": "1"}
    assert given == [status, 200]


def test_an_answer_that_is_cut_is_asked_again(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with answering((200, "application/json", '{"vers', 100), (200, "application/json", '{"version": "1"}')) as (url, given):
        assert Client(url).model() == {"version": "1"}
    assert given == [200, 200]


def test_what_the_service_says_went_wrong_is_not_asked_again():
    problem = (500, "application/problem+json", json.dumps({"detail": "something went wrong here"}))
    with answering(problem) as (url, given), pytest.raises(ConnectionError, match="something went wrong here"):
        Client(url).model()
    assert given == [500]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENTATION.read_text(encoding="utf-8"), re.DOTALL)


def test_the_commands_of_the_documentation_work(service, recording, tmp_path):
    (tmp_path / "speech.wav").write_bytes(recording)
    commands = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines() if line.startswith("curl")]
    assert len(commands) >= 4
    for command in commands:
        command = command.replace("curl ", "curl --silent --show-error --fail-with-body ", 1).replace("http://127.0.0.1:8000", service.url)
        run = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, timeout=60)
        assert run.returncode == 0, (command, run.stdout[:500], run.stderr)
    made = sorted(path.name for path in tmp_path.iterdir())
    assert {"hello.pose", "hello.gif"} <= set(made)


def test_the_programs_of_the_documentation_work(service, recording, tmp_path, monkeypatch):
    (tmp_path / "speech.wav").write_bytes(recording)
    monkeypatch.chdir(tmp_path)
    programs = blocks("python")
    assert programs
    for program in programs:
        exec(compile(program.replace("http://127.0.0.1:8000", service.url), "docs/serving.md", "exec"), {})
