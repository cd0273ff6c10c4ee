"""Small real things for all tests: a prepared dataset, checkpoints, one Ray cluster."""

import os
import subprocess
import sys
import urllib.request

for name, value in {
    "OMP_WAIT_POLICY": "PASSIVE",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_worker_niceness": "0",  # or workers starve beside what another lane computes
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_OFFLINE": "1",  # all weights are in folders of the tests
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}.items():
    os.environ.setdefault(name, value)

from pathlib import Path

import pytest
import torch

from ms2sl.corpora.fingerspelling import Fingerspelling, FingerspellingConfig
from ms2sl.data.dataset import Dataset, write_dataset_card
from ms2sl.data.ingest import featurize, import_clips, plan_shards, write_clips
from ms2sl.data.preprocessing import PreprocessConfig
from ms2sl.data.shards import ShardHeader
from ms2sl.features import featurizer
from ms2sl.features.base import SpeechConfig, TextConfig
from ms2sl.systems.ms2sl.config import ModelConfig
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.systems.recogniser import RecogniserConfig, RecogniserTask
from ms2sl.systems.translator.model import TranslatorConfig
from ms2sl.systems.translator.task import TranslationTask
from ms2sl.training import checkpoint
from ms2sl.training.checkpoint import ModelCard

torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
SERVICE = "tests/serve/"
BYTES, LOG_MEL = featurizer(TextConfig(), "text").features, featurizer(SpeechConfig(), "speech").features


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Of several lanes each takes file after file, but for the tests of the service, which are one lane's: it is started once."""
    from xdist.scheduler import LoadFileScheduling

    class Lanes(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return SERVICE if file.startswith(SERVICE) else file

    return Lanes(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several lanes: the service and what is slow come first, so that no lane ends long after the others."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (not item.nodeid.startswith(SERVICE), item.path not in slow))


def prepare(corpus, folder: Path, shard_size: int = 10, config: PreprocessConfig | None = None) -> Path:
    """A prepared dataset, made in this process."""
    config = config or PreprocessConfig()
    text, speech = featurizer(TextConfig(), "text"), featurizer(SpeechConfig(), "speech")
    plans = plan_shards(corpus, shard_size)
    for plan in plans:
        header = ShardHeader(fingerprint="test", skeleton=corpus.skeleton, text=text.features, speech=speech.features)
        write_clips(folder / plan.file, featurize(import_clips(corpus, plan, config), text, speech), header)
    write_dataset_card(corpus.name, folder, [plan.file for plan in plans], config.fps or corpus.fps, corpus.card())
    return folder


@pytest.fixture(scope="session")
def corpus() -> Fingerspelling:
    return Fingerspelling(FingerspellingConfig(train=40, dev=12, test=12, missing_speech=0.3, missing_text=0.2))


@pytest.fixture(scope="session")
def tiny_dataset(corpus, tmp_path_factory) -> Path:
    return prepare(corpus, tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="session")
def tiny_model() -> ModelConfig:
    return ModelConfig(width=16, heads=2, encoder_layers=1, denoiser_layers=1, embedding=8)


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_dataset, tiny_model, tmp_path_factory) -> Path:
    torch.manual_seed(0)
    dataset, folder = Dataset(tiny_dataset), tmp_path_factory.mktemp("model")
    task = MS2SLTask(dataset, tiny_model, LossWeights(), ModelCard.of("ms2sl", tiny_model, dataset.card))
    for parameter in task.module.parameters():  # heads begin at zero, and a model that always says the same would hide mistakes
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    task.module.denoiser.head.bias.data[-len(dataset.skeleton.parts) :] = 9.0  # all is seen, or hidden hands would hide mistakes too
    checkpoint.save(folder, task.card, task.module.state_dict())
    return folder


@pytest.fixture(scope="session")
def tiny_recogniser(tiny_dataset, tmp_path_factory) -> Path:
    torch.manual_seed(0)
    config = RecogniserConfig(width=16, heads=2, layers=1)
    dataset, folder = Dataset(tiny_dataset), tmp_path_factory.mktemp("recogniser")
    task = RecogniserTask(dataset, config, ModelCard.of("recogniser", config, dataset.card))
    checkpoint.save(folder, task.card, task.module.state_dict())
    return folder


@pytest.fixture(scope="session")
def tiny_translator(tiny_dataset, tmp_path_factory) -> Path:
    torch.manual_seed(0)
    config = TranslatorConfig(vocabulary="characters", width=16, heads=2, layers=1, longest=8)
    dataset, folder = Dataset(tiny_dataset), tmp_path_factory.mktemp("translator")
    task = TranslationTask(dataset, config, ModelCard.of("translator", config, dataset.card))
    task.save(folder, task.module.state_dict())
    return folder


@pytest.fixture(scope="session")
def ray_cluster():
    import ray

    from jobs.cli import start_ray

    with_dashboard = {"include_dashboard": True, "dashboard_port": 8265}  # by which `serve deploy` deploys
    start_ray(num_cpus=4, object_store_memory=256 * 2**20, **with_dashboard)
    yield ray
    ray.shutdown()


S3_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)  # a port that the system chooses as it binds
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()  # until whoever started it is gone
"""


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """A bucket in a local server that speaks S3; yields the URI of a folder in it."""
    server = subprocess.Popen([sys.executable, "-c", S3_SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    port = int(server.stdout.readline())
    urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT"), timeout=60)
    yield f"s3://bucket/folder?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    server.kill()
    server.wait()
