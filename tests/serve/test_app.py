import io

import pytest
import requests
import soundfile

from ms2sl.posefile import from_bytes
from ms2sl.skeletons import HOLISTIC_49X2

pytestmark = pytest.mark.usefixtures("service")


def test_text_becomes_a_pose_file(service):
    answer = service.sign("cab", duration=2)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/pose"
    assert from_bytes(answer.content, HOLISTIC_49X2).poses.n_frames == 25


def test_speech_becomes_a_pose_file(service, corpus):
    speech = next(clip.speech for clip in map(corpus.clip, range(10)) if clip.speech)
    wav = io.BytesIO()
    soundfile.write(wav, speech.waveform, speech.rate, format="WAV")
    answer = service.hear(wav.getvalue(), duration=2, steps=3)
    assert answer.status_code == 200, answer.text
    assert from_bytes(answer.content, HOLISTIC_49X2).poses.n_frames == 25


def test_what_the_model_cannot_say_is_the_clients_error_and_says_why(service):
    answer = service.sign("ß")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "learned only" in answer.json()["detail"]


def test_unknown_options_are_refused(service):
    assert service.sign("cab", stepz=2).status_code == 422


def test_the_model_tells_what_it_is(service):
    card = requests.get(f"{service.url}/v1/model", timeout=30).json()
    assert card["skeleton"]["name"] == "holistic-49x2"
    assert card["sampling"]["steps"] == 2
    assert card["signed_languages"] == ["ase"]
