"""Whole sweeps: real trials on Ray, real runs in MLflow."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import mlflow
import pytest
import yaml

from jobs.sweep.command import TuneCommand
from jobs.sweep.report import conclude
from jobs.tune import run
from ms2sl.errors import InputError
from ms2sl.evaluation.objective import QUALITY
from ms2sl.sweep.trial_store import Trial, TrialStore
from ms2sl.tracking.tracker import Tracker
from ms2sl.training.checkpoint import read_card
from tune_spaces import load_space

pytestmark = pytest.mark.slow
TINY = {"width": 16, "heads": 2, "encoder_layers": 1, "denoiser_layers": 1, "embedding": 8}


@pytest.fixture
def options(tiny_dataset, tiny_recogniser, tmp_path):
    """A function: further options → a small sweep."""

    def with_more(**more) -> TuneCommand:
        training = {"steps": 6, "batch_size": 4, "precision": "fp32"} | more.pop("training", {})
        shared = {
            "data": str(tiny_dataset),
            "back_translator": tiny_recogniser,
            "runs": tmp_path,
            "clips": 4,
            "num_evals": 3,
            "model": TINY,
        }
        return TuneCommand(**shared | {"trials": 3, "training": training, "concurrent": 1} | more)

    return with_more


def space_file(folder: Path, content: dict) -> str:
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def trials(options: TuneCommand) -> list[Trial]:
    return TrialStore(Path(options.folder) / "trials").trials()


def runs(options: TuneCommand) -> tuple[list, list]:
    """Parents and children in MLflow."""
    client = mlflow.MlflowClient(f"sqlite:///{options.runs}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("ms2sl-sweeps").experiment_id])
    parents = [each for each in found if "mlflow.parentRunId" not in each.data.tags]
    children = [each for each in found if each.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len(children) == len(found) - len(parents)
    return parents, children


@pytest.mark.usefixtures("ray_cluster")
def test_a_sweep_tries_settings_keeps_all_and_registers_the_best(options, capsys):
    sweep = options(trials=4, name="weights")
    run(sweep)
    said = capsys.readouterr().out
    tried = trials(sweep)
    assert [trial.number for trial in tried] == [0, 1, 2, 3]
    assert tried[0].name == "default"
    assert tried[0].outcome == "finished"
    assert len({json.dumps(trial.recipe) for trial in tried}) == 4
    assert {trial.outcome for trial in tried} <= {"finished", "stopped"}
    best = min((trial for trial in tried if trial.outcome == "finished"), key=lambda trial: trial.value(QUALITY))
    assert f"best: trial {best.label}" in said
    assert read_card(Path(sweep.folder) / "best", "ms2sl").recipe["losses"] == sweep.with_recipe(best.recipe).losses.model_dump()

    parents, children = runs(sweep)
    assert [each.info.status for each in parents] == ["FINISHED"]
    status = {"finished": "FINISHED", "stopped": "KILLED"}
    assert {each.data.tags["trial"]: each.info.status for each in children} == {str(t.number): status[t.outcome] for t in tried}
    assert all(
        each.data.metrics[QUALITY] == trial.value(QUALITY) for each in children for trial in tried if each.info.run_id == trial.run_id
    )
    client = mlflow.MlflowClient(f"sqlite:///{sweep.runs}/mlflow.db")
    model = client.get_model_version_by_alias("ms2sl", "challenger")
    assert (model.run_id, model.tags["sweep_run_id"]) == (best.run_id, parents[0].info.run_id)
    artifacts = {each.path for each in client.list_artifacts(parents[0].info.run_id)}
    assert {"sweep.md", "curves.png", "parallel.png", "trials"} <= artifacts

    written = {path: path.stat().st_mtime_ns for path in (Path(sweep.folder) / "trials").iterdir()}
    run(sweep.model_copy(update={"trials": 5}))
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert len(trials(sweep)) == 5
    assert len(runs(sweep)[0]) == 1


@pytest.mark.usefixtures("ray_cluster")
def test_what_diverges_or_fails_ends_no_sweep_and_says_why(options, tmp_path):
    no_memory = 2**26
    space = {"training": {"learning_rate": {"choice": [1e-3, 1e9]}}, "model": {"width": {"choice": [16, no_memory]}}}
    sweep = options(space=space_file(tmp_path, space), search="grid", scheduler="none", training={"warmup": 0}, max_failures=0)
    run(sweep)
    of = {(trial.drawn["training.learning_rate"], trial.drawn["model.width"]): trial for trial in trials(sweep)}
    assert of[1e-3, 16].outcome == "finished"
    assert of[1e9, 16].outcome == "diverged"
    assert "training.learning_rate" in of[1e9, 16].reason
    assert of[1e-3, no_memory].outcome == of[1e9, no_memory].outcome == "failed"
    assert "allocate memory" in of[1e-3, no_memory].reason
    statuses = sorted(each.info.status for each in runs(sweep)[1])
    assert statuses == ["FAILED", "FAILED", "FAILED", *["FINISHED"] * (len(of) - 3)]


@pytest.mark.usefixtures("ray_cluster")
def test_a_book_that_cannot_be_written_ends_the_sweep_with_a_line(options):
    sweep = options(name="unwritable", trials=2)
    book = Path(sweep.folder) / "trials" / "00000.json"

    def take():
        """Puts a folder where the file of the first trial is."""
        while not book.is_dir():
            if book.exists():
                book.unlink()
                with contextlib.suppress(FileExistsError):
                    book.mkdir()
            time.sleep(0.01)

    taker = threading.Thread(target=take, daemon=True)
    taker.start()
    with pytest.raises(InputError, match=r"00000\.json cannot be written: Is a directory"):
        run(sweep)
    taker.join(timeout=1)


def test_a_sweep_that_no_trial_survived_is_an_error_with_the_reason(options):
    sweep = options().settled(load_space("loss_weights"))
    failed = [Trial(number=number, recipe={}, outcome="failed", reason=f"no memory {number}") for number in range(2)]
    with pytest.raises(InputError, match="none of 2 trials reported its quality; the first failed: no memory 0"):
        conclude(sweep, load_space("loss_weights"), failed, Tracker())


@pytest.mark.usefixtures("ray_cluster")
def test_more_than_the_cluster_has_is_refused_at_once(options):
    with pytest.raises(InputError, match="a trial needs 64 CPUs, but one machine of the cluster has at most 4"):
        run(options(cpus_per_trial=64))
    with pytest.raises(InputError, match=r"a trial needs 2 workers of 1 CPUs and 1 GPUs each, .* have room for 0"):
        run(options(workers_per_trial=2, gpus_per_trial=1))
    assert not Path(options().folder).exists()


@pytest.mark.usefixtures("ray_cluster")
def test_population_based_training_changes_weights_on_the_way(options):
    sweep = options(trials=4, name="population", scheduler="pbt", training={"steps": 24}, num_evals=12, cpus_per_trial=4, concurrent=None)
    run(sweep)
    tried = trials(sweep)
    assert all(trial.outcome == "finished" for trial in tried)
    changed = [trial for trial in tried if len({row["set/losses.cycle"] for row in trial.history}) > 1]
    assert changed, "the worst of four never went on from the best"
    assert changed[0].recipe["losses"]["cycle"] == changed[0].history[-1]["set/losses.cycle"]
    assert (Path(sweep.folder) / "changes.png").exists()


@pytest.mark.usefixtures("ray_cluster")
def test_sampling_is_swept_on_one_model_for_quality_and_latency(options, tiny_checkpoint, tmp_path, capsys):
    choices = {"sampling": {"steps": {"choice": [1, 2, 40]}, "sampler": {"choice": ["ddim", "dpm++"]}}}
    sweep = options(space=space_file(tmp_path, choices), trained=tiny_checkpoint, trials=5, score="hand_dtw", name="sampling")
    run(sweep)
    tried = trials(sweep)
    assert all(trial.outcome == "finished" and trial.checkpoint is None for trial in tried)
    latency = {trial.drawn["sampling.steps"]: trial.value("latency") for trial in tried}
    assert len(tried) == 5
    assert 40 not in latency or latency[40] > min(latency.values())
    assert "The front, judged again" in capsys.readouterr().out
    assert (Path(sweep.folder) / "front.png").exists()
    assert not (Path(sweep.folder) / "best").exists()


def test_trials_of_several_workers_give_all_they_took_back(options, ray_cluster):
    sweep = options(workers_per_trial=2, trials=5, name="together")
    perfect = [Trial(number=n, recipe={}, outcome="stopped", history=({"step": 2, QUALITY: 0.0},)) for n in (2, 3, 4)]
    for trial in perfect:  # beside which nobody else may go on
        TrialStore(Path(sweep.folder) / "trials").write(trial)
    run(sweep)
    own, other = trials(sweep)[:2]
    assert (own.outcome, own.step) == ("finished", 6)
    assert (other.outcome, other.step) == ("stopped", 2)
    assert all(Path(trial.checkpoint, "model.safetensors").exists() for trial in (own, other))
    everything = ray_cluster.cluster_resources()["CPU"]
    deadline = time.monotonic() + 120
    while ray_cluster.available_resources().get("CPU", 0) < everything and time.monotonic() < deadline:
        time.sleep(0.5)
    assert ray_cluster.available_resources()["CPU"] == everything


def test_after_ctrl_c_and_after_a_kill_the_same_command_goes_on(options, tmp_path, on_cluster):
    sweep = options(trials=5, name="killed", training={"steps": 60}, num_evals=6)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(sweep.model_dump(mode="json", exclude={"recipe"}, exclude_none=True)))
    command = [sys.executable, "-m", "jobs.tune", "--recipe", str(recipe)]

    def until(ended: int) -> subprocess.Popen:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=on_cluster)
        while sum(trial.outcome != "open" for trial in trials(sweep)) < ended or trials(sweep)[-1].step == 0:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.2)
        return process

    process = until(1)
    process.send_signal(signal.SIGINT)
    said, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "run the same command again" in told
    assert "Traceback" not in told
    assert "best: trial" in said
    parents, children = runs(sweep)
    assert [each.info.status for each in parents] == ["KILLED"]
    assert "RUNNING" not in {each.info.status for each in children}

    process = until(2)
    process.kill()
    process.communicate()
    before = {trial.number: trial for trial in trials(sweep)}
    run(sweep)
    after = {trial.number: trial for trial in trials(sweep)}
    assert len(after) == 5
    assert all(after[number] == trial for number, trial in before.items() if trial.outcome != "open")
    assert all(trial.outcome != "open" for trial in after.values())
    for number, trial in before.items():
        assert after[number].history[: len(trial.history)] == trial.history
        assert after[number].run_id == trial.run_id
        steps = [row["step"] for row in after[number].history]
        assert len(steps) == len(set(steps)) or trial.checkpoint is None
    parents, children = runs(sweep)
    assert [each.info.status for each in parents] == ["FINISHED"]
    assert len(children) == 5
    assert "RUNNING" not in {each.info.status for each in children}
