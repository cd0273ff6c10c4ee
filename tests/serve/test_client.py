"""The client, and what the documentation shows, against the service as it runs."""

import io
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ms2sl.client import Client
from ms2sl.errors import InputError
from ms2sl.posefile import from_bytes
from ms2sl.skeletons import HOLISTIC_49X2
from tests.serve.conftest import free_port

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


def test_what_is_refused_is_an_input_error_that_says_why(client):
    with pytest.raises(InputError, match="learned only"):
        client.sign("ß")
    with pytest.raises(InputError, match="steps: the limit is 50"):
        list(client.stream("cab", steps=5000))


def test_a_service_that_is_not_there_is_said_to_be_so(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(ConnectionError, match="no service answers"):
        Client(f"http://127.0.0.1:{free_port()}").model()


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
