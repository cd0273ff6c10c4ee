import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ms2sl.data.dataset import Dataset
from ms2sl.data.shards import read_shard
from ms2sl.evaluation import judged_clips as judged_clips_module
from ms2sl.evaluation import measurements
from ms2sl.evaluation.evaluator import Evaluator, SystemUnderTest, columns, real_signing
from ms2sl.evaluation.judged_clips import PLACES, JudgedClips, judged_clips
from ms2sl.evaluation.measurements import Measurements, part_table
from ms2sl.inference.sampling_config import Sampling
from ms2sl.systems import back_translation

REAL, RANDOM = real_signing(), SystemUnderTest(name="random clip", kind="random clip", seeds=(0, 2))


@pytest.fixture(scope="module")
def dataset(tiny_dataset) -> Dataset:
    return Dataset(tiny_dataset)


@pytest.fixture(scope="module")
def clips(dataset) -> JudgedClips:
    return judged_clips(dataset, "test", 5)


@pytest.fixture(scope="module")
def judge(dataset, tiny_recogniser) -> Evaluator:
    return Evaluator(dataset, back_translation.load(tiny_recogniser))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(measurements, "TOGETHER", 2)


@pytest.fixture
def measured(tmp_path, clips, judge) -> Measurements:
    found = Measurements(tmp_path / "measures", [REAL, RANDOM], clips, {"data": 1})
    for part in found.missing():
        found.add(part_table(judge.rows(part.system, clips[part.start : part.start + 2]), part.name))
    return found


def test_parts_of_the_same_clips_follow_one_another(tmp_path, clips):
    missing = Measurements(tmp_path, [REAL, RANDOM], clips, {}).missing()
    assert [(part.system.name, part.start) for part in missing] == [(each.name, start) for start in (0, 2, 4) for each in (REAL, RANDOM)]
    assert len({part.name for part in missing}) == 6


def test_columns_are_those_of_all_rows_at_once(measured, clips, judge):
    rows = [row for start in (0, 2, 4) for row in judge.rows(RANDOM, clips[start : start + 2])]
    for found, expected in zip(measured.columns(RANDOM), columns(rows, RANDOM, [clip.id for clip in clips]), strict=True):
        assert found.keys() == expected.keys() - {"label", "steps", "seed"}
        for name in found:
            values = expected[name]
            assert found[name].dtype.kind == values.dtype.kind or values.dtype.kind == "U", name
            np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_what_is_not_asked_for_is_left_out(measured):
    (numbers,), (every,) = measured.columns(REAL, texts=False), measured.columns(REAL)
    assert every.keys() - numbers.keys() == {"id", "text", "read", "failed"}


def test_one_value_of_a_clip_is_that_of_the_first_seed(measured):
    first = next(measured.columns(RANDOM))
    assert [measured.first(RANDOM, number, "id") for number in range(5)] == first["id"].tolist()
    assert [measured.first(RANDOM, number, "hand_dtw") for number in range(5)] == first["hand_dtw"].tolist()


@pytest.mark.parametrize("row_group", [1, 4, 2**16])
def test_the_table_has_a_row_a_clip_and_seed_without_the_states(measured, tmp_path, monkeypatch, row_group):
    monkeypatch.setattr(measurements, "ROW_GROUP", row_group)
    measured.write_table(measurements.StoragePath(tmp_path / "measures.parquet"))
    table = pq.read_table(tmp_path / "measures.parquet")
    assert len(table) == 5 * (1 + 2)
    assert "state" not in table.column_names
    assert {"id", "label", "steps", "seed", "failed", "diversity", "letter_edits"} <= set(table.column_names)


def test_an_evaluation_that_was_interrupted_finds_its_parts_again(measured, tmp_path, clips):
    systems = [REAL, RANDOM]
    again = Measurements(tmp_path / "measures", systems, clips, {"data": 1})
    assert again.missing() == []
    gone = sorted((tmp_path / "measures").iterdir())[3]
    gone.unlink()
    assert [part.name for part in Measurements(tmp_path / "measures", systems, clips, {"data": 1}).missing()] == [gone.name]


@pytest.mark.parametrize(
    "change",
    [
        {"made_of": {"data": 2}},
        {"systems": [REAL.model_copy(update={"name": "another"})]},
        {"systems": [RANDOM.model_copy(update={"seeds": (0, 3)})]},
    ],
)
def test_parts_of_another_evaluation_are_not_taken(measured, tmp_path, clips, change):
    asked = {"systems": [REAL, RANDOM], "made_of": {"data": 1}} | change
    assert len(Measurements(tmp_path / "measures", clips=clips, **asked).missing()) == 3 * len(asked["systems"])


