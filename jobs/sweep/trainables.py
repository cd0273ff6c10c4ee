"""What runs in a trial: the training loop itself where one device holds it, Ray Train where it takes several; or sampling alone."""

import ctypes
import functools
import gc
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from jobs.ray_reporter import fetch_checkpoint
from jobs.sweep.command import TuneCommand
from jobs.sweep.resources import reserved
from jobs.sweep.resume import key
from jobs.train import fit
from ms2sl.data.dataset import Dataset
from ms2sl.evaluation.objective import Quality
from ms2sl.evaluation.validation_sampling import SampleMetricsConfig, TaskWithSampleMetrics
from ms2sl.io.storage import StoragePath
from ms2sl.tracking.tracker import git_commit
from ms2sl.training.divergence import Diverged
from ms2sl.training.local import worker_batches
from ms2sl.training.loop import Reporter, train, worker_plans
from ms2sl.training.state import forget_losses

DIVERGED = "diverged"  # reported with the reason


class TuneReporter:
    """A Reporter of one rank that tells Ray Tune.

    start: a checkpoint of an earlier command to go on from. changing: whether settings change in mid-training, so that the losses
    of before say nothing of divergence.
    """

    rank, world_size = 0, 1

    def __init__(self, device: str, start: StoragePath | None, changing: bool):
        self.device, self.start, self.changing = torch.device(device), start, changing
        self._copies = ExitStack()  # live as long as the reporter

    def latest(self) -> Path | None:
        checkpoint = tune.get_checkpoint()
        folder = fetch_checkpoint(checkpoint, self.start, self._copies)
        if self.changing and checkpoint is not None:
            forget_losses(folder)
        return folder

    def preempted(self) -> bool:
        return False

    def report(self, step: int, metrics: dict[str, float], checkpoint: Path | None, urgent: bool) -> None:
        saved = tune.Checkpoint.from_directory(checkpoint) if checkpoint else None
        tune.report(metrics | {"step": step}, checkpoint=saved)


def trainable(options: TuneCommand, starts: Mapping[str, StoragePath]) -> Callable[[dict], None]:
    """The function that Tune calls with ``{"recipe": …}``, and what is reserved for it.

    starts: checkpoints to go on from, by ``key`` of the recipe.
    """
    function = sample if not options.trains else train_alone if options.workers_per_trial == 1 else train_together
    return tune.with_resources(tune.with_parameters(function, options=options, starts=starts), reserved(options))


def train_alone(config: dict, options: TuneCommand, starts: Mapping[str, StoragePath]) -> None:
    release_memory()
    torch.set_num_threads(options.cpus_per_trial)
    reporter = TuneReporter(options.device, starts.get(key(config["recipe"])), changing=options.scheduler == "pbt")
    try:
        train_judged(options, config["recipe"], reporter)
    except Diverged as error:
        report_divergence(options, str(error))


def train_judged(options: TuneCommand, recipe: Mapping, reporter: Reporter) -> None:
    """The training of a trial in this process, whoever is told of it. Raises Diverged."""
    chosen, dataset = options.with_recipe(recipe), Dataset(options.data)
    command = chosen.training_command()
    task = TaskWithSampleMetrics(command.make_task(dataset, git_commit()), quality(options), chosen.call_options)
    plans = worker_plans(command.training, dataset)
    train(task, lambda step: worker_batches(plans, task.collate, step), command.training, reporter)


def train_together(config: dict, options: TuneCommand, starts: Mapping[str, StoragePath]) -> None:
    """Workers of Ray Train, in a group of their own, whose checkpoints lie in the folder of the sweep."""
    chosen = options.with_recipe(config["recipe"])
    where = {"runs": (options.folder / "groups").uri, "name": tune.get_context().get_trial_id()}
    command = chosen.training_command().model_copy(update=where)
    start = starts.get(key(config["recipe"]))
    result = fit(command, [TuneReportCallback()], judging=chosen.judging, start=start, cpus=options.cpus_per_trial)
    if "diverged" in result.return_value:
        report_divergence(options, result.return_value["diverged"])


def report_divergence(options: TuneCommand, reason: str) -> None:
    """As a result, not as a failure: to try it again would diverge again."""
    tune.report(dict.fromkeys(options.metrics, math.inf) | {"step": 0, DIVERGED: reason})


def release_memory() -> None:
    """Gives back what an earlier trial of this process left: each runs in a thread of its own, and glibc keeps what a thread has freed."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def sample(config: dict, options: TuneCommand, starts: Mapping[str, StoragePath]) -> None:
    torch.set_num_threads(options.cpus_per_trial)
    tune.report(quality(options).metrics(options.trained, options.with_recipe(config["recipe"]).call_options) | {"step": 1})


def quality(options: TuneCommand) -> Quality:
    """One for all trials of a process: reader and clips are read once."""
    return _quality(options.data, options.judging, options.device)


@functools.lru_cache(maxsize=1)
def _quality(data: str, judging: SampleMetricsConfig, device: str) -> Quality:
    return judging.quality(Dataset(data), device)
