import json

import pytest

from jobs.evaluate import EvaluateCommand, run
from ms2sl.backtranslation.translation_task import TranslationTask
from ms2sl.backtranslation.translator import TranslatorConfig
from ms2sl.checkpoint import ModelCard
from ms2sl.corpora.posefiles import PoseFiles, PoseFilesConfig
from ms2sl.dataset import Dataset
from ms2sl.errors import InputError
from ms2sl.model.losses import LossWeights
from ms2sl.model.task import MS2SLTask
from tests.conftest import prepare
from tests.corpora import builders


@pytest.fixture
def options(tiny_dataset, tiny_checkpoint, tiny_recogniser, tmp_path):
    return EvaluateCommand(
        data=tiny_dataset, model=tiny_checkpoint, reader=tiny_recogniser, out=tmp_path / "evaluation", clips=3, shown=1, steps=1
    )


@pytest.mark.parametrize("kind", ["tiny_recogniser", "tiny_translator"])
def test_it_leaves_a_table_the_scores_a_picture_and_a_gallery(kind, options, request, capsys):
    run(options.model_copy(update={"reader": request.getfixturevalue(kind)}))
    lines = (options.out / "results.md").read_text().splitlines()
    assert len(lines) == 2 + 7
    assert ("BLEU-4" in lines[0]) is (kind == "tiny_translator")
    assert lines[0] in capsys.readouterr().out
    scores = json.loads((options.out / "results.json").read_text())["scores"]
    assert scores["real signing"]["amplitude"] == 1
    assert {"ms2sl from text", "ms2sl from speech", "nearest text from text", "mean pose"} <= scores.keys()
    assert (options.out / "samples.png").read_bytes().startswith(b"\x89PNG")
    assert "<audio" in (options.out / "gallery.html").read_text()


def test_a_corpus_without_speech_is_judged_from_text(tiny_model, tmp_path):
    corpus = PoseFiles(PoseFilesConfig(source=str(builders.pose_files(tmp_path / "corpus")), table="clips.csv"))
    dataset = Dataset(prepare(corpus, tmp_path / "data"))
    task = MS2SLTask(dataset, tiny_model, LossWeights(), ModelCard.of("ms2sl", tiny_model, dataset.card))
    task.save(tmp_path / "model", task.module.state_dict())
    config = TranslatorConfig(vocabulary="words", width=16, heads=2, layers=1, longest=8)
    reader = TranslationTask(dataset, config, ModelCard.of("translator", config, dataset.card))
    reader.save(tmp_path / "reader", reader.module.state_dict())
    options = EvaluateCommand(
        data=tmp_path / "data", split="train", model=tmp_path / "model", reader=tmp_path / "reader", out=tmp_path / "out", steps=1
    )
    names = [result.label for result in run(options)]
    assert "ms2sl from text" in names
    with pytest.raises(InputError, match="no clip of split 'dev' has both text and poses"):
        run(options.model_copy(update={"split": "dev"}))


def test_a_model_of_another_skeleton_is_refused(options, tmp_path, tiny_model):
    corpus = PoseFiles(PoseFilesConfig(source=str(builders.pose_files(tmp_path / "corpus")), table="clips.csv"))
    prepare(corpus, tmp_path / "data")
    with pytest.raises(InputError, match="is of skeleton holistic-49x2, but the data are of holistic-178x3"):
        run(options.model_copy(update={"data": str(tmp_path / "data")}))
