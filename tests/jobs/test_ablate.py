import json
from pathlib import Path

import mlflow
import pytest

from jobs.ablate import ABLATIONS, AblateCommand, run
from jobs.train import TrainCommand
from ms2sl.errors import InputError
from ms2sl.systems.ms2sl.config import ModelConfig
from ms2sl.training.loop import TrainingConfig

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture
def options(tiny_dataset, tiny_recogniser, tmp_path):
    training = TrainingConfig(steps=2, batch_size=4, checkpoint_every=2, log_every=2, precision="fp32")
    return AblateCommand(
        data=tiny_dataset,
        back_translator=tiny_recogniser,
        runs=tmp_path / "ablations",
        only=("text only",),
        clips=4,
        sweep=(1, 2),
        model=ModelConfig(width=16, heads=2, encoder_layers=1, denoiser_layers=1, embedding=8),
        training=training,
    )


def test_what_is_changed_is_in_the_recipe_and_what_is_found_in_a_table(options, capsys):
    results = run(options)
    labels = [result.label for result in results]
    assert labels == ["full from text", "full from speech", "full from both", "text only from text"]
    recipes = {folder.parent.name: json.loads(folder.read_text()) for folder in Path(options.runs).glob("*/recipe.json")}
    assert recipes["text-only-0"]["mask"]["speech"] == 1
    assert recipes["text-only-0"]["model"] == recipes["full-0"]["model"]
    assert recipes["full-0"]["mask"] == {"text": 0, "speech": 0}
    table = (Path(options.runs) / "ablations.md").read_text()
    assert all(name in table for name in ("text only", "minus full", "| 2     | text"))
    assert (Path(options.runs) / "steps.png").read_bytes().startswith(b"\x89PNG")
    client = mlflow.MlflowClient(f"sqlite:///{options.runs}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'ms2sl-ablations'")
    runs = client.search_runs([experiment.experiment_id])
    assert {each.info.run_name for each in runs} == {"full-0", "text-only-0", "ablations"}
    before = (Path(options.runs) / "full-0" / "model" / "model.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    assert [result.value("hand_dtw") for result in run(options)] == [result.value("hand_dtw") for result in results]
    assert capsys.readouterr().out.count("is trained already") == 2
    assert (Path(options.runs) / "full-0" / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_every_ablation_is_a_recipe_that_training_knows(tiny_dataset):
    for ablation in ABLATIONS.values():
        TrainCommand(data=str(tiny_dataset), **ablation)


def test_an_unknown_ablation_is_refused_before_anything_is_trained(options):
    with pytest.raises(InputError, match="no ablation 'without hands'"):
        run(options.model_copy(update={"only": ("without hands",)}))
    assert not Path(options.runs).exists()