def test_other_options_or_another_model_in_the_same_folder_are_measured_anew(tmp_path, clips, tiny_checkpoint):
    (tmp_path / "model").mkdir()
    for file in tiny_checkpoint.iterdir():
        (tmp_path / "model" / file.name).write_bytes(file.read_bytes())
    own = SystemUnderTest(name="own", kind="ms2sl", source=str(tmp_path / "model"), options=Sampling(steps=1))

    def names(system: SystemUnderTest) -> list[str]:
        return [part.name for part in Measurements(tmp_path / "measures", [system], clips, {}).missing()]

    first = names(own)
    assert names(own) == first
    assert not set(first) & set(names(own.model_copy(update={"options": Sampling(steps=2)})))
    shutil.copytree(tmp_path / "model", tmp_path / "copied")
    assert names(own.model_copy(update={"source": str(tmp_path / "copied")})) == first, "a champion is fetched to another place each time"
    card = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(card | {"name": "trained again"}))
    assert not set(first) & set(names(own))


def test_other_clips_share_the_parts_that_are_the_same(measured, tmp_path, dataset):
    fewer = Measurements(tmp_path / "measures", [REAL, RANDOM], judged_clips(dataset, "test", 4), {"data": 1})
    assert fewer.missing() == []


def test_numbers_have_one_type_whatever_they_were_measured_in():
    rows = [{"edits": 1, "dtw": np.float32(0.1), "way": [1.0, 2.0], "state": [0.5, 0.25], "read": "a"}]
    table = part_table(rows, "x.parquet")
    assert [str(table.schema.field(name).type) for name in ("part", "edits", "dtw", "read")] == ["string", "int64", "double", "string"]
    assert [table.schema.field(name).type.value_type for name in ("way", "state")] == [pa.float64(), pa.float32()]
    assert table["dtw"].to_pylist() == [float(np.float32(0.1))]


def test_clips_are_read_when_they_are_asked_for(dataset, clips, monkeypatch):
    every = list(clips)
    assert [clip.id for clip in every] == clips.ids(0, 5) == [clip.id for clip in dataset.clips("test") if clip.text][:5]
    read = []
    monkeypatch.setattr(judged_clips_module, "read_reduced", lambda path, skeleton: read.append(path) or read_shard(path))
    fresh = judged_clips(dataset, "test", 5)
    assert (len(fresh), fresh.spoken, fresh.find(every[3].id), read) == (5, True, 3, [])
    assert [clip.id for clip in fresh[1:3]] == [clip.id for clip in every[1:3]]
    assert (fresh[-1].id, fresh[3:][0].id) == (every[4].id, every[3].id)
    first = iter(judged_clips(dataset, "train", 100))
    read.clear()
    next(first)
    assert len(read) == 1 < len(dataset.shards("train")), "the other shards are not read yet"


def test_clips_of_several_shards_stay_in_order(dataset):
    clips = judged_clips(dataset, "train", 10**6)
    assert len(set(clips.places["shard"].to_pylist())) > 1
    assert [clip.id for clip in clips] == [clip.id for clip in clips[:]] == clips.ids(0, len(clips))
    assert clips.places.schema == PLACES
    backwards = clips[::-1]
    assert [clip.id for clip in backwards] == clips.ids(0, len(clips))[::-1]


def test_numbers_that_were_whole_in_the_first_part_are_as_they_are_in_all(tmp_path, dataset):
    clips = judged_clips(dataset, "test", 4)
    found = Measurements(tmp_path / "measures", [REAL], clips, {})
    for part, values in zip(found.missing(), ([1, 2], [0.5, float("nan")]), strict=True):
        rows = [{"label": REAL.label, "steps": 0, "seed": REAL.seeds[0], "outside": value, "state": [0.0]} for value in values]
        found.add(part_table(rows, part.name))
    (columns,) = found.columns(REAL)
    assert columns["outside"][:3].tolist() == [1.0, 2.0, 0.5]
    assert np.isnan(columns["outside"][3])


def test_parts_of_another_evaluation_stay(measured, tmp_path):
    other = tmp_path / "measures" / "other.parquet"
    other.touch()
    measured.delete()
    assert list((tmp_path / "measures").iterdir()) == [other]
    other.unlink()
    measured.delete()
    assert not (tmp_path / "measures").exists()
