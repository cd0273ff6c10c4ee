"""What may be asked, limit by limit; requests as ASGI brings them, without a server."""

import asyncio
import contextlib
import io
import json
import resource
from collections.abc import Sequence

import numpy as np
import pytest
import soundfile
from starlette.requests import Request

from ms2sl.inference.sampling_config import Sampling
from ms2sl.systems.options import CallOptions
from ms2sl.systems.registry import system
from serve.problems import Problem
from serve.request_parsing import SignRequest, read
from serve.settings import Limits

FORM = "multipart/form-data; boundary=cut"
DEFAULTS = CallOptions(steps=5, guidance=2.0)


def asked(body: bytes | Sequence[bytes], kind: str = "application/json", limits: Limits | None = None, **headers: str) -> SignRequest:
    """What is read of a request, whose body may come in parts."""
    parts = [body] if isinstance(body, bytes) else list(body)
    coming = [{"type": "http.request", "body": part, "more_body": i + 1 < len(parts)} for i, part in enumerate(parts)]

    async def receive():
        return coming.pop(0)

    named = {"content-type": kind} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {"type": "http", "method": "POST", "path": "/v1/signs", "query_string": b""}
    scope["headers"] = [(name.encode(), value.encode("latin-1")) for name, value in named.items()]
    return asyncio.run(read(Request(scope, receive), limits or Limits()))


def refused(body: bytes | Sequence[bytes], kind: str = "application/json", limits: Limits | None = None, **headers: str) -> tuple[int, str]:
    with pytest.raises(Problem) as caught:
        asked(body, kind, limits, **headers)
    return int(caught.value.status), caught.value.detail


def said(text: str = "hello", **options) -> bytes:
    return json.dumps({"text": text} | options).encode()


def field(name: str, value: str | bytes, filename: str | None = None) -> bytes:
    file = f'; filename="{filename}"' if filename else ""
    content = value.encode() if isinstance(value, str) else value
    return f'--cut\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"


def form(*fields: bytes, end: bytes = b"--cut--\r\n") -> bytes:
    return b"".join(fields) + end


def recording(seconds: float = 0.5, rate: int = 16_000, channels: int = 1, **format) -> bytes:
    """Noise, or silence where it lasts longer than a minute."""
    encoded, rng = io.BytesIO(), np.random.default_rng(0)
    with soundfile.SoundFile(encoded, "w", rate, channels, **{"format": "WAV", **format}) as file:
        for begin in range(0, round(seconds * rate), rate):  # by the second: libsndfile falls over a long OGG at once
            n = min(rate, round(seconds * rate) - begin)
            file.write(rng.uniform(-0.5, 0.5, (n, channels)) if seconds < 60 else np.zeros((n, channels)))
    return encoded.getvalue()


def spoken(encoded: bytes, *fields: bytes, limits: Limits | None = None) -> SignRequest:
    return asked(form(*fields, field("speech", encoded, "a.wav")), FORM, limits)


def unheard(encoded: bytes, limits: Limits | None = None) -> tuple[int, str]:
    return refused(form(field("speech", encoded, "a.wav")), FORM, limits)


def sampling(ask: SignRequest) -> Sampling:
    return ask.call_options(system("ms2sl"), DEFAULTS)


def test_a_text_is_read_with_its_options():
    ask = asked(said("hello", steps=9, guidance=3, sampler="dpm++", seed=-(2**63), duration=2.5, fps=30))
    assert (ask.utterance.text, ask.utterance.speech, ask.utterance.seconds) == ("hello", None, 2.5)
    assert sampling(ask) == Sampling(steps=9, guidance=3.0, sampler="dpm++")
    assert (ask.seed, ask.fps) == (-(2**63), 30.0)


def test_what_is_not_asked_for_is_as_the_operator_says():
    for ask in (asked(said()), asked(said(steps=None, guidance=None, sampler=None, duration=None, fps=None)), spoken(recording())):
        assert sampling(ask) == Sampling(steps=5, guidance=2.0)
        assert (ask.seed, ask.fps, ask.utterance.seconds) == (0, None, None)


