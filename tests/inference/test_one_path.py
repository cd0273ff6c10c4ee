"""One utterance, a batch, the service and the model of MLflow are one path: the same frames, the same refusals."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ms2sl.audio.speech import Speech
from ms2sl.data.dataset import Dataset
from ms2sl.data.types import Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.features import featurizer
from ms2sl.features.base import TextConfig
from ms2sl.inference.batch_output import OutputFolder, Settings
from ms2sl.inference.one_by_one import produce_each
from ms2sl.inference.sampling_config import Sampling
from ms2sl.mlflow_model import SignModel
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.systems.options import CallOptions
from ms2sl.training.checkpoint import ModelCard
from serve.model_replica import Sampler
from serve.orchestrator import SamplerPool, sign
from serve.problems import Problem
from serve.request_parsing import SignRequest
from tests.features import checkpoints

SEED, RATE = 3, 16_000


def noise(seconds: float, loudness: float = 0.1) -> Speech:
    return Speech(np.random.default_rng(0).normal(0, loudness, int(seconds * RATE)).astype(np.float32), RATE)


def pauses() -> Speech:
    """Bursts of noise with a second of silence between them, half a minute of it."""
    burst, silence = noise(1.5).waveform, np.zeros(RATE, np.float32)
    return Speech(np.concatenate([burst, silence] * 12), RATE)


TEXTS = {
    "a word": "cab",
    "several words": "bad cab, dab!",
    "upper case": "CAB Dead",
    "only marks": "?!…",
    "line feeds": "cab\nbad\n\n",
    "umlaut": "bäd",
    "another script": "手話",
    "emoji": "cab 🙂",
    "new emoji": "cab \U0001f6d8",
    "decomposed": "ba\u0308d",
    "right to left": "\u200fשלום \u200ecab",
    "quotes": '"cab" said ‘bad’',
    "line separators": "cab\u2028bad\x85dab\x0b\x0ccab",
    "private use": "ca\ue000b",
    "no UTF-8": b"b\xfcd".decode(errors="surrogateescape"),
    "control character": "ca\0b",
    "None": "None",
    "empty": "",
    "spaces alone": " \t ",
    "a long text": "bad cab dad " * 250,
    "a long word": "cabdeabfad" * 23,
}
SPEECH = {
    "speech": noise(1.0),
    "long speech": pauses(),
    "very short speech": noise(0.01),
    "silence": Speech(np.zeros(RATE, np.float32), RATE),
    "no samples": Speech(np.zeros(0, np.float32), RATE),
    "NaN": Speech(np.full(RATE, np.nan, np.float32), RATE),
}
UTTERANCES = [Utterance(name.replace(" ", "-"), text=text) for name, text in TEXTS.items()]
UTTERANCES += [Utterance(name.replace(" ", "-"), speech=speech) for name, speech in SPEECH.items()]
UTTERANCES += [
    Utterance("both", text="cab", speech=noise(1.0)),
    Utterance("both-and-a-space", text="cab bad", speech=noise(1.0)),
    Utterance("neither"),
    Utterance("of-two-seconds", text="cab bad", seconds=2.0),
    Utterance("speech-of-two-seconds", speech=noise(1.0), seconds=2.0),
    Utterance("no-time-at-all", text="cab", seconds=0.0),
    Utterance("a-day", text="cab", seconds=86_400.0),
]


@pytest.fixture(scope="module", params=["bytes", "clip"])
def model(request, tiny_dataset, tiny_model, tmp_path_factory) -> Path:
    """A tiny model of letters, or of the vectors of a CLIP that reads 77 tokens."""
    if request.param == "bytes":
        return request.getfixturevalue("tiny_checkpoint")
    folder = tmp_path_factory.mktemp("clip")
    vectors = featurizer(TextConfig(featurizer="clip", weights=str(checkpoints.clip(folder / "encoder"))), "text").features
    dataset = Dataset(tiny_dataset)
    dataset.card = dataset.card.model_copy(update={"text": vectors})
    torch.manual_seed(0)
    task = MS2SLTask(dataset, tiny_model, LossWeights(), ModelCard.of("ms2sl", tiny_model, dataset.card))
    task.save(folder / "model", task.module.state_dict())
    return folder / "model"


@pytest.fixture(scope="module")
def alone(model) -> dict[str, Poses | str]:
    """What becomes of each utterance by itself: its poses, or why there are none."""
    producer = MS2SLProducer.load(model, options=Sampling(steps=1))

    def one(utterance: Utterance) -> Poses | str:
        try:
            return producer.produce([utterance], seed=SEED)[0]
        except InputError as error:
            return str(error)

    return {utterance.id: one(utterance) for utterance in UTTERANCES}


def assert_same(made: Poses | str, alone: Poses | str, name: str) -> None:
    assert type(made) is type(alone), (name, made, alone)
    if isinstance(made, str):
        assert made == alone
        return
    assert (made.joints.shape, made.fps) == (alone.joints.shape, alone.fps), name
    assert np.allclose(made.joints, alone.joints, atol=2e-3), name  # files of batches hold steps of 1/1024


def test_a_batch_makes_and_refuses_the_same(model, alone, tmp_path):
    folder = OutputFolder(tmp_path / "out")
    folder.claim(Settings.of(model, Sampling(steps=1), seed=SEED, duration=None))
    made, failed, _ = folder.produce(MS2SLProducer.load(model, options=Sampling(steps=1)), UTTERANCES, seed=SEED)
    found = {clip.id: clip.poses for clip in folder.clips()} | dict(failed)
    assert made == len(UTTERANCES) - len(failed) == sum(isinstance(each, Poses) for each in alone.values())
    assert found.keys() == alone.keys()
    for name, each in found.items():
        assert_same(each, alone[name], name)


def test_the_service_makes_and_refuses_the_same(model, alone):
    found = asyncio.run(served(model))
    for name, each in found.items():
        assert_same(each, alone[name], name)


async def served(model: Path) -> dict[str, Poses | str]:
    """All utterances at once, so that they share batches; Ray's handle alone is left out."""
    sampler = Sampler(torch.get_num_threads(), 16, "cpu", "fp32")
    await sampler.reconfigure({"model": str(model), "tracking": None})
    samplers = SamplerPool(SimpleNamespace(step=SimpleNamespace(remote=sampler.step)), 16, 1)

    async def serving():
        return sampler.served()

    async def one(utterance: Utterance) -> Poses | str:
        ask = SignRequest(utterance, {"steps": 1}, SEED, None)
        try:
            parts = [poses async for _, poses in sign(ask, serving, samplers, CallOptions())]
        except Problem as problem:
            return problem.detail
        joints, confidence = (np.concatenate([getattr(part, key) for part in parts]) for key in ("joints", "confidence"))
        return Poses(joints, confidence, parts[0].fps)

    made = await asyncio.gather(*map(one, UTTERANCES))
    return {utterance.id: each for utterance, each in zip(UTTERANCES, made, strict=True)}


