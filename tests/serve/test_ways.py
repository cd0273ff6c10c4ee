"""The same by every way that a user has: --text and --speech, --utterances, the service, its client and the model of MLflow sign the same,
or refuse for the same reason."""

import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from jobs.produce import ProduceCommand, run
from ms2sl.audio.speech import SAMPLE_RATE, Speech
from ms2sl.client import Client
from ms2sl.data.pose_format_io import from_bytes, to_bytes
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.data.types import Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.inference.batch_output import OutputFolder
from ms2sl.inference.sampling_config import Sampling
from ms2sl.mlflow_model import SignModel
from ms2sl.systems.ms2sl.producer import MS2SLProducer

STEPS, SEED, SECONDS = 1, 3, 2.0
TEXTS = {
    "word": "cab",
    "phrase": "Bad cab, dab!",
    "empty": "",
    "spaces": " \u2028 ",
    "emoji": "cab 🙂",
    "new-emoji": "cab \U0001f6d8",
    "decomposed": "ba\u0308d",
    "right-to-left": "\u200fשלום",
    "hidden-marks": "\u200fcab\u200e",
    "long": "bad cab dad " * 250,
    "newlines": "cab\nbad\r\n\r\ndab",
    "separators": "cab\u2028bad\x85dab\x0c",
    "quotes": '"cab" said ‘bad"',
    "private-use": "ca\ue000b",
    "control": "ca\x07b",
    "None": "None",
    "nan": "nan",
}


def wav(kind: str = "WAV", subtype: str | None = "PCM_16", rate: int = 16_000, channels: int = 1, scale: float = 0.2) -> bytes:
    """Six seconds of bursts of noise, with pauses between them."""
    at = np.arange(6 * rate) / rate
    sound = np.random.default_rng(0).normal(0, scale, len(at)) * (at % 2 < 1)
    file = io.BytesIO()
    soundfile.write(file, np.repeat(sound[:, None], channels, axis=1), rate, format=kind, subtype=subtype)
    return file.getvalue()


def of(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples.astype(np.float32), 16_000, format="WAV", subtype="FLOAT")
    return file.getvalue()


RECORDINGS = {
    "pcm16.wav": wav(),
    "pcm8.wav": wav(subtype="PCM_U8"),
    "pcm24.wav": wav(subtype="PCM_24"),
    "float.wav": wav(subtype="FLOAT"),
    "quiet.wav": wav(subtype="FLOAT", scale=0.002),
    "integers-in-floats.wav": wav(subtype="FLOAT", scale=8000),
    "stereo.wav": wav(channels=2),
    "six-channels.wav": wav(channels=6),
    "telephone.wav": wav(rate=8_000),
    "studio.wav": wav(rate=48_000),
    "flac.flac": wav("FLAC"),
    "vorbis.ogg": wav("OGG", "VORBIS"),
    "mpeg.mp3": wav("MP3", "MPEG_LAYER_III", 44_100),
    "apple.aiff": wav("AIFF"),
    "cut-short.wav": wav()[:100_000],
    "header-alone.wav": wav()[:44],
    "silence.wav": of(np.zeros(16_000)),
    "nan.wav": of(np.full(16_000, np.nan)),
    "an-instant.wav": of(np.random.default_rng(0).normal(0, 0.1, 100)),
    "no-sound.wav": b"this is a text",
    "nothing.wav": b"",
}


@pytest.fixture(scope="module")
def expected(service) -> dict[str, Poses | str]:
    """What the producer alone makes of each, or why it makes nothing."""
    producer = MS2SLProducer.load(service.model, options=Sampling(steps=STEPS))

    def one(name: str) -> Poses | str:
        try:
            said = {"text": TEXTS[name]} if name in TEXTS else {"speech": Speech.decode(RECORDINGS[name], name, rate=SAMPLE_RATE)}
            return producer.produce([Utterance(name.partition(".")[0], seconds=SECONDS, **said)], seed=SEED)[0]
        except InputError as error:
            return cause(error)

    return {name: one(name) for name in [*TEXTS, *RECORDINGS]}


def cause(error: object) -> str:
    """A reason without the names that each way gives to what it refuses."""
    named = re.compile(r"^[\w-]+: |^\S*/")
    reason = str(error)
    while (less := named.sub("", reason)) != reason:
        reason = less
    for name in RECORDINGS:
        reason = reason.replace(name, "speech")
    return reason


