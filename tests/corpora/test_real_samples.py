"""Small pieces of the real corpora, which cannot be distributed: MS2SL_SAMPLES names the folder that holds them."""

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ms2sl.corpora.contract import check
from ms2sl.corpora.how2sign import How2Sign, How2SignConfig
from ms2sl.corpora.phoenix14t import Phoenix14T, Phoenix14TConfig
from ms2sl.corpora.posefiles import PoseFiles, PoseFilesConfig
from ms2sl.data.batch_sampler import EpochPlan
from ms2sl.data.dataset import Dataset
from ms2sl.data.ingest import SplitOverride
from ms2sl.data.preprocessing import without_outliers
from ms2sl.data.training_clips import TrainingClips
from ms2sl.data.types import Clip, Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.metrics.motion import movement
from ms2sl.systems.baselines import MeanPose
from ms2sl.systems.ms2sl.config import ModelConfig
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.training.checkpoint import ModelCard
from ms2sl.training.local import LocalReporter, local_batches
from ms2sl.training.loop import TrainingConfig, train
from tests.conftest import prepare

SAMPLES = Path(os.environ.get("MS2SL_SAMPLES", ""))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("MS2SL_SAMPLES" not in os.environ, reason="MS2SL_SAMPLES names no folder of real samples"),
]


def how2sign(tmp_path):
    return How2Sign(How2SignConfig(source=str(SAMPLES / "how2sign-openpose")))


def phoenix(tmp_path):
    return Phoenix14T(Phoenix14TConfig(source=str(SAMPLES / "phoenix14t-skels")))


def phoenix_texts(tmp_path):
    return Phoenix14T(Phoenix14TConfig(source=str(SAMPLES / "texts"), tables="{split}_phoenix2014t.csv"))


def dgs(tmp_path):
    """Six sentences of the Public DGS Corpus with the text of their metadata."""
    rows = []
    for file in sorted((SAMPLES / "dgs-pose" / "train").glob("*_metadata.json"))[:6]:
        sentence, name = json.loads(file.read_text())["sentence"], file.name.removesuffix("_metadata.json")
        rows.append({"id": name, "pose": f"{name}_original.pose", "text": sentence["german"], "split": "train"})
    folder = tmp_path / "dgs"
    folder.symlink_to(SAMPLES / "dgs-pose" / "train")
    (tmp_path / "clips.jsonl").write_text("\n".join(json.dumps(row | {"pose": f"dgs/{row['pose']}"}) for row in rows))
    return PoseFiles(PoseFilesConfig(source=str(tmp_path), table="clips.jsonl", spoken_language="de", signed_language="gsg"))


def files(name: str):
    return lambda tmp_path: PoseFiles(PoseFilesConfig(source=str(SAMPLES / name)))


@pytest.mark.parametrize(
    ("make", "good", "bad"),
    [
        (how2sign, 3, 0),
        (phoenix, 10, 0),
        (phoenix_texts, 50, 0),
        (dgs, 6, 0),
        (files("dgs-pose"), 32, 0),
        (files("pose-unlabelled"), 6, 0),
        (files("pose-versions"), 3, 1),  # one is of OpenPose
        (files("audio"), 3, 0),
    ],
)
def test_every_sample_keeps_to_the_contract(make, good, bad, tmp_path):
    found, rejected = check(make(tmp_path))
    assert (found, len(rejected)) == (good, bad), rejected


@pytest.mark.parametrize("make", [dgs, files("pose-unlabelled"), files("pose-versions")])
def test_hands_of_mediapipe_are_more_rigid_in_space_than_in_the_picture(make, tmp_path):
    """The palm, from the wrist to the root of the middle finger, turns; it does not become shorter."""
    corpus, ratios = make(tmp_path), []
    for index in range(len(corpus.index)):
        with contextlib.suppress(InputError):
            poses = corpus.skeleton.normalise(corpus.clip(index).poses)
            assert without_outliers(poses)[1].mean() < 0.01
            for hand in map(corpus.skeleton.part, corpus.skeleton.wrists):
                seen = (poses.confidence[:, hand] > 0).all(axis=1)
                if seen.sum() > 10:
                    palm = poses.joints[seen, hand.start + 9] - poses.joints[seen, hand.start]
                    lengths = [np.linalg.norm(palm[:, :dims], axis=1) for dims in (2, 3)]
                    flat, deep = (length.std() / length.mean() for length in lengths)
                    ratios.append(deep / flat)
    assert len(ratios) >= 3
    assert np.mean(ratios) < 0.97
    assert max(ratios) < 1.05


@pytest.mark.parametrize("make", [phoenix, how2sign, dgs])
def test_a_model_overfits_them(make, tmp_path):
    """50 × 3, 137 × 2 and 178 × 3 joints: the error falls ten times, samples from text are five times nearer than the mean pose and
    move as much as the signers."""
    dataset = Dataset(prepare(SplitOverride(make(tmp_path), "train"), tmp_path / "data"))
    clips = list(dataset.clips("train"))
    config = ModelConfig(width=128, encoder_layers=1, denoiser_layers=3)
    torch.manual_seed(0)
    task = MS2SLTask(dataset, config, LossWeights(), ModelCard.of("ms2sl", config, dataset.card))
    every = {"steps": 600, "validate_every": 600, "checkpoint_every": 600, "log_every": 10}
    training = TrainingConfig(**every, batch_size=len(clips), warmup=30, ema_decay=0.98)
    plan, reporter = EpochPlan(dataset.shards("train"), len(clips), seed=0), LocalReporter(tmp_path / "run")
    train(task, lambda step: local_batches(plan, task.collate, step), training, reporter)
    errors = [each["joint_mse"] for each in reporter.history if "joint_mse" in each]
    assert np.mean(errors[-5:]) < errors[0] / 10
    producer, mean = MS2SLProducer.load(reporter.latest()), MeanPose(TrainingClips.of_clips(clips, dataset.skeleton))
    utterances = [Utterance(clip.id, text=clip.text, seconds=clip.poses.seconds) for clip in clips]
    own, trivial = (each.produce(utterances, seed=0) for each in (producer, mean))
    assert joint_error(own, clips) < joint_error(trivial, clips) / 5
    moved = [sum(movement(poses, dataset.skeleton) for poses in some) for some in (own, [clip.poses for clip in clips])]
    assert 0.75 < moved[0] / moved[1] < 1.25


def joint_error(made: list[Poses], clips: list[Clip]) -> float:
    """Mean distance of seen joints, frame by frame, in shoulder widths."""
    pairs = zip(made, clips, strict=True)
    distances = [np.linalg.norm(a.joints - clip.poses.joints, axis=-1)[clip.poses.confidence > 0] for a, clip in pairs]
    return float(np.concatenate(distances).mean())
