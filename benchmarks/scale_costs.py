"""What an hour of signing costs each step of the work, measured with the project's own code on this machine.

Clips are real recordings, whole as an estimator of keypoints wrote them, joined to the length of sentences; speech is synthesised. Seconds
are of one CPU (``time.process_time``), so that it hardly matters what else the machine does.
"""

import csv
import logging
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import soundfile
import torch
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import features
from jobs.train import TrainCommand
from ms2sl.config import read_yaml
from ms2sl.corpora.letters import lexicon
from ms2sl.corpora.posefiles import PoseFiles, PoseFilesConfig
from ms2sl.data.batch_sampler import EpochPlan, length_bucketed_batches
from ms2sl.data.collate import Batch, Collate
from ms2sl.data.dataset import COUNTED, Dataset, write_dataset_card
from ms2sl.data.ingest import featurize, import_clips, is_done, plan_shards, write_clips
from ms2sl.data.preprocessing import PreprocessConfig
from ms2sl.data.shards import ShardHeader, read_shard
from ms2sl.data.skeleton_registry import HOLISTIC_178X3
from ms2sl.data.speech_synthesis import synthesise
from ms2sl.features import featurizer
from ms2sl.features.base import SpeechConfig, TextConfig
from ms2sl.io.storage import StoragePath
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.model import MS2SL, ModelConfig
from ms2sl.training.local import LocalReporter, local_batches
from ms2sl.training.loop import train

FPS, SPREAD = 25.0, 0.5  # frames a second; deviation of the logarithm of lengths
WORDS_PER_SECOND = 2.2
CLIPS, DEV = 64, 4  # measured on; of which in dev
WARM, STEPS, BATCH = 3, 10, 16  # steps that are not counted, and that are; clips of each
RECIPE = Path(__file__).parents[1] / "jobs" / "recipes" / "sentences-train.yaml"


@dataclass(frozen=True)
class Costs:
    """Of an hour of signing.

    seconds: of a CPU, by step of the work (train: of the default model). size: bytes, by what is stored. flops: of forward and backward
    passes of the model of ``jobs/recipes/sentences-train.yaml``; parameters: of that model. checkpoint: bytes a parameter. requests: to an
    object store, by what is asked for, of one thing each.
    """

    seconds: dict[str, float]
    size: dict[str, float]
    requests: dict[str, float]
    flops: float
    parameters: int
    checkpoint: float


def write_corpus(folder: Path, clips: int, seconds: float, seed: int = 0) -> float:
    """So many `.pose` files with recordings and texts, and ``clips.csv``; their lengths are log-normal about ``seconds``. Returns hours."""
    rng = np.random.default_rng(seed)
    recordings = [Pose.read(path.read_bytes()) for path in sorted((lexicon() / "ase").glob("*.pose"))]
    words = (Path(features.__file__).parents[1] / "ms2sl" / "corpora" / "words_en.txt").read_text(encoding="utf-8").split()
    folder.mkdir(parents=True)
    frames = (rng.lognormal(-(SPREAD**2) / 2, SPREAD, clips).clip(0.2, 4) * seconds * FPS).round().astype(int)
    with (folder / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "pose", "speech", "text", "split"])
        for i, length in enumerate(frames):
            text = " ".join(rng.choice(words, max(2, round(length / FPS * WORDS_PER_SECOND))))
            (folder / f"{i}.pose").write_bytes(_joined(recordings, int(length), rng))
            speech = synthesise(text)
            soundfile.write(folder / f"{i}.flac", speech.waveform, speech.rate)
            table.writerow([f"clip-{i}", f"{i}.pose", f"{i}.flac", text, "dev" if i < DEV else "train"])
    return float(frames.sum()) / FPS / 3600


def _joined(recordings: list[Pose], frames: int, rng: np.random.Generator) -> bytes:
    parts: list[Pose] = []
    while sum(len(part.body.data) for part in parts) < frames:
        parts.append(recordings[rng.integers(len(recordings))])
    data, confidence = (
        np.concatenate([np.asarray(getattr(part.body, name)) for part in parts])[:frames] for name in ("data", "confidence")
    )
    with tempfile.TemporaryFile() as file:
        Pose(parts[0].header, NumPyPoseBody(FPS, data.astype(np.float32), confidence.astype(np.float32))).write(file)
        file.seek(0)
        return file.read()