def test_the_language_to_sign_in_is_read_from_texts_and_forms_alike():
    for language in ("ase", "bfi", "und"):
        assert asked(said("cab", signed_language=language)).utterance.signed_language == language
        assert spoken(recording(), field("signed_language", language.encode())).utterance.signed_language == language
    for ask in (asked(said()), asked(said(signed_language=None)), spoken(recording()), spoken(recording(), field("signed_language", b""))):
        assert ask.utterance.signed_language is None
    assert "signed_language" not in asked(said("cab", signed_language="ase")).options, "options are of systems"


def test_the_signer_to_sign_like_is_read_from_texts_and_forms_alike():
    assert asked(said("cab", signer="anna")).utterance.signer == "anna"
    assert spoken(recording(), field("signer", b"anna")).utterance.signer == "anna"
    assert asked(said()).utterance.signer is spoken(recording(), field("signer", b"")).utterance.signer is None
    assert "signer" not in asked(said("cab", signer="anna")).options, "options are of systems"
    for wrong in ("", "a" * 201, 7):
        status, detail = refused(said("cab", signer=wrong))
        assert status == 422
        assert detail.startswith("signer: ")


@pytest.mark.parametrize("wrong", ["de", "en-US", "ASE", "american", "as1"])
def test_what_is_no_code_of_a_language_is_refused_before_the_recording_is_read(wrong):
    for status, detail in (
        refused(said("cab", signed_language=wrong)),
        refused(form(field("signed_language", wrong.encode()), field("speech", b"no sound", "a.wav")), FORM),
    ):
        assert status == 422
        assert detail.startswith(f"signed_language: '{wrong}' is no signed_language: write an ISO 639-3 code of three lower-case letters")
        assert ("BCP 47" in detail) == (wrong in ("de", "en-US"))


@pytest.mark.parametrize("name", ["text_characters", "steps", "guidance", "duration", "fps"])
def test_each_limit_stops_what_is_beyond_it_and_nothing_else(name):
    limits = Limits(**{name: 7})
    at, beyond = ({"text": "x" * 7}, {"text": "x" * 8}) if name == "text_characters" else ({name: 7}, {name: 8})
    asked(said(**at), limits=limits)
    status, detail = refused(said(**beyond), limits=limits)
    assert status == 422
    assert "7" in detail
    assert name.split("_")[0] in detail


def test_the_longest_text_may_be_written_with_escapes_alone():
    ask = asked(said("🤟" * 5000, seed=1))  # 12 bytes each, as json.dumps writes it
    assert ask.utterance.text == "🤟" * 5000


def test_ten_megabytes_of_emoji_are_too_large():
    body = json.dumps({"text": "🤟" * 2_500_000}, ensure_ascii=False).encode()
    assert len(body) > 10**7
    assert refused(body, content_length=str(len(body)))[0] == 413
    assert refused([body[i : i + 2**16] for i in range(0, len(body), 2**16)])[0] == 413


@pytest.mark.parametrize(("kind", "most"), [("application/json", 64_096), (FORM, 1000 + 4096)])
def test_a_body_is_read_no_further_than_its_limit(kind, most):
    taken = []

    def parts():
        for _ in range(1000):
            taken.append(1000)
            yield b"x" * 1000

    limits, coming = Limits(upload_bytes=1000), parts()

    async def receive():
        return {"type": "http.request", "body": next(coming), "more_body": True}

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-type", kind.encode())]}
    with pytest.raises(Problem) as caught:
        asyncio.run(read(Request(scope, receive), limits))
    assert caught.value.status in (400, 413)
    assert sum(taken) <= most + 1000


def test_a_body_that_says_it_is_too_large_is_not_read():
    status, detail = refused([], content_length="99999999999")
    assert status == 413
    assert "5000 characters" in detail
    status, detail = refused([], FORM, content_length="99999999999")
    assert status == 413
    assert "mp3" in detail


@pytest.mark.parametrize("length", ["-1", "none", "²", "1e9", ""])
def test_a_length_that_is_no_number_is_no_length(length):
    assert asked(said(), content_length=length).utterance.text == "hello"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"null",
        b"[]",
        b'"hello"',
        b'{"text": "hello"',
        b'\xff\xfe{"text": "a"}',
        b'{"text": "\xff"}',
        b"[" * 60_000,
        b'{"seed": 1}',
    ],
)
def test_what_is_not_json_with_a_text_is_malformed(body):
    assert refused(body)[0] == 422


