"""What users of earlier versions have still works: a dataset, models and a run of each (tests/golden) load and give what they gave."""

import json
import tarfile
from pathlib import Path

import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from jobs.train import TrainCommand, run
from ms2sl.data.dataset import Dataset
from ms2sl.data.types import Utterance
from ms2sl.inference.sampling_config import Sampling
from ms2sl.systems import back_translation
from ms2sl.systems.ms2sl.producer import MS2SLProducer

ARCHIVES = sorted((Path(__file__).parent / "golden").glob("*.tar.xz"))
CHECKPOINT = "runs/golden/train/step-00000004"


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda archive: archive.name.removesuffix(".tar.xz"))
def golden(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    with tarfile.open(request.param) as archive:
        archive.extractall(folder, filter="data")
    return folder / request.param.name.removesuffix(".tar.xz")


@pytest.fixture(scope="module")
def expected(golden) -> dict:
    return json.loads((golden / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def clips(golden) -> list:
    dataset = Dataset(golden / "data")
    return [clip for split in dataset.card.splits for clip in dataset.clips(split)]


def test_there_are_golden_files():
    assert [archive.name for archive in ARCHIVES] == ["v0.1.tar.xz"]
    assert sum(archive.stat().st_size for archive in ARCHIVES) < 300_000


def test_clips_are_as_they_were(golden, expected, clips):
    facts = ("id", "split", "text", "gloss", "speech_source", "spoken_language", "signed_language")
    for clip, was in zip(clips, expected["clips"], strict=True):
        assert {name: getattr(clip, name) for name in facts} == {name: was[name] for name in facts}
        assert (clip.speech and len(clip.speech.waveform)) == was["samples"]
        assert (clip.poses and clip.poses.n_frames) == was["frames"]
        assert (clip.poses and (clip.poses.confidence == 0).sum()) == was["unseen"]
    with np.load(golden / "joints.npz") as joints:
        posed = {clip.id: clip.poses.joints for clip in clips if clip.poses}
        assert posed.keys() == joints.keys()
        for name, there in posed.items():
            np.testing.assert_array_equal(there, joints[name], err_msg=name)


def test_plain_pyarrow_reads_the_shards(golden, expected):
    """As the documentation of the format says: whoever has read them by that goes on reading them."""
    tables = [pq.read_table(path) for path in sorted((golden / "data").glob("*-0*.parquet"))]
    rows = {row["id"]: row for table in tables for row in table.to_pylist()}
    assert {name: row["n_frames"] or None for name, row in rows.items()} == {clip["id"]: clip["frames"] for clip in expected["clips"]}
    with np.load(golden / "joints.npz") as joints:
        for name, there in joints.items():
            steps = np.frombuffer(rows[name]["poses"], np.int16).reshape(there.shape).cumsum(axis=0, dtype=np.int16)
            np.testing.assert_array_equal(steps / 1024, there, err_msg=name)


def test_the_model_gives_the_same_poses(golden, expected, clips):
    sampling = dict(expected["sampling"])
    producer = MS2SLProducer.load(golden / CHECKPOINT, precision=sampling.pop("precision"), options=Sampling(**sampling))
    speech = next(clip.speech for clip in clips if clip.split == "dev")
    asked = {
        "text": Utterance("text", text="one two", seconds=1.0),
        "speech": Utterance("speech", speech=speech, seconds=1.0),
        "both": Utterance("both", text="seven", speech=speech, seconds=0.8),
        "long": Utterance("long", text="four five six", seconds=2.4),  # than any training clip
    }
    made = dict(zip(asked, producer.produce(list(asked.values()), seed=expected["seed"]), strict=True))
    with np.load(golden / "poses.npz") as poses:
        assert made.keys() == poses.keys()
        for name, there in poses.items():
            np.testing.assert_allclose(made[name].joints, there, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("kind", ["recogniser", "translator"])
def test_readers_read_the_same(golden, expected, clips, kind):
    written = [clip for clip in clips if clip.poses and clip.text]
    poses, texts = [clip.poses for clip in written], [clip.text for clip in written]
    reader = back_translation.load(golden / kind)
    assert reader.read(poses) == expected["readers"][kind]["read"]
    assert reader.likelihoods(poses, texts) == pytest.approx(expected["readers"][kind]["likelihoods"], abs=1e-4)


@pytest.mark.slow
def test_an_interrupted_run_goes_on(golden, expected, ray_cluster):
    """With the very batch at which it stopped: the first loss is what the run would have had without the interruption."""
    data, runs = golden / "data", golden / "runs"
    options = TrainCommand.parse(["--recipe", str(golden / "train.yaml"), "--data", str(data), "--runs", str(runs)])
    first = load_file(golden / CHECKPOINT / "model.safetensors")
    model = run(options)
    client = mlflow.MlflowClient(f"sqlite:///{runs}/mlflow.db")
    losses = client.get_metric_history((options.folder / "mlflow_run_id").read_text(), "loss")
    assert [metric.step for metric in losses] == [5, 6, 7, 8]
    assert losses[0].value == pytest.approx(expected["losses"][4], rel=1e-4)
    last = load_file(model / "model.safetensors")
    assert last.keys() == first.keys()
    assert all(tensor.isfinite().all() for tensor in last.values())
    assert not torch.equal(last["denoiser.head.weight"], first["denoiser.head.weight"])
