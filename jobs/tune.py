"""Sweeps a search space with Ray Tune. Each trial is the training loop itself, on its own share of the machine."""

import tempfile
from pathlib import Path

import ray
import torch
from pydantic import Field, ValidationError
from ray import tune

from jobs.command import Command, main, start_ray
from jobs.train import TrainCommand
from ms2sl.batching import Plan
from ms2sl.config import explain
from ms2sl.dataset import Dataset
from ms2sl.errors import InputError
from ms2sl.local import LocalReporter, local_batches
from ms2sl.storage import Location
from ms2sl.tracking import Tracker, default_uri
from ms2sl.training import Diverged, train
from tune_spaces import load_space


class TuneCommand(Command):
    """Tries settings of a search space and reports the best."""

    space: str = Field("loss_weights", description="module of tune_spaces")
    name: str = Field("sweep", pattern=r"^[\w.-]+$", description="name of the sweep")
    trials: int = Field(4, gt=0, description="draws from the space; a grid is tried whole in each")
    cpus_per_trial: int = Field(1, gt=0, description="CPU threads of a trial")
    gpus_per_trial: float = Field(0, ge=0, description="GPUs of a trial")
    metric: str = Field("dev_position", description="reported metric to minimise; the weights of a loss do not change its terms")
    train: TrainCommand = TrainCommand()


class TuneReporter(LocalReporter):
    """A LocalReporter that also tells Ray Tune, so that its scheduler can compare trials."""

    def report(self, step: int, metrics: dict[str, float], checkpoint: Path | None) -> None:
        super().report(step, metrics, checkpoint)
        if any(name.startswith("dev_") for name in metrics):
            tune.report(metrics | {"step": step})


def run(options: TuneCommand) -> None:
    space = load_space(options.space)
    check(space, options)
    base = options.train.model_copy(update={"data": str(Location(options.train.data)), "runs": options.train.runs.absolute()})
    Dataset(base.data).shards("train")
    start_ray()
    if ray.cluster_resources().get("CPU", 0) < options.cpus_per_trial:
        raise InputError(f"a trial needs {options.cpus_per_trial} CPUs, more than the cluster has: lower --cpus-per-trial")
    resources = {"cpu": options.cpus_per_trial, "gpu": options.gpus_per_trial}
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(trial, base=base, threads=options.cpus_per_trial), resources),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric=options.metric, mode="min", num_samples=options.trials, scheduler=tune.schedulers.ASHAScheduler()
        ),
        run_config=tune.RunConfig(name=options.name, storage_path=str(base.runs / "sweeps"), verbose=1),
    )
    results = tuner.fit()
    record(options, base, results)
    finished = [result for result in results if result.metrics and options.metric in result.metrics]
    if not finished:
        raise InputError(
            f"no trial reported '{options.metric}'; {len(results.errors)} of {len(results)} failed, see {results.experiment_path}"
        )
    best = results.get_best_result(options.metric, "min")
    print(f"best of {len(finished)} trials: {options.metric} {best.metrics[options.metric]:.4g} with {best.config}")


def trial(chosen: dict, base: TrainCommand, threads: int) -> None:
    """One training; what diverges is a bad trial and no error."""
    torch.set_num_threads(threads)
    options = with_choice(base, chosen)
    dataset = Dataset(options.data)
    task = options.make_task(dataset, None)
    plan = Plan(dataset.shards("train"), options.training.batch_size, options.training.seed)
    with tempfile.TemporaryDirectory() as folder:
        reporter = TuneReporter(Path(folder), "cuda" if torch.cuda.is_available() else "cpu")
        try:
            train(task, lambda step: local_batches(plan, task.collate, step), options.training, reporter)
        except Diverged as error:
            tune.report({"diverged": str(error)})


def with_choice(base: TrainCommand, chosen: dict) -> TrainCommand:
    """The recipe with the values that a trial drew."""
    merged = base.options()
    for key, values in chosen.items():
        merged[key] = {**merged[key], **values} if isinstance(values, dict) else values
    return TrainCommand(**merged)


def check(space: dict, options: TuneCommand) -> None:
    """Raises InputError for a space that names what training does not know, before anything starts."""
    drawn = {
        key: {name: domain.sample() if hasattr(domain, "sample") else domain["grid_search"][0] for name, domain in values.items()}
        for key, values in space.items()
    }
    try:
        with_choice(options.train, drawn)
    except (ValidationError, KeyError) as error:
        reason = explain(error, TrainCommand) if isinstance(error, ValidationError) else f"unknown key {error}"
        raise InputError(f"search space '{options.space}': {reason}") from None


def record(options: TuneCommand, base: TrainCommand, results: tune.ResultGrid) -> None:
    """One parent run for the sweep in MLflow, and one child a trial, all written here in the driver."""
    uri = base.tracking or default_uri(base.runs)
    parent = Tracker.open(uri, base.experiment, options.name, params=options.options())
    for number, result in enumerate(results):
        tags = {"mlflow.parentRunId": parent.run_id}
        child = Tracker.open(uri, base.experiment, f"{options.name}-{number}", params=result.config, tags=tags)
        child.metrics(result.metrics or {}, int((result.metrics or {}).get("step", 0)))
        child.finish("FAILED" if result.error else "FINISHED")
    parent.finish()


if __name__ == "__main__":
    main(TuneCommand, run)
