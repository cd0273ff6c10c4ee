"""The service as it runs: what is asked over HTTP, and what comes back."""

import contextlib
import io
import json
import socket
import time
from urllib.parse import urlsplit

import av
import numpy as np
import pytest
import requests
import soundfile
from PIL import Image

from ms2sl.audio.speech import Speech
from ms2sl.data.pose_format_io import from_bytes, to_bytes
from ms2sl.data.resampling import resample
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.data.types import Utterance
from ms2sl.inference.sampling_config import Sampling
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from tests.serve.frames import as_poses

pytestmark = pytest.mark.usefixtures("service")
JSON = {"accept": "application/json"}
LONG = "cab bead face. " * 20


@pytest.fixture(scope="module")
def producer(tiny_checkpoint) -> MS2SLProducer:
    """As the service has it, in this process."""
    return MS2SLProducer.load(tiny_checkpoint, options=Sampling(steps=2), precision="fp32")


@pytest.fixture(scope="module")
def wav(corpus) -> bytes:
    speech, encoded = next(clip.speech for clip in map(corpus.clip, range(10)) if clip.speech), io.BytesIO()
    soundfile.write(encoded, speech.waveform, speech.rate, format="WAV")
    return encoded.getvalue()


def joints(answer: requests.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return as_poses(answer.json()["frames"])


def lines(answer: requests.Response) -> list[dict]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.iter_lines()]


def streamed(said: list[dict]) -> np.ndarray:
    """The frames of a whole stream."""
    start, *parts, end = said
    assert (start["type"], end["type"]) == ("start", "end")
    assert np.cumsum([0, *(len(part["frames"]) for part in parts)]).tolist() == [part["first"] for part in parts] + [end["n_frames"]]
    return np.concatenate([as_poses(part["frames"]) for part in parts])


def problem(answer: requests.Response, status: int) -> dict:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    return answer.json()


def test_text_becomes_a_pose_file(service):
    answer = service.sign("cab", duration=2)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/pose"
    assert from_bytes(answer.content, HOLISTIC_49X2).poses.n_frames == 25


def test_speech_becomes_a_pose_file(service, wav):
    answer = service.hear(wav, duration=2, steps=3)
    assert answer.status_code == 200, answer.text
    assert from_bytes(answer.content, HOLISTIC_49X2).poses.n_frames == 25


def test_speech_is_signed_as_the_producer_signs_it(service, producer, wav):
    utterance = Utterance("speech", speech=Speech.decode(wav, rate=16_000), seconds=2)
    made = producer.produce([utterance], seed=3)[0]
    assert np.allclose(joints(service.hear(wav, headers=JSON, duration=2, seed=3)), made.joints, atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"seed": 7}, {"duration": 3}, {"steps": 5, "sampler": "dpm++"}, {"guidance": 3}], ids=str)
def test_text_is_signed_as_the_producer_signs_it(service, tiny_checkpoint, options):
    chosen = {name: options[name] for name in ("steps", "sampler", "guidance") if name in options}
    alone = MS2SLProducer.load(tiny_checkpoint, options=Sampling(**{"steps": 2, **chosen}), precision="fp32")
    made = alone.produce([Utterance("text", text="bead", seconds=options.get("duration"))], seed=options.get("seed", 0))[0]
    assert np.allclose(joints(service.sign("bead", headers=JSON, **options)), made.joints, atol=1e-3)


def test_a_pose_file_holds_what_the_producer_makes(service, producer):
    made = producer.produce([Utterance("text", text="bead")], seed=0)[0]
    ours, theirs = (from_bytes(each, HOLISTIC_49X2).poses for each in (to_bytes(made, HOLISTIC_49X2), service.sign("bead").content))
    assert np.allclose(ours.joints, theirs.joints, atol=0.15)  # pixels
    assert np.array_equal(ours.confidence, theirs.confidence)


def test_the_same_seed_signs_the_same_and_another_seed_otherwise(service):
    first, again, other = (joints(service.sign("bead", headers=JSON, seed=seed, duration=2)) for seed in (1, 1, 2))
    assert np.allclose(first, again, atol=1e-3)
    assert np.abs(first - other).max() > 0.05


