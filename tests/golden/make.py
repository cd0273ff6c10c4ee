"""Makes a golden archive: a dataset, models, an interrupted run, and what they give, for tests/test_golden.py.

    python tests/golden/make.py tests/golden/v0.1.tar.xz

v0.1.tar.xz was made by version 0.1.0 at commit 14c1444977, whose modules this script imports. It is never made again: it stands for what
users of that version have, and must load and give the same for ever. A new format of datasets, checkpoints or runs gets an archive of its
own beside it.

The motion and the speech are sums of sines; nothing in them was recorded from people.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import mlflow
import numpy as np
import torch
import yaml
from ms2sl.backtranslation.recogniser import RecogniserConfig, RecogniserTask
from ms2sl.backtranslation.translation_task import TranslationTask
from ms2sl.backtranslation.translator import TranslatorConfig
from ms2sl.checkpoint import ModelCard
from ms2sl.clip import Clip, Placement, Poses, Speech, Utterance
from ms2sl.dataset import Dataset, describe
from ms2sl.fitting import FitConfig
from ms2sl.preparing import featurize, import_rows, plan_shards
from ms2sl.producers.ms2sl import MS2SLProducer
from ms2sl.shards import ShardHeader, write_shard
from ms2sl.skeletons import HOLISTIC_49X2

from ms2sl import __version__, backtranslation, checkpoint
from ms2sl.features import featurizer
from ms2sl.features.base import SpeechConfig, TextConfig

FPS = 12.5
# Of each clip: split, text, seconds of speech, frames of poses; 0 and None are what it lacks.
CLIPS = (
    ("train", "one", 0.4, 12),
    ("train", "two", 0, 13),
    ("train", None, 0.4, 14),
    ("train", "four", 0, 0),
    ("train", "five ö", 0, 16),
    ("train", "six", 0, 11),
    ("dev", "seven", 0.4, 12),
    ("test", "net", 0, 10),
)
GLOSSED, HALF_SEEN = 4, 5  # of CLIPS: with gloss; with a hand that is unseen in the last frames
# Averaged weights are the weights themselves, and nothing is learned of unused letters: so the archive of the run is small.
RECIPE = {
    "task": "ms2sl",
    "name": "golden",
    "model": {"width": 8, "heads": 2, "encoder_layers": 1, "denoiser_layers": 1, "embedding": 8, "speech_rate": 100.0},
    "losses": {"ctc": 0.0},
    "hide": {"speech": 0.5},
    "training": {
        "steps": 8,
        "batch_size": 3,
        "learning_rate": 0.05,
        "warmup": 0,
        "weight_decay": 0.0,
        "ema": 0.0,
        "precision": "fp32",
        "log_every": 1,
        "validate_every": 4,
        "checkpoint_every": 4,
    },
    "workers": 1,
    "candidate": False,
}
STOPPED = 4  # step of the checkpoint that the interrupted run leaves
SAMPLING = {"steps": 4, "guidance": 1.5, "sampler": "ddim", "precision": "fp32"}
SEED = 7


class Waves:
    """The corpus of CLIPS."""

    name, skeleton, fps = "waves", HOLISTIC_49X2, FPS

    def __init__(self):
        self.splits, splits = {}, [split for split, *_ in CLIPS]
        for split in dict.fromkeys(splits):
            self.splits[split] = range(splits.index(split), splits.index(split) + splits.count(split))

    def id(self, index: int) -> str:
        return f"wave-{index}"

    def digest(self) -> str:
        return ""

    def card(self) -> dict:
        return {"description": "Generated motion: sums of sines."}

    def clip(self, index: int) -> Clip:
        split, text, seconds, frames = CLIPS[index]
        return Clip(
            id=self.id(index),
            split=split,
            spoken_language="en",
            signed_language="und",
            text=text,
            gloss="FIVE O" if index == GLOSSED else None,
            speech=hum(seconds, 150 + 20 * index) if seconds else None,
            speech_source="synthesised" if seconds else None,
            poses=wave(index, frames) if frames else None,
            placement=Placement((0.0, 0.0), 1.0, 640, 480) if frames else None,
        )


def wave(index: int, frames: int) -> Poses:
    """Smooth motion about a resting pose, in pixels."""
    rng, skeleton = np.random.default_rng(index), HOLISTIC_49X2
    rest = np.random.default_rng(99).uniform(-0.8, 0.8, (skeleton.n_joints, 2))
    rest[[skeleton.index(joint) for joint in skeleton.shoulders]] = [[0.5, 0.0], [-0.5, 0.0]]
    phase, speed = rng.uniform(0, 6, (2, skeleton.n_joints, 1))
    moved = 0.15 * np.sin(phase + speed * np.arange(frames)[:, None, None] / FPS)
    moved[:, [skeleton.index(joint) for joint in skeleton.shoulders]] = 0
    confidence = np.ones((frames, skeleton.n_joints), np.float32)
    if index == HALF_SEEN:
        confidence[-5:, skeleton.part("left_hand")] = 0
    return Poses(((rest + moved) * 100 + [320, 200]).astype(np.float32), confidence, FPS)


def hum(seconds: float, pitch: float) -> Speech:
    """Three harmonics that swell and fade."""
    t = np.arange(round(seconds * 16_000)) / 16_000
    tone = sum(np.sin(2 * np.pi * pitch * n * t) / n for n in (1, 2, 3))
    return Speech((0.2 * tone * np.sin(np.pi * t / seconds)).astype(np.float32), 16_000)


def make_dataset(folder: Path) -> Dataset:
    corpus, config = Waves(), FitConfig()
    text, speech = featurizer(TextConfig(), "text"), featurizer(SpeechConfig(), "speech")
    header = ShardHeader(fingerprint="golden", skeleton=corpus.skeleton, text=text.features, speech=speech.features)
    plans = plan_shards(corpus, 4)
    for plan in plans:
        rows, rejected = import_rows(corpus, plan, config)
        rejected += featurize(rows, text, speech)
        assert not rejected, rejected
        write_shard(folder / plan.file, rows, header)
    describe(corpus.name, folder, [plan.file for plan in plans], FPS, corpus.card())
    return Dataset(folder)


def make_readers(dataset: Dataset, folder: Path) -> None:
    """Of random weights."""
    torch.manual_seed(0)
    recogniser = RecogniserConfig(width=8, heads=2, layers=1)
    translator = TranslatorConfig(vocabulary="characters", width=8, heads=2, layers=1, longest=8)
    for kind, task, config in (("recogniser", RecogniserTask, recogniser), ("translator", TranslationTask, translator)):
        made = task(dataset, config, ModelCard.of(kind, config, dataset.card))
        for parameter in made.module.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
        checkpoint.save(folder / kind, made.card, made.module.state_dict())


def make_run(folder: Path) -> list[float]:
    """Trains until the driver is killed after a checkpoint, and keeps what that leaves; then again without interruption.

    Returns the losses of the steps of the second.
    """
    command = [sys.executable, "-m", "jobs.train", "--recipe", str(folder / "train.yaml"), "--data", str(folder / "data"), "--runs"]
    driver = subprocess.Popen([*command, str(folder / "runs")], start_new_session=True)
    run = folder / "runs" / RECIPE["name"]
    snapshot = run / "train" / "checkpoint_manager_snapshot.json"
    while not snapshot.exists() or f"step-{STOPPED:08d}" not in snapshot.read_text():
        assert driver.poll() is None
        time.sleep(0.01)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    time.sleep(10)  # until its workers are gone
    assert [path.name for path in run.glob("train/step-*")] == [f"step-{STOPPED:08d}"], "it was over before it could be killed"
    for leftover in [*run.glob("mlflow*"), *run.parent.glob("ml*"), *run.parent.glob(".*.lock")]:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()  # they hold places of the machine
    with tempfile.TemporaryDirectory() as whole:
        subprocess.run([*command, whole], check=True)
        tracked = Path(whole, RECIPE["name"], "mlflow_run_id").read_text()
        history = mlflow.MlflowClient(f"sqlite:///{whole}/mlflow.db").get_metric_history(tracked, "loss")
    return [metric.value for metric in sorted(history, key=lambda metric: metric.step)]


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def utterances(dataset: Dataset) -> dict[str, Utterance]:
    """What is produced, by the name of its poses; ``long`` is longer than the longest training clip."""
    speech = next(dataset.clips("dev")).speech
    return {
        "text": Utterance("text", text="one two", seconds=1.0),
        "speech": Utterance("speech", speech=speech, seconds=1.0),
        "both": Utterance("both", text="seven", speech=speech, seconds=0.8),
        "long": Utterance("long", text="four five six", seconds=2.4),
    }


def expect(dataset: Dataset, folder: Path, model: Path, losses: list[float]) -> None:
    """Writes what the dataset holds and what the models give."""
    clips = [clip for split in dataset.card.splits for clip in dataset.clips(split)]
    posed = [clip for clip in clips if clip.poses is not None]
    np.savez_compressed(folder / "joints.npz", **{clip.id: clip.poses.joints for clip in posed})
    asked = utterances(dataset)
    producer = MS2SLProducer.load(model, **SAMPLING)
    poses = dict(zip(asked, producer.produce(list(asked.values()), seed=SEED), strict=True))
    (other,) = producer.produce([Utterance("other", text="six", seconds=1.0)], seed=SEED)
    assert np.abs(poses["text"].joints - other.joints).max() > 0.05, "the model does not hear the text"
    np.savez_compressed(folder / "poses.npz", **{name: made.joints for name, made in poses.items()})
    real, texts = [clip.poses for clip in posed if clip.text], [clip.text for clip in posed if clip.text]
    readers = {}
    for kind in ("recogniser", "translator"):
        reader = backtranslation.load(folder / kind)
        readers[kind] = {"read": reader.read(real), "likelihoods": reader.likelihoods(real, texts)}
    described = [
        {name: getattr(clip, name) for name in ("id", "split", "text", "gloss", "speech_source", "spoken_language", "signed_language")}
        | {"frames": clip.poses and clip.poses.n_frames, "unseen": clip.poses and int((clip.poses.confidence == 0).sum())}
        | {"samples": clip.speech and len(clip.speech.waveform)}
        for clip in clips
    ]
    expected = {"version": __version__, "clips": described, "sampling": SAMPLING, "seed": SEED, "readers": readers, "losses": losses}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(archive: Path) -> None:
    assert not archive.exists(), f"{archive} is made once"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        dataset = make_dataset(folder / "data")
        make_readers(dataset, folder)
        (folder / "train.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
        losses = make_run(folder)
        expect(dataset, folder, folder / "runs" / RECIPE["name"] / "train" / f"step-{STOPPED:08d}", losses)
        with tarfile.open(archive, "w:xz", preset=9) as file:
            file.add(folder, archive.name.removesuffix(".tar.xz"), filter=anonymous)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