def measure(seconds: float) -> Costs:
    """seconds: of a clip, on average."""
    spent: dict[str, float] = {}
    size: dict[str, float] = {}
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        hours = write_corpus(folder / "source", CLIPS, seconds)
        size["source"] = sum(path.stat().st_size for path in (folder / "source").iterdir()) / hours
        dataset = _prepare(PoseFiles(PoseFilesConfig(source=str(folder / "source"), table="clips.csv")), folder / "data", hours, spent)
        table = pa.concat_tables(read_shard(path) for path in (folder / "data").glob("[dt]*-*.parquet"))
        stored = sum(path.stat().st_size for path in (folder / "data").glob("*-*.parquet")) / hours
        made = sum(table[name].nbytes for name in ("text_features", "speech_features")) / hours
        size |= {"poses, speech, text": stored - made, "default features": made}
        _read(dataset, spent)
        _pretrained(folder, table["text"].to_pylist(), hours, spent, size)
        spent["train"] = _train(dataset)
        flops, parameters = _flops(folder, seconds)
        return Costs(spent, size, _requests(folder / "data"), flops, parameters, _checkpoint(dataset, folder / "run"))


@contextmanager
def _timed(spent: dict[str, float], name: str, hours: float) -> Iterator[None]:
    began = time.process_time()
    yield
    spent[name] = (time.process_time() - began) / hours


def _prepare(corpus: PoseFiles, out: Path, hours: float, spent: dict[str, float]) -> Dataset:
    """The steps of jobs.prepare in this process."""
    text, speech, plans = featurizer(TextConfig(), "text"), featurizer(SpeechConfig(), "speech"), plan_shards(corpus, CLIPS)
    header = ShardHeader(fingerprint="scale", skeleton=corpus.skeleton, text=text.features, speech=speech.features)
    with _timed(spent, "import", hours):
        tables = [import_clips(corpus, plan, PreprocessConfig()) for plan in plans]
    with _timed(spent, "default features", hours):
        tables = [featurize(table, text, speech) for table in tables]
    with _timed(spent, "write", hours):
        for plan, table in zip(plans, tables, strict=True):
            write_clips(StoragePath(out / plan.file), table, header)
    write_dataset_card(corpus.name, out, [plan.file for plan in plans], corpus.fps, corpus.card())
    return Dataset(out)


def _read(dataset: Dataset, spent: dict[str, float]) -> None:
    """What the tasks that read for a worker do, and what its thread that makes batches does."""
    collate, plan = Collate(dataset.skeleton, dataset.card.text, dataset.card.speech), EpochPlan.of(dataset, BATCH, 0)
    hours = dataset.card.splits["train"].frames / FPS / 3600
    with _timed(spent, "read", hours):
        blocks = [rows.read(collate.columns, collate.skeleton) for rows in plan.epoch(0)]

    def make_batches() -> None:
        for table in length_bucketed_batches(blocks, plan, 0):
            collate(table)

    make_batches()  # the first time, memory comes from the system
    with _timed(spent, "collate", hours):
        make_batches()


def _pretrained(folder: Path, texts: list[str], hours: float, spent: dict[str, float], size: dict[str, float]) -> None:
    """Encoders of the sizes of CLIP and HuBERT, with random weights."""
    features.clip(folder / "clip")
    speeches = features.hubert(folder / "hubert")[:4]
    text = featurizer(TextConfig(featurizer="clip", weights=str(folder / "clip")), "text")
    speech = featurizer(SpeechConfig(featurizer="hubert", weights=str(folder / "hubert"), rate=12.5), "speech")
    with _timed(spent, "CLIP", hours):
        made = text(texts)
    heard = sum(each.seconds for each in speeches) / 3600
    with _timed(spent, "HuBERT", heard):
        spoken = speech(speeches)
    size["CLIP, HuBERT"] = sum(each.nbytes for each in made) / hours + sum(each.nbytes for each in spoken) / heard


