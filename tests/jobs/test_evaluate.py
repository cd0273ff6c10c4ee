import json

import pyarrow.parquet as pq
import pytest

from jobs.evaluate import EvaluateCommand, run
from ms2sl.backtranslation.translation_task import TranslationTask
from ms2sl.backtranslation.translator import TranslatorConfig
from ms2sl.checkpoint import ModelCard
from ms2sl.corpora.posefiles import PoseFiles, PoseFilesConfig
from ms2sl.dataset import Dataset
from ms2sl.errors import InputError
from ms2sl.evaluation.judge import chosen_clips
from ms2sl.hiding import HideConfig
from ms2sl.model.losses import LossWeights
from ms2sl.model.task import MS2SLTask
from ms2sl.posefile import to_bytes
from tests.conftest import prepare
from tests.corpora import builders

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def options(tiny_dataset, tiny_checkpoint, tiny_recogniser, tmp_path):
    return EvaluateCommand(
        data=tiny_dataset, model=tiny_checkpoint, reader=tiny_recogniser, out=tmp_path / "evaluation", clips=4, shown=3, steps=1, seeds=2
    )


def scores(options) -> dict[str, dict]:
    results = json.loads((options.out / "results.json").read_text())["results"]
    return {f"{each['name']} from {each['from']}".removesuffix(" from "): each for each in results}


@pytest.mark.parametrize("kind", ["tiny_recogniser", "tiny_translator"])
def test_it_leaves_tables_the_scores_pictures_and_a_gallery(kind, options, request, capsys):
    run(options.model_copy(update={"reader": request.getfixturevalue(kind), "sweep": (1, 2)}))
    text = (options.out / "results.md").read_text()
    assert text.strip() in capsys.readouterr().out
    assert ("BLEU-4" in text) is (kind == "tiny_translator")
    found = scores(options)
    assert {"ms2sl from text", "ms2sl from speech", "ms2sl from both", "nearest text from text", "mean pose"} <= found.keys()
    assert found["real signing"]["scores"]["amplitude"]["value"] == 1
    assert found["real signing"]["of_ceiling"] in (100, None), "None where even real signing is not read at all"
    assert len(found["ms2sl from both"]["scores"]["letter_error"]["seeds"]) == 2
    for picture in ("samples.png", "steps.png"):
        assert (options.out / picture).read_bytes().startswith(b"\x89PNG")
    page = (options.out / "gallery.html").read_text()
    assert "<audio" in page
    assert [rank in page for rank in (">worst<", ">median<", ">best<")] == [True] * 3
    measured = pq.read_table(options.out / "measures.parquet").to_pandas()
    assert len(measured[measured.label == "ms2sl from text"]) == 4 * (2 + 2), "both seeds, and both of the numbers of steps that were swept"


def test_two_workers_measure_the_same_as_one(options, tmp_path):
    other = options.model_copy(update={"workers": 2, "out": tmp_path / "other"})
    run(options)
    run(other)
    one, two = scores(options), scores(other)
    assert one.keys() == two.keys()
    for label, each in one.items():
        for name, score in each["scores"].items():
            assert two[label]["scores"][name]["value"] == pytest.approx(score["value"], abs=1e-3, rel=1e-3), (label, name)


def test_models_cascade_and_dictionary_stand_side_by_side(options, tiny_checkpoint):
    several = {"others": {"another": tiny_checkpoint}, "ear": "own", "dictionary": "fingerspelling", "baselines": ()}
    run(options.model_copy(update={**several, "modalities": ("text", "speech"), "clips": 2, "shown": 0}))
    expected = {"ms2sl from text", "ms2sl from speech", "another from text", "another from speech"}
    assert scores(options).keys() == {"real signing", *expected, "cascade from speech", "dictionary from text"}
    assert scores(options)["another from text"]["scores"]["hand_dtw"] == scores(options)["ms2sl from text"]["scores"]["hand_dtw"]


def test_what_another_system_produced_is_judged_alike(options, tiny_dataset, tmp_path):
    clips = chosen_clips(Dataset(tiny_dataset), "test", options.clips)
    for clip in clips[1:]:  # one is missing, and counted
        (tmp_path / f"{clip.id}.pose").write_bytes(to_bytes(clip.poses, Dataset(tiny_dataset).skeleton))
    run(options.model_copy(update={"produced": {"theirs": tmp_path}, "baselines": ("mean pose",), "shown": 0, "seeds": 1}))
    theirs, mean = scores(options)["theirs"], scores(options)["mean pose"]
    assert theirs["failed"] == 1
    assert theirs["scores"]["hand_dtw"]["value"] < mean["scores"]["hand_dtw"]["value"]
    assert "theirs: 1 clips could not be produced" in (options.out / "results.md").read_text()


def test_a_model_is_not_asked_for_what_it_never_heard(options, tiny_dataset, tiny_model, tmp_path):
    dataset, hide = Dataset(tiny_dataset), HideConfig(speech=1.0)
    card = ModelCard.of("ms2sl", tiny_model, dataset.card, recipe={"hide": hide.model_dump()})
    task = MS2SLTask(dataset, tiny_model, LossWeights(), card, hide)
    task.save(tmp_path / "model", task.module.state_dict())
    mute = options.model_copy(update={"model": tmp_path / "model", "baselines": (), "shown": 0})
    run(mute)
    assert scores(options).keys() == {"real signing", "ms2sl from text"}
    with pytest.raises(InputError, match="can be judged from text, not from speech"):
        run(mute.model_copy(update={"modalities": ("speech",)}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dictionary": "/nowhere"}, "/nowhere is no dictionary"),
        ({"workers": 99}, "99 workers need 99 CPUs"),
        ({"split": "exam"}, "has no split 'exam'"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_judged(options, change, reason):
    with pytest.raises(InputError, match=reason):
        run(options.model_copy(update=change))


def test_a_corpus_without_speech_is_judged_from_text(tiny_model, tmp_path):
    corpus = PoseFiles(PoseFilesConfig(source=str(builders.pose_files(tmp_path / "corpus")), table="clips.csv"))
    dataset = Dataset(prepare(corpus, tmp_path / "data"))
    task = MS2SLTask(dataset, tiny_model, LossWeights(), ModelCard.of("ms2sl", tiny_model, dataset.card))
    task.save(tmp_path / "model", task.module.state_dict())
    config = TranslatorConfig(vocabulary="words", width=16, heads=2, layers=1, longest=8)
    reader = TranslationTask(dataset, config, ModelCard.of("translator", config, dataset.card))
    reader.save(tmp_path / "reader", reader.module.state_dict())
    options = EvaluateCommand(
        data=tmp_path / "data", split="train", model=tmp_path / "model", reader=tmp_path / "reader", out=tmp_path / "out", steps=1, seeds=1
    )
    names = [result.label for result in run(options)]
    assert "ms2sl from text" in names
    with pytest.raises(InputError, match="no clip of split 'dev' has both text and poses"):
        run(options.model_copy(update={"split": "dev"}))


def test_a_model_of_another_skeleton_is_refused(options, tmp_path):
    corpus = PoseFiles(PoseFilesConfig(source=str(builders.pose_files(tmp_path / "corpus")), table="clips.csv"))
    prepare(corpus, tmp_path / "data")
    with pytest.raises(InputError, match="is of skeleton holistic-49x2, but the data are of holistic-178x3"):
        run(options.model_copy(update={"data": str(tmp_path / "data"), "split": "train"}))