def test_the_duration_and_the_frames_a_second_are_as_asked(service, producer):
    content = service.sign("cab", headers=JSON, duration=3.2, fps=30).json()
    assert (content["fps"], content["n_frames"]) == (30, 96)
    assert content["seconds"] == pytest.approx(3.2)
    made = resample(producer.produce([Utterance("text", text="cab", seconds=3.2)], seed=0)[0], 30)
    assert np.allclose(as_poses(content["frames"]), made.joints, atol=1e-3)


def test_a_gif_moves_as_long_as_the_signing(service):
    picture = Image.open(io.BytesIO(service.sign("cab", headers={"accept": "image/gif"}, duration=2).content))
    assert (picture.format, picture.n_frames) == ("GIF", 25)
    shown = 0
    for frame in range(picture.n_frames):
        picture.seek(frame)
        shown += picture.info["duration"]
    assert shown == 2000


def test_a_film_has_the_frames_and_the_speed_that_are_asked_for(service):
    answer = service.sign("cab", headers={"accept": "video/mp4"}, duration=2, fps=24)
    assert answer.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(answer.content)) as film:
        assert film.streams.video[0].average_rate == 24
        assert sum(1 for _ in film.decode(video=0)) == 48


def test_a_stream_is_the_whole_part_by_part(service, producer):
    whole, parts = joints(service.sign(LONG, headers=JSON, seed=5)), lines(service.sign(LONG, stream=True, seed=5))
    assert len(parts) > 5
    assert np.allclose(streamed(parts), whole, atol=1e-3)
    assert np.allclose(whole, producer.produce([Utterance("text", text=LONG)], seed=5)[0].joints, atol=2e-3)


def test_a_stream_at_another_speed_is_the_whole_too(service):
    whole, parts = joints(service.sign(LONG, headers=JSON, fps=30)), lines(service.sign(LONG, stream=True, fps=30))
    assert np.allclose(streamed(parts), whole, atol=1e-3)


def test_frames_arrive_before_the_last_ones_are_made(service):
    began, came = time.monotonic(), []
    for _line in service.sign(LONG, stream=True, steps=20).iter_lines():
        came.append(time.monotonic() - began)
    assert came[0] < came[-1] / 3


