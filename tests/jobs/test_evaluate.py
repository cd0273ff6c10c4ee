import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.evaluate import EvaluateCommand, compared, run
from ms2sl.corpora.letters import lexicon
from ms2sl.corpora.posefiles import PoseFiles, PoseFilesConfig
from ms2sl.data.dataset import Dataset
from ms2sl.data.modality_masking import MaskConfig
from ms2sl.data.pose_format_io import to_bytes
from ms2sl.errors import InputError
from ms2sl.evaluation.aggregation import summarise
from ms2sl.evaluation.evaluator import Evaluator, SystemUnderTest, columns, real_signing
from ms2sl.evaluation.judged_clips import chosen_clips
from ms2sl.evaluation.measurements import Measurements
from ms2sl.inference.sampling_config import Sampling
from ms2sl.systems import back_translation
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.systems.translator.model import TranslatorConfig
from ms2sl.systems.translator.task import TranslationTask
from ms2sl.training.checkpoint import ModelCard
from tests.conftest import prepare
from tests.corpora import builders

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def options(tiny_dataset, tiny_checkpoint, tiny_recogniser, tmp_path):
    return EvaluateCommand(
        data=tiny_dataset,
        model=tiny_checkpoint,
        back_translator=tiny_recogniser,
        out=tmp_path / "evaluation",
        clips=4,
        shown=3,
        steps=1,
        seeds=2,
    )


def scores(options) -> dict[str, dict]:
    results = json.loads((Path(options.out) / "results.json").read_text())["results"]
    return {f"{each['name']} from {each['from']}".removesuffix(" from "): each for each in results}


@pytest.mark.parametrize("kind", ["tiny_recogniser", "tiny_translator"])
def test_it_leaves_tables_the_scores_pictures_and_a_gallery(kind, options, request, capsys):
    run(options.model_copy(update={"back_translator": str(request.getfixturevalue(kind)), "sweep": (1, 2)}))
    text = (Path(options.out) / "results.md").read_text()
    assert text.startswith("4 clips of test, 1 steps, 2 seeds; model: ")
    assert text.strip() in capsys.readouterr().out
    assert ("BLEU-4" in text) is (kind == "tiny_translator")
    found = scores(options)
    assert {"ms2sl from text", "ms2sl from speech", "ms2sl from both", "nearest text from text", "mean pose"} <= found.keys()
    assert found["real signing"]["scores"]["amplitude"]["value"] == 1
    assert found["real signing"]["of_ceiling"] in (100, None), "None where even real signing is not read at all"
    assert len(found["ms2sl from both"]["scores"]["letter_error"]["seeds"]) == 2
    for picture in ("samples.png", "steps.png"):
        assert (Path(options.out) / picture).read_bytes().startswith(b"\x89PNG")
    page = (Path(options.out) / "gallery.html").read_text()
    assert "<audio" in page
    assert [rank in page for rank in (">worst<", ">median<", ">best<")] == [True] * 3
    measured = pq.read_table(Path(options.out) / "measures.parquet").to_pandas()
    assert len(measured[measured.label == "ms2sl from text"]) == 4 * (2 + 2), "both seeds, and both of the numbers of steps that were swept"


