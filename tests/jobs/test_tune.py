import pytest

from jobs.train import TrainCommand
from jobs.tune import TuneCommand, run
from ms2sl.errors import InputError
from tune_spaces import load_space

TINY = {"width": 16, "heads": 2, "encoder_layers": 1, "denoiser_layers": 1, "embedding": 8}


def test_an_unknown_space_lists_those_there_are():
    with pytest.raises(InputError, match="there are: diffusion_steps, loss_weights"):
        load_space("nothing")


@pytest.mark.slow
def test_a_sweep_tries_settings_and_records_each_trial(tiny_dataset, tmp_path, ray_cluster, capsys):
    import mlflow

    training = {"steps": 4, "batch_size": 4, "validate_every": 2, "log_every": 2, "precision": "fp32"}
    base = TrainCommand(data=tiny_dataset, runs=tmp_path, model=TINY, training=training)
    run(TuneCommand(space="diffusion_steps", name="paths", trials=1, train=base))
    assert "best of 2 trials" in capsys.readouterr().out
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("ms2sl").experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert {run.data.params["model.schedule"] for run in children} == {"linear", "cosine"}
    assert all("dev_position" in run.data.metrics for run in children)