def _train(dataset: Dataset) -> float:
    """Seconds of a step of the default model, an hour of signing, without the first steps."""
    never = {"validate_every": 10**6, "checkpoint_every": 10**6, "log_every": 10**6, "steps": WARM + STEPS, "batch_size": BATCH}
    options = TrainCommand(data=str(dataset.folder), training=never)
    task, plan, marks = options.make_task(dataset, None), EpochPlan.of(dataset, BATCH, 0), []
    task.validate = lambda *_: {}  # type: ignore[method-assign]

    def batches(start: int):
        for batch in local_batches(plan, task.collate, start):
            marks.append((time.process_time(), int(batch.n_frames.sum())))
            yield batch

    train(task, batches, options.training, LocalReporter())
    counted = marks[WARM:]
    return (counted[-1][0] - counted[0][0]) / (sum(frames for _, frames in counted[:-1]) / FPS / 3600)


def _checkpoint(dataset: Dataset, folder: Path) -> float:
    """Bytes a parameter, of a model smaller than those that it is used for."""
    options = TrainCommand(data=str(dataset.folder), training={"steps": 1, "batch_size": 2}, model={"width": 96})
    task, plan = options.make_task(dataset, None), EpochPlan.of(dataset, 2, 0)
    task.validate = lambda *_: {}  # type: ignore[method-assign]
    train(task, lambda step: local_batches(plan, task.collate, step), options.training, LocalReporter(folder))
    weights = sum(parameter.numel() for parameter in task.module.parameters())
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / weights


def _flops(folder: Path, seconds: float) -> tuple[float, int]:
    """Of forward and backward passes, an hour of signing, and the number of parameters, of the recipe's model."""
    torch.manual_seed(0)
    text = featurizer(TextConfig(featurizer="clip", weights=str(folder / "clip")), "text").features
    speech = featurizer(SpeechConfig(featurizer="hubert", weights=str(folder / "hubert"), rate=12.5), "speech").features
    model = MS2SL(ModelConfig(**read_yaml(RECIPE)["model"]), HOLISTIC_178X3, text, speech)
    clips, frames, rng = 4, round(seconds * FPS), np.random.default_rng(0)
    tokens = {"text": round(seconds * WORDS_PER_SECOND) + 2, "speech": round(seconds * 12.5)}
    collate = Collate(HOLISTIC_178X3, text, speech)

    def some(*shape: int) -> list[np.ndarray]:
        return [rng.random(shape, np.float32) for _ in range(clips)]

    poses = collate.pose_field(some(frames, HOLISTIC_178X3.n_joints, HOLISTIC_178X3.dims), some(frames, HOLISTIC_178X3.n_joints))
    spoken = {name: collate.feature_field(name, some(n, getattr(collate, name).dim)) for name, n in tokens.items()}
    batch = Batch({"poses": poses} | spoken)
    with FlopCounterMode(display=False) as counter:
        model(batch, LossWeights(), torch.Generator().manual_seed(0))["loss"].backward()
    return counter.get_total_flops() / (clips * seconds / 3600), sum(parameter.numel() for parameter in model.parameters())


def _requests(data: Path) -> dict[str, float]:
    """To a server that speaks S3, in this process: counted in its log."""
    from moto.server import ThreadedMotoServer

    server, counted = ThreadedMotoServer("127.0.0.1", 0, verbose=False), logging.Handler()
    told: list[str] = []
    counted.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    server.start()
    logger = logging.getLogger("werkzeug")
    logger.handlers, logger.propagate = [counted], False
    logger.setLevel(logging.INFO)
    try:
        port = server.get_host_and_port()[1]
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT"), timeout=60)
        place = StoragePath(f"s3://key:secret@bucket/data?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1")
        place.upload(data)
        dataset = Dataset(place)
        files = [shard.file for split in dataset.card.splits.values() for shard in split.shards]
        collate = Collate(dataset.skeleton, dataset.card.text, dataset.card.speech)

        def count(act: Callable[[], object]) -> int:
            before = len(told)
            act()
            return len(told) - before

        return {
            "stamps of 1,000 files": count(place.stamps),  # of one that has fewer
            "is a shard done": count(lambda: is_done(place / files[0], "scale")),
            "describe a shard": count(lambda: read_shard(place / files[0], COUNTED)),
            "read a shard": count(lambda: read_shard(place / files[0], collate.columns)),
            "write a shard": count(lambda: (place / "again.parquet").write(b"0" * 2**20)),
        }
    finally:
        server.stop()