def test_the_model_of_mlflow_makes_and_refuses_the_same(model, alone):
    signer = SignModel()
    signer.load_context(SimpleNamespace(artifacts={"checkpoint": str(model)}))

    def predicted(text: str) -> Poses | str:
        try:
            (row,) = signer.predict(None, [text], {"steps": 1, "seed": SEED})
        except InputError as error:
            return str(error).partition(": ")[2]
        return Poses(row["joints"], row["confidence"], row["fps"])

    for name, text in TEXTS.items():
        expected = alone[name.replace(" ", "-")]
        assert_same(predicted(text), expected if isinstance(expected, Poses) else expected.partition(": ")[2], name)


# What a model of letters never met.
UNKNOWN = {"umlaut", "another-script", "only-marks", "emoji", "both-and-a-space", "new-emoji", "decomposed", "right-to-left"}


def test_what_is_signed_and_what_is_not(model, alone):
    """So that the paths are not the same by refusing all."""
    letters = "clip" not in str(model)
    refused = {"empty", "spaces-alone", "very-short-speech", "silence", "no-samples", "NaN", "neither", "no-time-at-all", "a-day"}
    refused |= {"private-use", "no-UTF-8", "control-character"}
    refused |= UNKNOWN if letters else {"a-long-word"}
    assert {name for name, each in alone.items() if isinstance(each, str)} == refused


class Counting:
    """Refuses texts with a ``!``; counts how often it is asked."""

    name = "counting"

    def __init__(self):
        self.batches: list[int] = []

    def produce(self, utterances, *, seed):
        self.batches.append(len(utterances))
        for utterance in utterances:
            if "!" in utterance.text:
                raise InputError(f"{utterance.id}: loud")
        return [Poses(np.full((1, 1, 2), seed, np.float32), np.ones((1, 1), np.float32), 25.0) for _ in utterances]


def test_one_that_fails_leaves_the_others_in_batches():
    producer = Counting()
    utterances = [Utterance(str(i), text="!" if i == 9 else "a") for i in range(32)]
    made = produce_each(producer, utterances, seed=0)
    assert [i for i, each in enumerate(made) if isinstance(each, InputError)] == [9]
    assert str(made[9]) == "9: loud"
    assert sorted(producer.batches) == sorted([32, 16, 16, 8, 8, 4, 4, 2, 2, 1, 1])
    assert produce_each(producer, [], seed=0) == []