def test_everybody_stands_side_by_side_and_two_workers_measure_what_one_process_does(options, tiny_dataset, tiny_checkpoint, tmp_path):
    dataset = Dataset(tiny_dataset)
    clips = chosen_clips(dataset, "test", options.clips)
    for clip in clips[1:]:  # one is missing, and counted
        (tmp_path / f"{clip.id}.pose").write_bytes(to_bytes(clip.poses, dataset.skeleton))
    several = {
        "others": {"another": str(tiny_checkpoint)},
        "produced": {"theirs": str(tmp_path)},
        "asr": "own",
        "dictionary": "fingerspelling",
    }
    run(options.model_copy(update={**several, "modalities": ("text", "speech"), "baselines": ("mean pose",), "shown": 0, "workers": 2}))
    found = scores(options)
    models = {f"{name} from {modality}" for name in ("ms2sl", "another") for modality in ("text", "speech")}
    assert found.keys() == {"real signing", *models, "cascade from speech", "dictionary from text", "theirs", "mean pose"}
    assert found["another from text"]["scores"]["hand_dtw"] == found["ms2sl from text"]["scores"]["hand_dtw"]
    assert found["theirs"]["failed"] == 1
    assert found["theirs"]["scores"]["hand_dtw"]["value"] < found["mean pose"]["scores"]["hand_dtw"]["value"]
    assert "theirs: 1 clips could not be produced" in (Path(options.out) / "results.md").read_text()

    judge = Evaluator(dataset, back_translation.load(options.back_translator))
    model = SystemUnderTest(
        name="ms2sl", kind="ms2sl", modality="speech", source=str(tiny_checkpoint), options=Sampling(steps=1), seeds=(0, 1)
    )
    ids = [clip.id for clip in clips]
    (real,), own = (columns(judge.rows(entry, clips), entry, ids) for entry in (real_signing(), model))
    for name, score in summarise("ms2sl", "speech", own, real).scores.items():
        value = found["ms2sl from speech"]["scores"][name]["value"]
        assert value == pytest.approx(score.value, abs=1e-3, rel=1e-3), name