def test_an_upload_that_broke_off_is_signed_as_far_as_it_came_and_nothing_of_what_others_sent(service, corpus):
    """Two clients share the process; the recording of one is cut short, and its header promises more than there is."""
    speeches = [clip.speech for clip in map(corpus.clip, range(12)) if clip.speech]
    longest, others = max(speeches, key=lambda speech: speech.seconds), []
    for gain in (1, 0.7, 0.4):
        loud, content = np.concatenate([speech.waveform for speech in speeches]) * gain, io.BytesIO()
        soundfile.write(content, loud, 16_000, format="MP3")
        others.append(content.getvalue())
    content = io.BytesIO()
    soundfile.write(content, longest.waveform, longest.rate, format="MP3")
    cut, there = content.getvalue()[: len(content.getvalue()) * 2 // 5], io.BytesIO()
    decoded, rate = soundfile.read(io.BytesIO(cut), dtype="float32")  # which knows what it has read, but for the last frame
    waveform = Speech.decode(cut).waveform
    assert len(waveform) <= len(decoded) + 1152 < 0.5 * len(longest.waveform)
    assert np.abs(waveform[: len(decoded)] - decoded).max() < 1e-3
    soundfile.write(there, waveform, rate, format="WAV", subtype="FLOAT")
    expected = joints(service.hear(there.getvalue(), headers=JSON, seed=3))
    for other in others:
        joints(service.hear(other, headers=JSON, duration=1))
        found = joints(service.hear(cut, headers=JSON, seed=3))
        assert found.shape == expected.shape
        assert np.allclose(found, expected, atol=1e-3)


def test_speech_is_streamed_too(service, wav):
    answer = requests.post(f"{service.url}/v1/signs/stream", files={"speech": wav}, data={"seed": 3}, stream=True, timeout=60)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert np.allclose(streamed(lines(answer)), joints(service.hear(wav, headers=JSON, seed=3)), atol=1e-3)


@pytest.mark.parametrize("text", ["ß", LONG + "ß", "ß" + LONG, "\0", " ", "🤟" * 10, "..."], ids=ascii)
@pytest.mark.parametrize("stream", [False, True])
def test_what_the_model_cannot_say_is_the_clients_error_before_the_first_frame(service, text, stream):
    detail = problem(service.sign(text, stream=stream), 422)["detail"]
    assert len(detail) < 500


def test_a_letter_that_was_not_learned_is_told_what_was(service):
    assert "learned only" in problem(service.sign("ß"), 422)["detail"]


def test_unknown_options_are_refused(service):
    assert "stepz" in problem(service.sign("cab", stepz=2), 422)["detail"]


def test_silence_is_refused(service):
    silence = io.BytesIO()
    soundfile.write(silence, np.zeros(16_000), 16_000, format="WAV")
    problem(service.hear(silence.getvalue()), 422)


def test_ten_megabytes_of_emoji_are_too_large_and_the_service_goes_on(service):
    body = '{"text": "' + "🤟" * 2_500_000 + '"}'
    place, kind = f"{service.url}/v1/signs", {"content-type": "application/json"}
    problem(requests.post(place, data=body.encode(), headers=kind, timeout=60), 413)
    parts = (body[i : i + 2**16].encode() for i in range(0, len(body), 2**16))
    with contextlib.suppress(requests.ConnectionError):  # it may stop reading
        problem(requests.post(place, data=parts, headers=kind, timeout=60), 413)
    assert service.sign("cab").status_code == 200


def test_unknown_places_and_methods_are_problems_too(service):
    problem(requests.get(f"{service.url}/nowhere", timeout=30), 404)
    problem(requests.get(f"{service.url}/v1/signs", timeout=30), 405)
    problem(requests.post(f"{service.url}/v1/signs", data="hello", headers={"content-type": "text/plain"}, timeout=30), 415)
    problem(service.sign("cab", headers={"accept": "image/png"}), 406)


@pytest.mark.parametrize(
    "headers", [b"Accept: */*;q=\xb2", b"Authorization: Bearer \xff", b"Content-Type: \xb2", b"Content-Type: multipart/form-data"]
)
def test_odd_headers_are_the_clients_error(service, headers):
    address = urlsplit(service.url)
    body = b'{"text": "cab"}'
    kind = b"" if headers.startswith(b"Content-Type") else b"\r\nContent-Type: application/json"
    head = b"POST /v1/signs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n%s%s\r\n\r\n" % (
        len(body),
        headers,
        kind,
    )
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(head + body)
        status = int(connection.makefile("rb").readline().split()[1])
    assert status < 500


def test_the_model_tells_what_it_is(service):
    card = requests.get(f"{service.url}/v1/model", timeout=30).json()
    assert card["skeleton"]["name"] == "holistic-49x2"
    assert card["sampling"]["steps"] == 2
    assert card["signed_languages"] == ["ase"]
    assert "failure" not in card


def test_health_tells_the_version(service):
    health, card = (requests.get(f"{service.url}/v1/{name}", timeout=30).json() for name in ("health", "model"))
    assert health == {"status": "ok", "version": card["version"]}


def test_the_reference_needs_no_other_site(service):
    assert requests.get(f"{service.url}/openapi.json", timeout=30).json()["openapi"].startswith("3.")
    page = requests.get(f"{service.url}/docs", timeout=30)
    assert page.status_code == 200
    for place in [part.split('"')[0] for name in ("src=", "href=") for part in page.text.split(f'{name}"')[1:]]:
        assert place.startswith("/"), place
        assert requests.get(f"{service.url}{place}", timeout=30).status_code == 200


def test_answers_forbid_other_sites(service):
    for answer in (service.sign("cab"), requests.get(service.url, timeout=30), requests.get(f"{service.url}/nowhere", timeout=30)):
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_pages_of_the_sites_that_the_operator_names_may_ask(service):
    allowed, other = (service.sign("cab", headers={"origin": origin}).headers for origin in ("https://example.org", "https://example.com"))
    assert allowed["access-control-allow-origin"] == "https://example.org"
    assert "access-control-allow-origin" not in other


def test_metrics_reach_prometheus(service, metrics):
    service.sign("cab")
    found = metrics("ms2sl_requests", lambda values: any("/v1/signs" in labels and "200" in labels for labels in values))
    assert sum(found.values()) >= 1
    for name in ("ms2sl_frames", "ms2sl_signed_seconds", "ms2sl_first_frame_seconds_count", "ms2sl_batch_windows_count"):
        assert sum(metrics(name, lambda values: sum(values.values()) > 0).values()) > 0
    assert metrics("ms2sl_requests_at_work", lambda values: sum(values.values()) == 0)
