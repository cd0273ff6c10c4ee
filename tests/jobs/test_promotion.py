"""From candidate to champion, in a real registry of MLflow."""

import json
import shutil
from pathlib import Path

import pytest

from jobs.evaluate import EvaluateCommand, run
from jobs.promotion import Promotion
from jobs.train import TrainCommand
from ms2sl.data.dataset import Dataset
from ms2sl.data.skeleton_registry import HOLISTIC_178X3
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath
from ms2sl.model_uri import resolve_model
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from ms2sl.tracking.mlflow_server import connect
from ms2sl.tracking.tracker import Tracker, default_uri
from ms2sl.training import checkpoint
from ms2sl.training.checkpoint import fingerprint, read_card


@pytest.fixture
def options(tiny_dataset, tiny_checkpoint, tiny_recogniser, tmp_path) -> EvaluateCommand:
    few = {"steps": 1, "seeds": 1, "clips": 8, "shown": 0, "baselines": (), "modalities": ("text", "speech"), "promote": True}
    uri = default_uri(tmp_path / "runs")
    return EvaluateCommand(
        data=str(tiny_dataset), model=tiny_checkpoint, back_translator=tiny_recogniser, out=tmp_path / "out", tracking=uri, **few
    )


@pytest.fixture
def worse(tiny_checkpoint, tmp_path) -> Path:
    """The tiny model with larger weights: in what it makes of speech the recogniser reads a hundred times too many letters."""
    weights = MS2SLProducer.load(tiny_checkpoint).model.state_dict()
    card = read_card(tiny_checkpoint, "ms2sl")
    checkpoint.save(tmp_path / "worse", card, {name: weight * 1.5 for name, weight in weights.items()})
    return tmp_path / "worse"


def aliases(uri: str) -> dict[str, str]:
    return {alias: str(version) for alias, version in connect(uri).get_registered_model("ms2sl").aliases.items()}


def tags(uri: str, version: str) -> dict[str, str]:
    return connect(uri).get_model_version("ms2sl", version).tags


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_the_first_is_promoted_a_worse_one_is_not_and_an_equal_one_is(options, tiny_checkpoint, worse, tmp_path, capsys):
    uri = options.tracking
    run(options)
    assert "models:/ms2sl@champion is now version 1: there was no champion\n" in capsys.readouterr().out
    assert aliases(uri) == {"candidate": "1", "champion": "1"}
    assert tags(uri, "1")["promotion"] == "promoted"
    with resolve_model("models:/ms2sl@champion", uri).folder() as folder:
        assert fingerprint(folder) == fingerprint(tiny_checkpoint)

    results = run(options.model_copy(update={"model": str(worse)}))
    said = capsys.readouterr().out
    assert "models:/ms2sl@champion stays version 1, and version 2 a candidate: its loss in letter error is, against the champion's," in said
    assert "speech it is not surely within 1\n" in said
    assert {result.label for result in results} >= {"ms2sl from speech", "champion from text", "champion from speech"}
    assert aliases(uri) == {"candidate": "2", "champion": "1"}
    assert tags(uri, "2")["promotion"] == "refused"
    assert tags(uri, "2")["promotion.reason"] in said
    names = {result["name"] for result in json.loads((Path(options.out) / "results.json").read_text())["results"]}
    assert names == {"real signing", "ms2sl", "champion"}
    assert not list(Path(options.out).glob(".champion-*")), "no copy of the champion stays"

    shutil.copytree(tiny_checkpoint, tmp_path / "best")
    tracker = Tracker.open(uri, "sweeps", "again")
    assert tracker.register(tmp_path / "best", "ms2sl", "challenger") == "3"
    tracker.finish()
    run(options.model_copy(update={"model": str(tmp_path / "best")}))
    said = capsys.readouterr().out
    figures = "from text +0.00 (0.00 to 0.00), from speech +0.00 (0.00 to 0.00): surely within 1\n"
    assert f"models:/ms2sl@champion is now version 3: its loss in letter error is, against the champion's, {figures}" in said
    assert aliases(uri) == {"candidate": "2", "challenger": "3", "champion": "3"}


@pytest.fixture
def promoted(tiny_checkpoint, tmp_path) -> Promotion:
    """The promotion of the first champion."""
    promotion = Promotion(tiny_checkpoint, default_uri(tmp_path / "runs"), None)
    promotion.decide([], [], "letter_error", 1.0)
    return promotion


def test_the_champion_itself_has_no_rival_and_stays(promoted, tiny_checkpoint, tiny_dataset, tmp_path):
    again = Promotion(tiny_checkpoint, promoted.uri, None)
    assert (again.version, again.present) == ("1", "1"), "a model that is registered is not registered again"
    with again.champion(Dataset(tiny_dataset).skeleton, tmp_path) as folder:
        assert folder is None
    assert again.decide([], [], "letter_error", 1.0) == "models:/ms2sl@champion is version 1 already, which is this model"


def test_a_champion_that_came_in_the_meantime_is_not_overrun(promoted, worse):
    late = Promotion(worse, promoted.uri, None)
    version = Tracker.open(promoted.uri, "ms2sl", "other").register(worse, "ms2sl", "champion")
    said = late.decide([], [], "letter_error", 1.0)
    assert f"stays version {version}, and version {late.version} a candidate: version {version} became the champion in the meantime" in said
    assert aliases(promoted.uri)["champion"] == version


def test_a_champion_of_another_skeleton_is_refused_before_anything_is_judged(promoted, worse, tmp_path):
    promotion = Promotion(worse, promoted.uri, None)
    with (
        pytest.raises(InputError, match="models:/ms2sl/1, the present champion, is of another skeleton"),
        promotion.champion(HOLISTIC_178X3, StoragePath(tmp_path / "out")),
    ):
        pass


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"split": "train"}, "--promote needs another --split"),
        ({"others": {"champion": "runs/other"}}, "with --promote 'champion' is the present one"),
        ({"tracking": "http://127.0.0.1:9"}, "MLflow at http://127.0.0.1:9 does not tell of models:/ms2sl@champion"),
        ({"model": "nowhere"}, "nowhere is no checkpoint"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_promoted_is_told_before_anything_is_judged(options, change, reason):
    with pytest.raises(InputError, match=reason):
        run(options.model_copy(update=change))


def test_the_former_name_of_the_option_still_counts(tmp_path):
    assert [TrainCommand.parse(arguments).candidate for arguments in ([], ["--no-candidate"], ["--no-champion"], ["--champion"])] == [
        True,
        False,
        False,
        True,
    ]
    (tmp_path / "recipe.yaml").write_text("champion: false\n")
    assert TrainCommand.parse([f"--recipe={tmp_path}/recipe.yaml"]).candidate is False