def test_a_model_is_not_asked_for_what_it_never_heard(options, tiny_dataset, tiny_model, tmp_path):
    dataset, hide = Dataset(tiny_dataset), MaskConfig(speech=1.0)
    card = ModelCard.of("ms2sl", tiny_model, dataset.card, recipe={"mask": hide.model_dump()})
    assert card.learned == ("text",)
    task = MS2SLTask(dataset, tiny_model, LossWeights(), card, hide)
    task.save(tmp_path / "model", task.module.state_dict())
    mute = options.model_copy(update={"model": str(tmp_path / "model"), "baselines": (), "shown": 0})
    run(mute)
    assert scores(options).keys() == {"real signing", "ms2sl from text"}
    with pytest.raises(InputError, match="can be judged from text here, not from speech"):
        run(mute.model_copy(update={"modalities": ("speech",)}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dictionary": "/nowhere"}, "/nowhere is no dictionary"),
        ({"workers": 99}, "99 workers need 99 CPUs"),
        ({"split": "exam"}, "has no split 'exam'"),
        ({"produced": {"real signing": str(lexicon() / "ase")}}, "'real signing' would stand in the tables twice"),
        ({"produced": {"mean pose": str(lexicon() / "ase")}}, "'mean pose' would stand in the tables twice"),
        ({"modalities": ("text", "text")}, "'ms2sl from text' would stand in the tables twice"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_judged(options, change, reason):
    with pytest.raises(InputError, match=reason):
        run(options.model_copy(update=change))


def test_all_that_is_sampled_is_sampled_as_asked(options, tiny_dataset, tiny_checkpoint):
    choices = {"steps": 5, "guidance": 1.5, "sampler": "dpm++"}
    asked = options.model_copy(update={**choices, "others": {"another": str(tiny_checkpoint)}, "asr": "own"})
    entries = [entry for entry in compared(asked, Dataset(tiny_dataset), spoken=True) if entry.kind in ("ms2sl", "cascade")]
    assert len(entries) == 7
    assert all(entry.options.model_dump() == choices for entry in entries)


def test_a_model_that_learned_another_language_than_the_data_have_is_judged_and_named(
    options, tiny_dataset, tiny_checkpoint, tmp_path, capsys
):
    foreign = tmp_path / "foreign"
    shutil.copytree(tiny_checkpoint, foreign)
    card = json.loads((foreign / "config.json").read_text())
    (foreign / "config.json").write_text(json.dumps(card | {"signed_languages": ["gsg"]}))
    entries = compared(options.model_copy(update={"others": {"foreign": str(foreign)}}), Dataset(tiny_dataset), spoken=True)
    assert {"ms2sl", "foreign"} <= {entry.name for entry in entries}
    assert capsys.readouterr().out == "foreign: signed_language ase is ignored: the model signs as it learned, from gsg\n"


def test_a_second_model_must_have_a_name_of_its_own(options, tiny_checkpoint):
    with pytest.raises(InputError, match="'ms2sl from text' would stand in the tables twice"):
        run(options.model_copy(update={"others": {"ms2sl": str(tiny_checkpoint)}}))


@pytest.mark.parametrize(
    ("change", "reason"), [({"fps": 25.0}, "reads 25 frames a second, but the data have 12.5"), ({}, "is no checkpoint")]
)
def test_a_reader_must_fit_the_data(options, tiny_recogniser, tmp_path, change, reason):
    folder = tmp_path / "reader"
    if change:
        shutil.copytree(tiny_recogniser, folder)
        card = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(card | change))
    with pytest.raises(InputError, match=reason):
        run(options.model_copy(update={"back_translator": str(folder)}))


def test_a_corpus_without_speech_is_judged_from_text(tiny_model, tmp_path, capsys):
    corpus = PoseFiles(PoseFilesConfig(source=str(builders.pose_files(tmp_path / "corpus")), table="clips.csv"))
    dataset = Dataset(prepare(corpus, tmp_path / "data"))
    task = MS2SLTask(dataset, tiny_model, LossWeights(), ModelCard.of("ms2sl", tiny_model, dataset.card))
    task.save(tmp_path / "model", task.module.state_dict())
    config = TranslatorConfig(vocabulary="words", width=16, heads=2, layers=1, longest=8)
    reader = TranslationTask(dataset, config, ModelCard.of("translator", config, dataset.card))
    reader.save(tmp_path / "reader", reader.module.state_dict())
    options = EvaluateCommand(
        data=tmp_path / "data",
        split="train",
        model=tmp_path / "model",
        back_translator=tmp_path / "reader",
        out=tmp_path / "out",
        steps=1,
        seeds=1,
    )
    names = [result.label for result in run(options)]
    assert "ms2sl from text" in names
    assert task.card.learned == ("text", "speech"), "one clip has speech"
    assert "ms2sl from speech" not in names, "too few to judge by"
    assert "the models have met these clips" in capsys.readouterr().out
    with pytest.raises(InputError, match="no clip of split 'dev' has both text and poses"):
        run(options.model_copy(update={"split": "dev"}))


def test_a_model_of_another_skeleton_is_refused(options, tmp_path):
    corpus = PoseFiles(PoseFilesConfig(source=str(builders.pose_files(tmp_path / "corpus")), table="clips.csv"))
    prepare(corpus, tmp_path / "data")
    with pytest.raises(InputError, match="is of skeleton holistic-49x2, but the data are of holistic-178x3"):
        run(options.model_copy(update={"data": str(tmp_path / "data"), "split": "train"}))


def test_an_evaluation_that_was_interrupted_measures_only_what_is_missing(options, monkeypatch):
    kept = options.model_copy(update={"modalities": ("text",), "baselines": ("mean pose",), "shown": 0})
    run(kept)
    whole, table = scores(kept), pq.read_table(Path(kept.out) / "measures.parquet")
    assert not (Path(kept.out) / ".measures").exists(), "the parts are one table now"

    def interrupted(self, rows):
        add(self, rows)
        raise KeyboardInterrupt

    add = Measurements.add
    monkeypatch.setattr(Measurements, "add", interrupted)
    again = kept.model_copy(update={"out": str(Path(kept.out).parent / "again")})
    with pytest.raises(KeyboardInterrupt):
        run(again)
    measured = list((Path(again.out) / ".measures").iterdir())
    assert len(measured) == 1
    already = len(pq.read_table(measured[0]))
    monkeypatch.setattr(Measurements, "add", lambda self, rows: added.append(len(rows)) or add(self, rows))
    added: list[int] = []
    run(again)
    assert 0 < already == len(table) - sum(added)
    assert scores(again) == whole
    assert str(pq.read_table(Path(again.out) / "measures.parquet").to_pylist()) == str(table.to_pylist()), "NaN is NaN"
