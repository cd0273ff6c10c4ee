"""The tests in this folder run on the CPU everywhere, and on a GPU too where there is one (``pytest tests/gpu``)."""

import pytest
import torch

from ms2sl.data.batch_sampler import split_batches
from ms2sl.data.collate import Batch
from ms2sl.data.dataset import Dataset
from ms2sl.systems.recogniser import RecogniserConfig
from ms2sl.systems.registry import system, trainable
from ms2sl.systems.translator.model import TranslatorConfig
from ms2sl.training.checkpoint import ModelCard
from ms2sl.training.loop import Task

GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"))


@pytest.fixture(params=["cpu", GPU])
def device(request) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(params=[GPU])
def gpu(request) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(params=[each.kind for each in trainable()])
def task(request, tiny_dataset, tiny_model) -> Task:
    """Of each system that is trained, the same weights each time."""
    torch.manual_seed(0)
    shapes = {
        "ms2sl": tiny_model,
        "recogniser": RecogniserConfig(width=16, heads=2, layers=1, dropout=0.0),
        "translator": TranslatorConfig(vocabulary="characters", width=16, heads=2, layers=1, dropout=0.0),
    }
    of, dataset = system(request.param), Dataset(tiny_dataset)
    sections = {name: kind() for name, kind in of.sections.items()} | {next(iter(of.sections)): shapes[request.param]}
    return of.task(dataset, sections, ModelCard.of(of.kind, shapes[request.param], dataset.card))


@pytest.fixture
def batch(task) -> Batch:
    return next(iter(split_batches(task.dataset, "train", task.collate, 8)))