@pytest.mark.parametrize("text", ["", 5, None, ["hello"], {"a": 1}, True])
def test_a_text_is_a_string_with_something_in_it(text):
    status, detail = refused(json.dumps({"text": text}).encode())
    assert status == 422
    assert "text" in detail


@pytest.mark.parametrize("name", ["steps", "guidance", "seed", "duration", "fps"])
@pytest.mark.parametrize(
    "value", ['"2"', '""', "true", "[2]", "{}", "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" + "0" * 400, "9" * 5000]
)
def test_a_number_is_a_finite_number_of_json(name, value):
    status, detail = refused(f'{{"text": "hello", "{name}": {value}}}'.encode())
    assert status == 422
    assert len(detail) < 300


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("steps", 1.5),
        ("steps", -1),
        ("guidance", -0.1),
        ("duration", 0),
        ("duration", -1),
        ("fps", 0),
        ("fps", 0.5),
        ("seed", 2**63),
        ("seed", -(2**63) - 1),
        ("seed", 0.5),
        ("sampler", "euler"),
        ("sampler", 1),
    ],
)
def test_impossible_options_are_refused_by_name(name, value):
    status, detail = refused(said(**{name: value}))
    assert status == 422
    assert detail.startswith(name)


def test_unknown_options_are_refused_by_name():
    assert "stepz" in refused(said(stepz=2))[1]
    assert "stepz" in refused(form(field("stepz", "2"), field("speech", recording(), "a.wav")), FORM)[1]


def test_half_a_character_is_malformed():
    assert refused(b'{"text": "\\ud800"}')[0] == 422
    assert refused(b'{"text": "a", "\\ud800": 1}')[0] == 422


def test_characters_of_all_kinds_are_read_as_they_are():
    for text in ("\0", "a\0b", "\u202eabc", "e\u0301", "🤟🏽", "\ufeffa", "\r\n"):
        assert asked(said(text)).utterance.text == text


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON", "application/json; charset=utf-8", " application/json ;a=b"])
def test_a_content_type_may_be_written_in_many_ways(kind):
    assert asked(said(), kind).utterance.text == "hello"


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "audio/wav", "json", "\xb2"])
def test_other_content_types_are_told_what_to_send(kind):
    status, detail = refused(said(), kind)
    assert status == 415
    assert "application/json" in detail
    assert "multipart/form-data" in detail


def test_speech_is_read_with_its_options():
    ask = spoken(recording(1.0, 44_100, 2), field("steps", "9"), field("seed", "-5"), field("fps", "29.97"), field("sampler", "dpm++"))
    assert ask.utterance.text is None
    assert (ask.utterance.speech.rate, len(ask.utterance.speech.waveform)) == (16_000, 16_000)
    assert sampling(ask) == Sampling(steps=9, guidance=2.0, sampler="dpm++")
    assert (ask.seed, ask.fps) == (-5, 29.97)


def test_an_empty_field_of_a_form_means_the_default():
    fields = [field(name, "") for name in ("steps", "guidance", "sampler", "seed", "duration", "fps")]
    ask = spoken(recording(), *fields)
    assert sampling(ask) == Sampling(steps=5, guidance=2.0)
    assert (ask.seed, ask.fps, ask.utterance.seconds) == (0, None, None)


