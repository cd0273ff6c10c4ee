"""A part of a clip that cannot be used costs that part alone."""

import numpy as np
import pytest
import soundfile

from ms2sl.corpora.how2sign import How2Sign, How2SignConfig
from ms2sl.corpora.phoenix14t import Phoenix14T, Phoenix14TConfig
from ms2sl.corpora.posefiles import PoseFiles, PoseFilesConfig
from ms2sl.corpora.records import RecordCorpus
from ms2sl.data.ingest import by_espeak, featurize, import_clips, plan_shards, shard_fingerprints
from ms2sl.data.preprocessing import PreprocessConfig
from ms2sl.features import featurizer
from ms2sl.features.base import SpeechConfig, TextConfig
from tests.corpora import builders
from tests.features import checkpoints


def test_a_text_that_the_encoder_cannot_read_costs_neither_poses_nor_speech(tmp_path):
    root = builders.pose_files(tmp_path / "corpus")
    table = root / "clips.csv"
    table.write_text(table.read_text().replace("sentence 0", "word " * 100).replace("text alone", "alone " * 100))
    corpus = PoseFiles(PoseFilesConfig(source=str(root), table="clips.csv"))
    text = featurizer(TextConfig(featurizer="clip", weights=str(checkpoints.clip(tmp_path / "clip"))), "text")
    every = []
    for plan in plan_shards(corpus, 10):
        every += featurize(import_clips(corpus, plan, PreprocessConfig()), text, featurizer(SpeechConfig(), "speech")).to_pylist()
    rows, rejected = [row for row in every if not row["error"]], [row for row in every if row["error"]]
    assert [(row["text"], row["n_text"] > 0) for row in rows] == [(None, False), ("sentence 1", True), ("sentence 2", True)]
    assert rows[0]["n_frames"] > 0
    assert rows[0]["n_speech"] > 0
    assert rows[0]["remarks"].startswith("text left out: the text has ")
    assert rows[0]["speech_source"] == "recorded"
    [rejection] = rejected  # of which nothing is left
    assert "tokens, more than the 77 that the encoder reads" in rejection["error"]


def test_a_language_without_a_voice_costs_the_speech_alone(tmp_path):
    corpus = PoseFiles(PoseFilesConfig(source=str(builders.pose_files(tmp_path)), table="clips.csv"))  # of und
    rows = [row for plan in plan_shards(corpus, 10) for row in import_clips(corpus, plan, PreprocessConfig(), by_espeak).to_pylist()]
    assert [row["pcm"] is None for row in rows] == [False, True, True, True]
    assert rows[1]["n_frames"] > 0
    assert rows[1]["remarks"] == "speech left out: espeak-ng has no voice for the language 'und': say which language is spoken"


@pytest.mark.parametrize("silence", [np.zeros(8000), np.full(8000, 0.25), np.full(8000, 1e-9)])
def test_a_recording_in_which_nothing_is_heard_costs_the_speech_alone(tmp_path, silence):
    root = builders.pose_files(tmp_path)
    soundfile.write(root / "speech/clip-0.wav", silence, 16_000, subtype="FLOAT")
    (root / "clips.csv").write_text("id,pose,speech,split\na,poses/clip-0.pose,speech/clip-0.wav,train\nb,,speech/clip-0.wav,train\n")
    corpus = PoseFiles(PoseFilesConfig(source=str(root), table="clips.csv"))
    [plan] = plan_shards(corpus, 10)
    row, refused = import_clips(corpus, plan, PreprocessConfig()).to_pylist()
    assert (row["id"], row["pcm"], row["speech_source"], row["n_frames"] > 0) == ("a", None, None, True)
    assert row["remarks"] == "speech left out: nothing is heard in it"
    assert (refused["id"], refused["error"]) == ("b", "nothing is heard in it")


def opened(name: str, root) -> RecordCorpus:
    """Small corpora, of which each is opened anew from its options."""
    if name == "posefiles":
        return PoseFiles(PoseFilesConfig(source=str(root), table="clips.csv"))
    if name == "how2sign":
        return How2Sign(How2SignConfig(source=str(root), speech="speech", videos="videos"))
    return Phoenix14T(Phoenix14TConfig(source=str(root)))


def changed(name: str, root, change) -> list[str]:
    """Which of its shards, of a clip each, are others after a change."""
    marks = []
    for step in (lambda: None, lambda: None, change):
        step()
        corpus = opened(name, root)
        plans = plan_shards(corpus, 1)
        marks.append((shard_fingerprints({}, corpus, plans), corpus.digest()))
    assert marks[0] == marks[1], "nothing was changed"
    assert marks[1][1] != marks[2][1], "the dataset is another"
    return [file for file in marks[2][0] if marks[2][0][file] != marks[1][0].get(file)]


@pytest.mark.parametrize(
    ("name", "change", "others"),
    [
        ("posefiles", lambda root: builders.pose_file(root / "poses/clip-1.pose", seed=9, fps=25), ["train-00001"]),
        ("posefiles", lambda root: builders.speech(root / "speech/clip-0.wav", 0.7), ["train-00000"]),
        ("posefiles", lambda root: builders.pose_file(root / "poses/clip-1.pose", seed=9), ["train-00001"]),
        ("posefiles", lambda root: rewritten(root / "clips.csv", "sentence 2", "sentence two"), ["train-00002"]),
        ("posefiles", lambda root: append(root / "clips.csv", ",another text,,train,\n"), ["train-00003"]),
        ("how2sign", lambda root: rewritten(frame(root), "0.8", "0.7"), ["train-00001"]),
        ("how2sign", lambda root: frame(root).unlink(), ["train-00001"]),
        ("how2sign", lambda root: builders.speech(root / "speech/v1-rgb_front.wav"), ["train-00001"]),
        ("how2sign", lambda root: append(root / "videos/v2-rgb_front.mp4", "x"), ["train-00002"]),
        ("phoenix14t", lambda root: rewritten(root / "train.text", "regen in train/train-1", "schnee"), ["train-00001"]),
        ("phoenix14t", lambda root: rewritten(root / "dev.skels", "0", "1"), ["dev-00000", "dev-00001", "dev-00002"]),
    ],
)
def test_what_is_another_than_before_is_made_anew_and_nothing_else(tmp_path, name, change, others):
    builders_of = {"posefiles": builders.pose_files, "how2sign": builders.how2sign, "phoenix14t": builders.phoenix14t}
    root = builders_of[name](tmp_path / name)
    append(root / "videos/v2-rgb_front.mp4", "no video")
    assert changed(name, root, lambda: change(root)) == [f"{each}.parquet" for each in others]


def rewritten(path, old: str, new: str) -> None:
    """A file in which something is put in the place of something else."""
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def append(path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def frame(root):
    return next((root / "json" / "v1-rgb_front").glob("*_000000000003_*"))
