from pathlib import Path

import pytest

from jobs.prepare import PrepareCommand, prepare
from ms2sl.dataset import Dataset
from ms2sl.errors import InputError
from ms2sl.features.base import TextConfig
from ms2sl.preparing import fingerprint

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
    shards = {path: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}
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


def test_an_unknown_featurizer_is_named(options, tmp_path):
    with pytest.raises(InputError, match="there are: bytes"):
        prepare(options.model_copy(update={"out": tmp_path, "text": TextConfig(featurizer="clap")}))
