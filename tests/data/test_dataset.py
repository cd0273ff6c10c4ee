import shutil
import time
import tracemalloc

import numpy as np
import pyarrow.parquet as pq
import pytest

from ms2sl.data import dataset
from ms2sl.data.dataset import Dataset, summary, write_dataset_card
from ms2sl.data.ingest import is_done, plan_shards
from ms2sl.data.shards import read_header, read_shard, write_shard
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.data.types import Clip, Poses
from ms2sl.errors import InputError
from tests.conftest import prepare


@pytest.fixture
def copy(tiny_dataset, tmp_path):
    return shutil.copytree(tiny_dataset, tmp_path / "dataset")


def test_its_card_counts_what_is_in_it(tiny_dataset, corpus):
    card = Dataset(tiny_dataset).card
    clips = [corpus.clip(i) for i in corpus.splits["train"]]
    train = card.splits["train"]
    assert train.clips == len(clips) == 40
    assert train.frames == sum(clip.poses.n_frames for clip in clips)
    assert train.hours == pytest.approx(sum(clip.poses.seconds for clip in clips) / 3600)
    assert train.with_text == sum(clip.text is not None for clip in clips)
    assert train.with_speech == sum(clip.speech is not None for clip in clips)
    assert train.longest == max(clip.poses.n_frames for clip in clips)
    assert set(card.characters) == {letter for clip in clips for letter in clip.text or ""}
    assert summary(card)[0].startswith("test: 12 clips")


def test_its_statistics_are_those_of_all_training_frames(tiny_dataset):
    dataset = Dataset(tiny_dataset)
    frames = np.concatenate([clip.poses.joints for clip in dataset.clips("train")])
    wrist, hand = dataset.skeleton.index("body/RIGHT_WRIST"), dataset.skeleton.part("right_hand")
    relative = frames[:, hand] - frames[:, [wrist]]
    assert np.allclose(np.array(dataset.card.statistics.mean)[hand], relative.mean(axis=0), atol=1e-4)
    assert np.allclose(np.array(dataset.card.statistics.deviation)[hand], relative.std(axis=0), atol=1e-4)
    seen = np.array(dataset.card.statistics.seen)
    assert (seen[hand] == 1).all()
    assert (seen[dataset.skeleton.part("left_hand")] == 0).all()


def test_no_dataset_at_all(tmp_path):
    with pytest.raises(InputError, match=r"dataset\.json is missing.*jobs\.prepare"):
        Dataset(tmp_path)


def test_a_damaged_card(copy):
    (copy / "dataset.json").write_text('{"name": 1')
    with pytest.raises(InputError, match=r"dataset\.json is damaged"):
        Dataset(copy)


def test_an_unknown_split_lists_those_there_are(tiny_dataset):
    with pytest.raises(InputError, match="it has: test, dev, train"):
        Dataset(tiny_dataset).shards("trian")


def test_a_shard_that_is_gone_or_cut_short_is_named(copy):
    (copy / "train-00001.parquet").unlink()
    with pytest.raises(InputError, match=r"train-00001\.parquet is missing"):
        Dataset(copy).shards("train")
    (copy / "train-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"train-00001\.parquet is damaged"):
        Dataset(copy).shards("train")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"skeleton": HOLISTIC_49X2.model_copy(update={"name": "other"})}, "is of skeleton other"),
        ({"fingerprint": "other"}, "prepared with other options"),
    ],
)
def test_a_shard_of_something_else(copy, change, reason):
    path = copy / "train-00002.parquet"
    write_shard(path, read_shard(path), read_header(path).model_copy(update=change))
    with pytest.raises(InputError, match=reason):
        Dataset(copy).shards("train")


