import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from PIL import Image

from jobs.cli import NOTHING_DONE, SOME_FAILED
from jobs.produce import ProduceCommand, run
from ms2sl.corpora.slrtp import Slrtp, SlrtpConfig
from ms2sl.data.dataset import Dataset
from ms2sl.data.pose_format_io import from_bytes
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.errors import InputError
from ms2sl.inference.batch_output import OutputFolder
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.training.checkpoint import ModelCard
from tests.conftest import prepare
from tests.corpora import builders

pytestmark = pytest.mark.usefixtures("ray_cluster")
WORDS = ["cab", "bad", "dab", "abba", "cabs", "deaf", "bead", "fade"]


def produced_ids(out) -> list[str]:
    return sorted(id for part in (Path(out) / "parts").glob("*.parquet") for id in pq.read_table(part)["id"].to_pylist())


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS) + "\n")
    return path


def test_a_file_of_texts_becomes_pose_files_and_parquet(tiny_checkpoint, words, tmp_path):
    out = tmp_path / "out"
    run(ProduceCommand(model=tiny_checkpoint, utterances=words, out=out, steps=2, batch_size=3))
    assert produced_ids(out) == [f"{i:06d}" for i in range(len(WORDS))]
    poses = from_bytes((out / "poses" / "000000.pose").read_bytes(), HOLISTIC_49X2).poses
    assert np.isfinite(poses.joints).all()


def test_run_again_it_makes_only_what_is_missing(tiny_checkpoint, words, tmp_path, capsys):
    options = ProduceCommand(model=tiny_checkpoint, utterances=words, out=tmp_path / "out", steps=1)
    assert run(options) == 0
    words.write_text(words.read_text() + "ace\n")
    run(options)
    assert "1 produced, 8 were there already" in capsys.readouterr().out
    assert produced_ids(options.out) == [f"{i:06d}" for i in range(9)]


def test_a_line_that_is_put_in_front_is_made_and_the_others_keep_their_ids(tiny_checkpoint, words, tmp_path, capsys):
    options = ProduceCommand(model=tiny_checkpoint, utterances=words, out=tmp_path / "out", steps=1)
    run(options)
    times = {path.name: path.stat().st_mtime_ns for path in (Path(options.out) / "poses").iterdir()}
    words.write_text("ace\n" + words.read_text())
    run(options)
    assert "1 produced, 8 were there already" in capsys.readouterr().out
    after = {path.name: path.stat().st_mtime_ns for path in (Path(options.out) / "poses").iterdir()}
    assert after.keys() - times.keys() == {"000008.pose"}
    assert times.items() <= after.items()
    made = {clip.id: clip.text for clip in OutputFolder(options.out).clips()}
    assert made == {f"{i:06d}": word for i, word in enumerate([*WORDS, "ace"])}


def test_what_cannot_be_said_is_counted_and_the_rest_is_made(tiny_checkpoint, tmp_path, capsys):
    path = tmp_path / "words.csv"
    path.write_text("id,text\ngood,cab\nempty,\nforeign,caß\n")
    options = ProduceCommand(model=tiny_checkpoint, utterances=path, out=tmp_path / "out", steps=1)
    assert run(options) == SOME_FAILED
    assert produced_ids(tmp_path / "out") == ["good"]
    assert set(json.loads((tmp_path / "out" / "failed.json").read_text())) == {"empty", "foreign"}
    said = capsys.readouterr().out
    assert "1 produced, 0 were there already, 2 failed" in said
    assert "3 utterances found: 1 used, 0 used in part or mended, 2 refused, 0 ignored" in said
    assert run(options) == SOME_FAILED
    path.write_text("id,text\nempty,\nforeign,caß\n")
    assert run(options.model_copy(update={"out": str(tmp_path / "other")})) == NOTHING_DONE