@pytest.mark.parametrize(
    ("fields", "status", "word"),
    [
        ([("speech", b"", "a.wav")], 422, "speech"),
        ([("speech", b"not audio", "a.wav")], 422, "audio"),
        ([("speech", "text")], 422, "no file"),
        ([("recording", b"data", "a.wav")], 422, "no file"),
        ([], 422, "no file"),
        ([("steps", "2"), ("steps", "3"), ("speech", b"x", "a.wav")], 422, "twice"),
        ([("steps", "2"), ("steps", ""), ("speech", b"x", "a.wav")], 422, "twice"),
        ([("speech", "text"), ("speech", b"x", "a.wav")], 422, "twice"),
        ([("speech", b"x", "a.wav"), ("speech", b"x", "b.wav")], 400, "files"),
        ([("speech", b"x", "a.wav"), ("other", b"x", "b.wav")], 400, "files"),
        ([("steps", b"2", "steps.txt")], 422, "no file"),
        ([("steps", "NaN"), ("speech", b"x", "a.wav")], 422, "steps"),
        ([("fps", "nan"), ("speech", b"x", "a.wav")], 422, "fps"),
        ([("fps", "inf"), ("speech", b"x", "a.wav")], 422, "fps"),
        ([("text", "hello"), ("speech", b"x", "a.wav")], 422, "text"),
        ([("steps", b"\xff\xfe"), ("speech", b"x", "a.wav")], 422, "steps"),
        ([(f"x{i}", "1") for i in range(11)] + [("speech", b"x", "a.wav")], 400, "fields"),
        ([("seed", "1" * 4000), ("speech", b"x", "a.wav")], 422, "seed"),
    ],
)
def test_a_wrong_form_is_refused_and_told_why(fields, status, word):
    answer = refused(form(*(field(*each) for each in fields)), FORM)
    assert answer[0] == status
    assert word in answer[1]


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=other"])
def test_a_form_without_its_boundary_cannot_be_read(kind):
    assert refused(form(field("speech", recording(), "a.wav")), kind)[0] in (400, 422)


def test_a_form_that_is_cut_short_is_refused():
    whole = form(field("steps", "2"), field("speech", recording(), "a.wav"))
    for length in (0, 10, 60, 120, 200, len(whole) // 2):
        assert refused(whole[:length], FORM)[0] in (400, 422), length


def test_a_form_may_come_byte_by_byte():
    whole = form(field("steps", "2"), field("speech", recording(0.05), "a.wav"))
    assert sampling(asked([whole[i : i + 1] for i in range(len(whole))], FORM)).steps == 2


@pytest.mark.parametrize("format", [{"format": "WAV"}, {"format": "FLAC"}, {"format": "OGG"}, {"format": "MP3"}], ids=lambda f: f["format"])
def test_recordings_of_the_usual_formats_are_heard(format):
    assert spoken(recording(1.0, **format)).utterance.speech.seconds == pytest.approx(1.0, abs=0.1)


def test_many_channels_and_a_high_rate_are_heard():
    speech = spoken(recording(1.0, 192_000, 8)).utterance.speech
    assert (speech.rate, len(speech.waveform)) == (16_000, 16_000)
    assert np.abs(speech.waveform).max() > 0.01


@pytest.mark.parametrize("format", ["FLAC", "OGG"])
def test_a_small_file_with_an_hour_in_it_is_too_long(format):
    encoded = recording(3600, 8000, format=format)
    assert len(encoded) < 2**20
    status, detail = unheard(encoded)
    assert status == 422
    assert "600 s" in detail


def test_the_seconds_of_a_recording_have_a_limit():
    assert spoken(recording(1.0), limits=Limits(audio_seconds=1)).utterance.speech.seconds == 1
    assert unheard(recording(1.1), Limits(audio_seconds=1))[0] == 422


def test_a_small_file_that_unpacks_to_gigabytes_is_refused_before_it_takes_memory():
    encoded = recording(300, 655_350, format="FLAC")
    assert len(encoded) < 2**20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert unheard(encoded)[0] == 422
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 2**10  # KiB


@pytest.mark.parametrize("claimed", [0, 1, 2**31 - 1, 2**32 - 1])
def test_a_header_that_lies_about_its_length_takes_neither_memory_nor_more_than_there_is(claimed):
    encoded = bytearray(recording(0.5))
    encoded[4:8] = encoded[40:44] = claimed.to_bytes(4, "little")
    with contextlib.suppress(Problem):
        assert spoken(bytes(encoded)).utterance.speech.seconds <= 0.6


def test_a_file_that_is_too_large_is_refused_whatever_is_in_it():
    assert unheard(b"x" * 6000, Limits(upload_bytes=1000))[0] == 413