class Troubled:
    """A corpus in which some clips are unfit."""

    name, skeleton, fps = "troubled", HOLISTIC_49X2, 12.5

    def __init__(self, corpus, every_train_clip=False):
        self.splits = {"train": range(0, 12), "dev": range(12, 15)}
        self.corpus, self.every = corpus, every_train_clip

    def card(self) -> dict:
        return {}

    def id(self, index: int) -> str:
        return f"clip-{index}"

    def clip(self, index: int) -> Clip:
        good = self.corpus.clip(index)
        fields = {"id": self.id(index), "split": "train" if index < 12 else "dev", "spoken_language": "en", "signed_language": "ase"}
        fields |= {"text": "cab", "poses": good.poses}
        if index == 3:
            raise InputError("its file is cut in half")
        if index in (5, 9):
            fields["text"] = "  "
        if index in (7, 9) or (self.every and index < 12):
            fields["poses"] = Poses(np.full_like(good.poses.joints, np.nan), good.poses.confidence, 12.5)
        return Clip(**fields)


def test_one_bad_clip_is_reported_and_the_others_go_on(corpus, tmp_path):
    card = Dataset(prepare(Troubled(corpus), tmp_path, shard_size=5)).card
    rejected = pq.read_table(tmp_path / "rejected.parquet").to_pylist()
    assert {row["id"]: row["reason"].split(":")[0] for row in rejected} == {
        "clip-3": "its file is cut in half",
        "clip-9": "poses left out",
    }
    assert card.rejected == 2
    train = card.splits["train"]
    assert (train.clips, train.with_text, train.with_poses, train.left_out) == (10, 9, 9, {"text": 1, "poses": 1})
    assert "left out: text of 1 clips, poses of 1 clips; the column 'remarks' of the shards says why" in summary(card)
    assert "rejected: 2 clips" in summary(card)[-1]
    remarks = {clip.id: "; ".join(clip.remarks) for clip in Dataset(tmp_path).clips("train") if clip.remarks}
    assert remarks["clip-5"].startswith("text left out: the text is empty")
    assert remarks["clip-7"].startswith("poses left out: joint body/NOSE is NaN or infinite in frame 0; mark it as unseen")


def test_a_corpus_of_which_no_training_poses_can_be_used_is_an_error(corpus, tmp_path):
    with pytest.raises(InputError, match=r"no poses of a training clip of troubled could be used \(9; the first: clip-0: poses .*NaN"):
        prepare(Troubled(corpus, every_train_clip=True), tmp_path)


def test_a_plan_has_every_clip_once_and_no_shard_of_two_splits(corpus):
    plans = plan_shards(corpus, 7)
    indices = [i for plan in plans for i in range(plan.start, plan.stop)]
    assert sorted(indices) == list(range(len(corpus)))
    assert all(
        plan.start in corpus.splits[plan.file.split("-")[0]] and plan.stop - 1 in corpus.splits[plan.file.split("-")[0]] for plan in plans
    )


def test_a_shard_is_done_only_if_it_is_whole_and_of_the_same_options(copy):
    path = copy / "train-00000.parquet"
    assert is_done(path, "test")
    assert not is_done(path, "other")
    assert not is_done(copy / "nothing.parquet", "test")
    path.write_bytes(path.read_bytes()[:-10])
    assert not is_done(path, "test")


def test_many_shards_are_described_in_their_order_however_late_each_is_read(copy, monkeypatch):
    def late(file, columns):
        time.sleep(0.02 if file.name == "train-00000.parquet" else 0)
        return read_shard(file, columns)

    before = Dataset(copy).card
    files = [shard.file for split in before.splits.values() for shard in split.shards]
    monkeypatch.setattr(dataset, "READ_AHEAD", 2)
    monkeypatch.setattr(dataset, "read_shard", late)
    after = write_dataset_card(before.name, copy, files, before.fps, before.corpus)
    assert after == before


def test_little_is_kept_of_each_shard_while_they_are_described(copy):
    first = copy / "train-00000.parquet"
    header = len(read_header(first).model_dump_json())
    for i in range(60):
        shutil.copy(first, copy / f"train-{100 + i:05d}.parquet")

    def peak(shards: int) -> int:
        files = [f"train-{100 + i:05d}.parquet" for i in range(shards)]
        tracemalloc.start()
        write_dataset_card("many", copy, files, 12.5, {})
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(60) - peak(20) < 40 * 2 * header  # parsed, one takes six times as much as in JSON
