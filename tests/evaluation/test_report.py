import json

import mlflow
import pytest
from PIL import Image

from ms2sl.data.dataset import Dataset
from ms2sl.evaluation.aggregation import summarise
from ms2sl.evaluation.evaluator import Evaluator, SystemUnderTest, columns, real_signing
from ms2sl.evaluation.judged_clips import chosen_clips
from ms2sl.evaluation.report import FOUND, MOVED, READ, STEPPED, Report
from ms2sl.evaluation.retrieval import retrieval
from ms2sl.evaluation.steps import Point
from ms2sl.inference.sampling_config import Sampling
from ms2sl.systems import back_translation
from ms2sl.tracking.tracker import Tracker, default_uri


@pytest.fixture(scope="module", params=["tiny_recogniser", "tiny_translator"])
def report(request, tiny_dataset, tiny_checkpoint) -> Report:
    """A small evaluation, with sampling steps; one clip has a text that cannot be produced."""
    dataset, reader = Dataset(tiny_dataset), back_translation.load(request.getfixturevalue(request.param))
    judge, clips = Evaluator(dataset, reader), chosen_clips(dataset, "test", 4)
    model = SystemUnderTest(
        name="ms2sl", kind="ms2sl", modality="text", source=str(tiny_checkpoint), options=Sampling(steps=1), seeds=(0, 1)
    )
    entries = [
        real_signing(),
        model,
        SystemUnderTest(name="nearest text", kind="nearest text"),
        SystemUnderTest(name="mean pose", kind="mean pose"),
    ]
    ids = [clip.id for clip in clips]
    by_entry = {entry.name: columns(judge.rows(entry, clips), entry, ids) for entry in entries}
    results = [summarise(entry.name, entry.modality, by_entry[entry.name], by_entry["real signing"][0]) for entry in entries]
    found = retrieval(judge.producer(model), clips, ("text", "speech"))
    return Report("A title", "4 clips", results, found, [Point(1, results[1], 0.01)], reader.reads)


@pytest.fixture
def unswept(report) -> Report:
    return Report(report.title, report.about, report.results, report.retrieval, [], report.reads)


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    """One database for all tests here: a fresh one costs two seconds."""
    return default_uri(tmp_path_factory.mktemp("runs"))


def strict(text: str) -> dict:
    def refuse(constant: str):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_it_leaves_its_files(report, tmp_path):
    report.write(tmp_path / "new" / "folder", {"clips": 4})
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["results.json", "results.md", "steps.png"]
    assert (tmp_path / "new" / "folder" / "results.md").read_text() == report.markdown() + "\n"
    with Image.open(tmp_path / "new" / "folder" / "steps.png") as image:
        assert image.format == "PNG"


def test_there_is_no_plot_without_steps(unswept, tmp_path):
    unswept.write(tmp_path, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "results.md"]
    assert list(unswept.tables()) == [READ, MOVED, FOUND]


def test_json_has_every_number_and_no_nan(report, tmp_path):
    report.write(tmp_path, {"clips": 4, "guidance": float("nan")})
    found = strict((tmp_path / "results.json").read_text())
    assert found["options"] == {"clips": 4, "guidance": None}
    assert [each["name"] for each in found["results"]] == ["real signing", "ms2sl", "nearest text", "mean pose"]
    for result, each in zip(report.results, found["results"], strict=True):
        assert (each["from"], each["failed"]) == (result.modality, len(result.failed))
        assert each["scores"].keys() == result.scores.keys()
        assert each["scores"]["hand_dtw"]["value"] == result.value("hand_dtw")
        assert each["scores"]["chrf"]["low"] is None, "chrF has no interval"
    assert len(found["results"][1]["scores"]["hand_dtw"]["seeds"]) == 2
    assert found["retrieval"] == report.retrieval
    (point,) = found["steps"]
    assert (point["steps"], point["latency"], point["name"]) == (1, 0.01, "ms2sl")


def test_tables_and_failures_are_in_the_text(report):
    text = report.markdown()
    for title in (READ, MOVED, FOUND, STEPPED):
        assert f"{title}:\n\n|" in text
    assert ("BLEU-4" in text) is (report.reads == "sentences")
    lost = "nearest text: 4 clips could not be produced and were judged as the mean pose; the first: ase-test-00000: "
    assert text.endswith(f"{lost}the nearest text needs a text, and training clips with one")
    assert text.count("could not be produced") == 1


def test_who_fails_always_scores_as_the_mean_pose(report):
    nearest, mean = report.results[2:]
    for name in ("hand_dtw", "letter_error", "length", "frechet"):
        assert nearest.value(name) == pytest.approx(mean.value(name), rel=1e-5)


def test_flat_names_are_words_and_hold_every_number(report):
    flat = report.flat()
    assert flat["real_signing/amplitude"] == 1
    assert flat["ms2sl_from_text/hand_dtw"] == report.results[1].value("hand_dtw")
    key = "bleu_4" if report.reads == "sentences" else "letter_error"
    assert flat[f"ms2sl_from_text/{key}_low"] == report.results[1].scores[key].low
    assert flat["text_to_signing/R@5"] == report.retrieval["text → signing"]["R@5"]
    assert flat["signing_to_speech/median_rank"] == report.retrieval["signing → speech"]["median rank"]
    assert not any(" " in name or not name.isascii() for name in flat)
    assert len(flat) == sum(len(result.scores) + 2 for result in report.results) + 6 * 5


def test_mlflow_takes_every_finite_number(report, uri):
    tracker = Tracker.open(uri, "signs", "first", params={}, tags={})
    tracker.metrics({f"test/{name}": value for name, value in report.flat().items()}, 0)
    tracker.finish()
    logged = mlflow.MlflowClient(uri).get_run(tracker.run_id).data.metrics
    assert sorted(logged.values()) == pytest.approx(sorted(value for value in report.flat().values() if abs(value) < float("inf")))
    assert logged["test/real_signing/amplitude"] == 1