def test_sentences_of_any_length_are_signed_as_one_by_one(tiny_checkpoint, tmp_path):
    path, out = tmp_path / "words.csv", tmp_path / "out"
    path.write_text('id,text\nspaces,cab bad\nmarks,"Cab, dab!"\nforeign,caß\nlong,' + "bad dad " * 100 + "\n")
    assert run(ProduceCommand(model=tiny_checkpoint, utterances=path, out=out, steps=1)) == SOME_FAILED
    assert produced_ids(out) == ["long", "marks", "spaces"]
    assert run(ProduceCommand(model=tiny_checkpoint, text="cab bad", out=tmp_path / "one", steps=1)) == 0
    batch, single = ((tmp_path / name).read_bytes() for name in ("out/poses/spaces.pose", "one/cab_bad.pose"))
    one, other = (from_bytes(content, HOLISTIC_49X2).poses for content in (batch, single))
    assert np.allclose(one.joints, other.joints, atol=1e-3)


def test_what_is_produced_can_be_read_by_the_slrtp_challenge(tiny_model, tiny_checkpoint, words, tmp_path):
    corpus = Slrtp(SlrtpConfig(source=str(builders.slrtp(tmp_path / "corpus"))))
    dataset = Dataset(prepare(corpus, tmp_path / "data"))
    task = MS2SLTask(dataset, tiny_model, LossWeights(), ModelCard.of("ms2sl", tiny_model, dataset.card))
    task.save(tmp_path / "model", task.module.state_dict())
    path = tmp_path / "sentences.csv"
    path.write_text("id,text\none,es regnet\ntwo,regnet es\n")
    out = tmp_path / "out"
    run(ProduceCommand(model=tmp_path / "model", utterances=path, out=out, steps=1, slrtp=True))
    written = torch.load(out / "slrtp.pt", weights_only=True)
    assert {name: entry["text"] for name, entry in written.items()} == {"one": "es regnet", "two": "regnet es"}
    (out / "slrtp.pt").rename(out / "train.pt")
    again = Slrtp(SlrtpConfig(source=str(out))).clip(0)
    [produced] = [clip for clip in OutputFolder(out).clips() if clip.id == again.id]
    assert again.poses.joints.std() < 0.5 * produced.poses.joints.std(), "in the corpus's own unit, a third of a shoulder width"
    moved = (dataset.card.placement.unit * produced.poses.joints + np.array(dataset.card.placement.origin)).astype(np.float32)
    assert np.allclose(again.poses.joints, moved, atol=1e-6)
    with pytest.raises(InputError, match="--slrtp writes a file of many utterances"):
        run(ProduceCommand(model=tmp_path / "model", text="es regnet", out=out, slrtp=True))
    with pytest.raises(InputError, match="--slrtp needs a model of skeleton holistic-178x3, and this one is of holistic-49x2"):
        run(ProduceCommand(model=tiny_checkpoint, utterances=words, out=tmp_path / "other", slrtp=True))


def test_a_folder_of_recordings(tiny_checkpoint, tmp_path, capsys):
    folder = tmp_path / "audio"
    folder.mkdir()
    soundfile.write(folder / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 22050), 22050)
    (folder / "broken.mp3").write_bytes(b"no audio at all")
    (folder / "notes.txt").touch()
    soundfile.write(folder / "opposite.wav", np.random.default_rng(0).normal(0, 0.1, (22050, 1)) * [1, -1], 22050)
    run(ProduceCommand(model=tiny_checkpoint, utterances=folder, out=tmp_path / "out", steps=1))
    assert produced_ids(tmp_path / "out") == ["noise", "opposite"]
    said = capsys.readouterr().out
    assert "remark: opposite.wav has 2 channels that cancel each other" in said
    assert "no recordings by their names, and left out: 1 .txt" in said
    assert set(json.loads((tmp_path / "out" / "failed.json").read_text())) == {"broken"}


