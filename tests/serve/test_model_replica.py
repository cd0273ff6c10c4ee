"""Models that a sampler goes over to."""

import asyncio
import threading
from pathlib import Path

import pytest
import torch

from ms2sl.inference.producer import Producer
from ms2sl.model_uri import resolve_model
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from ms2sl.training import checkpoint
from ms2sl.training.checkpoint import WEIGHTS, read_card
from serve import model_replica as module
from serve.model_replica import Sampler


@pytest.fixture(scope="module")
def models(tiny_checkpoint, tmp_path_factory) -> list[Path]:
    """Four checkpoints of different weights."""
    weights, folders = MS2SLProducer.load(tiny_checkpoint).model.state_dict(), [tiny_checkpoint]
    for number in range(1, 4):
        folders.append(tmp_path_factory.mktemp("model"))
        checkpoint.save(folders[-1], read_card(tiny_checkpoint, "ms2sl"), {name: w * (1 + number / 10) for name, w in weights.items()})
    return folders


class Loads:
    """Holds each model before its warm-up until ``gate`` is open; counts how many are loaded at once and in all."""

    def __init__(self):
        self.now = self.most = self.all = 0
        self.gate, self.lock = threading.Event(), threading.Lock()
        self.gate.set()

    def __call__(self, producer: Producer, batch: int) -> None:
        with self.lock:
            self.now, self.all = self.now + 1, self.all + 1
            self.most = max(self.most, self.now)
        assert self.gate.wait(30)
        with self.lock:
            self.now -= 1


@pytest.fixture
def loads(monkeypatch) -> Loads:
    monkeypatch.setattr(module, "warm_up", loads := Loads())
    return loads


def deployed(models: list[Path], loads: Loads) -> Sampler:
    """After the first model is served, the others are deployed one right after another, while the second is being loaded."""

    async def deploy() -> Sampler:
        threads = torch.get_num_threads()
        sampler = Sampler(threads, 2, "cpu", "fp32")
        for number, model in enumerate(models):
            await sampler.reconfigure({"model": str(model), "tracking": None})
            if number == 0:
                loads.gate.clear()
            while loads.all < min(number + 1, 2):
                await asyncio.sleep(0.01)
        for _ in range(50):  # time in which another would begin
            if loads.now < 2:
                await asyncio.sleep(0.01)
        loads.gate.set()
        while not sampler._loading.done():
            await asyncio.sleep(0.01)
        return sampler

    return asyncio.run(asyncio.wait_for(deploy(), 60))


def fingerprint(model: Path) -> str:
    return resolve_model(str(model)).version


def test_models_are_loaded_one_at_a_time_and_the_newest_is_served(models, loads):
    sampler = deployed(models, loads)
    assert loads.most == 1
    assert list(sampler.loaded) == [fingerprint(models[0]), fingerprint(models[3])]
    assert loads.all == 3  # the third one's turn came too late
    assert not sampler.failure


def test_the_newest_that_cannot_be_loaded_leaves_what_is_served(models, loads, tmp_path):
    damaged = tmp_path / "damaged"
    checkpoint.save(damaged, read_card(models[0], "ms2sl"), {})
    (damaged / WEIGHTS).write_bytes(b"damaged")
    sampler = deployed([*models[:2], damaged], loads)
    assert sampler.version == fingerprint(models[0])
    assert "could not be loaded" in sampler.failure


def test_a_failure_is_forgotten_when_a_newer_model_is_served(models, loads, tmp_path):
    damaged = tmp_path / "damaged"
    checkpoint.save(damaged, read_card(models[0], "ms2sl"), {})
    (damaged / WEIGHTS).write_bytes(b"damaged")
    sampler = deployed([models[0], models[1], damaged, models[2]], loads)
    assert sampler.version == fingerprint(models[2])
    assert not sampler.failure


def test_no_more_than_two_models_are_in_memory(models, loads, monkeypatch):
    sampler, seen = Sampler(torch.get_num_threads(), 2, "cpu", "fp32"), []
    load = MS2SLProducer.load

    def counted(*arguments, **options) -> MS2SLProducer:
        seen.append(len(sampler.loaded))
        return load(*arguments, **options)

    monkeypatch.setattr(MS2SLProducer, "load", counted)

    async def deploy() -> None:
        for model in models:
            await sampler.reconfigure({"model": str(model), "tracking": None})
            if sampler._loading is not None:
                await sampler._loading

    asyncio.run(asyncio.wait_for(deploy(), 60))
    assert seen == [0, 1, 1, 1]
    assert list(sampler.loaded) == list(map(fingerprint, models[2:]))