def check(found: dict[str, Poses | str], expected: dict[str, Poses | str], precision: float) -> None:
    for name, each in found.items():
        wanted = expected[name]
        assert type(each) is type(wanted), (name, each, wanted)
        if isinstance(each, str):
            assert each == wanted, name
            continue
        assert each.joints.shape == wanted.joints.shape, name
        assert np.abs(each.joints - wanted.joints).max() < precision, name


def test_what_is_signed_and_what_is_not(expected):
    """So that the ways are not the same by refusing all."""
    refused = {"empty", "spaces", "emoji", "new-emoji", "decomposed", "right-to-left", "private-use", "control"}
    refused |= {"header-alone.wav", "silence.wav", "nan.wav", "an-instant.wav", "no-sound.wav", "nothing.wav"}
    assert {name for name, each in expected.items() if isinstance(each, str)} == refused


def test_one_by_one_on_the_command_line(service, expected, tmp_path):
    def one(name: str) -> Poses | str:
        if name in RECORDINGS:
            (tmp_path / name).write_bytes(RECORDINGS[name])
        said = f"--text={TEXTS[name]}" if name in TEXTS else f"--speech={tmp_path / name}"
        out = tmp_path / f"out-{name}"
        chosen = [f"--model={service.model}", f"--steps={STEPS}", f"--seed={SEED}", f"--duration={SECONDS}", f"--out={out}"]
        try:
            run(ProduceCommand.parse([said, *chosen]))
        except InputError as error:
            return cause(error)
        (file,) = out.glob("*.pose")
        return from_bytes(file.read_bytes(), HOLISTIC_49X2).poses

    in_files = {
        name: from_bytes(to_bytes(each, HOLISTIC_49X2), HOLISTIC_49X2).poses if isinstance(each, Poses) else each
        for name, each in expected.items()
    }
    check({name: one(name) for name in [*TEXTS, *RECORDINGS]}, in_files, 0.5)  # pixels


@pytest.mark.parametrize("kind", ["jsonl", "folder"])
def test_many_at_once(service, expected, tmp_path, kind):
    given = tmp_path / "given"
    if kind == "folder":
        given.mkdir()
        for name, content in RECORDINGS.items():
            (given / name).write_bytes(content)
        names = {name.partition(".")[0]: name for name in RECORDINGS}
    else:
        given = tmp_path / "given.jsonl"
        given.write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in TEXTS.items()))
        names = {name: name for name in TEXTS}
    out = tmp_path / "out"
    run(ProduceCommand(model=service.model, utterances=given, out=out, steps=STEPS, seed=SEED, duration=SECONDS, batch_size=8))
    found = {names[clip.id]: clip.poses for clip in OutputFolder(out).clips()}
    for name, reason in json.loads((out / "failed.json").read_text(encoding="utf-8")).items():
        found[names[name]] = cause(reason)
    assert found.keys() == set(names.values())
    check(found, expected, 2e-3)  # files of batches hold steps of 1/1024


def test_the_service_and_its_client(service, expected):
    client, options = Client(service.url), {"steps": STEPS, "seed": SEED, "duration": SECONDS}

    def one(name: str) -> Poses | str:
        try:
            return client.sign(TEXTS.get(name, RECORDINGS.get(name)), **options)
        except InputError as error:
            return cause(error)

    check({name: one(name) for name in expected}, expected, 5e-3)
    for name, text in TEXTS.items():
        answer = service.sign(text, headers={"Accept": "application/json"}, **options)
        assert answer.ok == isinstance(expected[name], Poses), name
        assert answer.ok or cause(answer.json()["detail"]) == expected[name], name


def test_the_model_of_mlflow(service):
    producer, signer = MS2SLProducer.load(service.model, options=Sampling(steps=STEPS)), SignModel()
    signer.load_context(SimpleNamespace(artifacts={"checkpoint": str(service.model)}))

    def one(make) -> Poses | str:
        try:
            return make()
        except InputError as error:
            return cause(error)

    def predicted(text: str) -> Poses:
        (row,) = signer.predict(None, [text], {"steps": STEPS, "seed": SEED})
        return Poses(row["joints"], row["confidence"], row["fps"])

    for name, text in TEXTS.items():
        if name != "long":
            alone = one(lambda text=text: producer.produce([Utterance("u", text=text)], seed=SEED)[0])
            check({name: one(lambda text=text: predicted(text))}, {name: alone}, 1e-3)