def test_languages_that_the_model_did_not_learn_are_remarked_once_each_and_counted(tiny_checkpoint, tmp_path, capsys):
    path, out = tmp_path / "words.csv", tmp_path / "out"
    path.write_text("id,text,signed_language\na,cab,bfi\nb,bad,bfi\nc,dab,gsg\nd,ace,ase\ne,fade,\nf,bead,und\n")
    assert run(ProduceCommand(model=tiny_checkpoint, utterances=path, out=out, steps=1, batch_size=2, signed_language="bfi")) == 0
    said = capsys.readouterr().out
    remark = "signed_language {} is ignored: the model signs as it learned, from ase"
    assert f"remark: {remark.format('bfi')} (3 utterances)\n" in said
    assert f"remark: {remark.format('gsg')}\n" in said
    assert "6 utterances found: 2 used, 4 used in part or mended, 0 refused, 0 ignored\n" in said
    assert f"  used in part or mended: 3 × {remark.format('bfi')}; 1 × {remark.format('gsg')}\n" in said
    kept = {row["id"]: row["remarks"] for part in (out / "parts").iterdir() for row in pq.read_table(part).to_pylist()}
    assert kept == {name: remark.format("bfi") for name in "abe"} | {"c": remark.format("gsg"), "d": None, "f": None}


def test_other_settings_do_not_mix_in_one_folder(tiny_checkpoint, words, tmp_path):
    options = ProduceCommand(model=tiny_checkpoint, utterances=words, out=tmp_path / "out", steps=5)
    run(options)
    with pytest.raises(InputError, match="another seed"):
        run(options.model_copy(update={"seed": 5}))
    with pytest.raises(InputError, match="another sampler"):
        run(options.model_copy(update={"sampler": "dpm++"}))
    run(options.model_copy(update={"sampler": "dpm++", "out": str(tmp_path / "other")}))
    one, other = (from_bytes((tmp_path / out / "poses" / "000000.pose").read_bytes(), HOLISTIC_49X2).poses for out in ("out", "other"))
    assert not np.allclose(one.joints, other.joints, atol=1e-3)
    with pytest.raises(InputError, match=r"sampler: .*'ddim' or 'dpm\+\+'"):
        ProduceCommand.parse(["--sampler", "euler"])


def test_one_text_gives_a_pose_file_and_a_gif_of_the_length_asked_for(tiny_checkpoint, tmp_path):
    run(ProduceCommand(model=tiny_checkpoint, text="Cab", out=tmp_path, steps=1, duration=2))
    assert from_bytes((tmp_path / "Cab.pose").read_bytes(), HOLISTIC_49X2).poses.n_frames == 25
    assert Image.open(tmp_path / "Cab.gif").n_frames > 1


@pytest.mark.slow
def test_killed_half_way_and_run_again_each_utterance_is_made_once(tiny_checkpoint, tmp_path, ray_cluster, on_cluster):
    rng, n = np.random.default_rng(0), 150
    path, out = tmp_path / "many.txt", tmp_path / "out"
    path.write_text("\n".join("".join(rng.choice(list("abcde"), 5)) for _ in range(n)))
    options = ["--model", tiny_checkpoint, "--utterances", path, "--out", out, "--steps", "50", "--batch-size", "5"]
    script = [sys.executable, "-m", "jobs.produce", *map(str, options)]
    first = subprocess.Popen(script, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=on_cluster)
    deadline = time.monotonic() + 90
    while not list(out.glob("parts/*.parquet")):
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    while ray_cluster.available_resources().get("CPU", 0) < ray_cluster.cluster_resources()["CPU"]:  # until its workers are gone
        assert time.monotonic() < deadline
        time.sleep(0.1)
    done = len(produced_ids(out))
    assert 0 < done < n
    again = subprocess.run(script, capture_output=True, text=True, check=True, env=on_cluster)
    assert f"{n - done} produced, {done} were there already" in again.stdout
    assert produced_ids(out) == [f"{i:06d}" for i in range(n)]
    assert len(list((out / "poses").glob("*.pose"))) == n
