"""Trains a system, or a reader that judges signing, on Ray Train: any number of workers, on CPUs or GPUs.

The same command after an interruption goes on from the last checkpoint.
"""

import math
import os
from pathlib import Path
from typing import Any, Literal

import ray.train
import ray.util.client
import torch
from pydantic import Field
from ray.train.torch import TorchConfig

from jobs import stages
from jobs.cli import main, start_ray
from jobs.initial import TrainingCommand, check_kept, tell_fps, tell_glosses
from jobs.machines import check_resources
from jobs.models import with_folders
from jobs.outboxes import kept_outboxes, outboxes
from jobs.placement import Interruptible, least, scaling, waiting_for_workers
from jobs.progress import shown
from jobs.ray_address import address_known
from jobs.ray_dataloader import stream
from jobs.ray_reporter import RayReporter, WriteReports, full_disk_told
from jobs.run_lock import held
from jobs.runs import MODEL, RUN_ID, as_begun, changes_since, check_run_identity, reached, read_recipe, trained_to
from jobs.shared import check_shared
from jobs.worker_range import WorkerRange, most
from ms2sl.config import CHANGEABLE, Config
from ms2sl.data.dataset import Dataset
from ms2sl.data.mixture import DATA, DataSource, absolute, named_folders, open_dataset
from ms2sl.deprecated_names import formerly
from ms2sl.errors import InputError
from ms2sl.evaluation.validation_sampling import SampleMetricsConfig, TaskWithSampleMetrics
from ms2sl.io.file_names import Name
from ms2sl.io.storage import AnyPath, StoragePath
from ms2sl.io.uri import PathOrModelUri, PathOrUri, Uri, public
from ms2sl.model_uri import CANDIDATE
from ms2sl.systems.options import with_sections
from ms2sl.systems.registry import System, system, trainable
from ms2sl.tracking.tracker import Tracker, default_uri, git_commit
from ms2sl.training.checkpoint import ModelCard, publish, read_card
from ms2sl.training.distributed import is_together, late
from ms2sl.training.divergence import Diverged
from ms2sl.training.initial import continued, load_initial, read_initial_card
from ms2sl.training.loop import Task as TrainingTask
from ms2sl.training.loop import TrainingConfig, train, worker_plans

Task = Literal[tuple(each.kind for each in trainable())]
OUTBOX = "mlflow.jsonl"  # in the folder of a run: what MLflow is still to be told


@with_sections
class TrainCommand(TrainingCommand):
    """Trains a model on a prepared dataset."""

    data: DataSource = Field("data/fingerspelling", description=DATA)
    task: Task = Field("ms2sl", description="the system to train")
    stage: str | None = Field(None, description="of a system that is trained in several, the one to train; all in order by default")
    earlier: dict[str, PathOrModelUri] = Field(
        {}, description="stages that are trained already, as name=folder; by default those of this run, which are trained if need be"
    )
    name: Name = Field("ms2sl", description="name of the run; the same name goes on with it")
    runs: PathOrUri = Field("runs", description="folder of all runs, local or a URI; one that all machines see where there are several")
    overwrite: bool = Field(False, description="forget an earlier run of this name", json_schema_extra=formerly("fresh"))
    training: TrainingConfig = TrainingConfig()
    workers: WorkerRange = Field(
        1, description="workers, or the fewest and the most of them, such as 2:8, as machines come and go", json_schema_extra=CHANGEABLE
    )
    gpu: bool = Field(False, description="one GPU a worker")
    accelerator: str | None = Field(None, description="kind of GPU that each worker must have, as Ray names it, such as H100")
    cpus_per_worker: int | None = Field(
        None,
        gt=0,
        description="CPUs that each worker takes, and its threads; by default one, or none beside a GPU, and those on a machine share its "
        "cores",
    )
    placement: Literal["pack", "spread"] = Field("pack", description="workers on as few machines as there is room on, or on as many")
    timeout: float = Field(
        1800,
        gt=0,
        description="seconds that a worker waits for the others, before training goes on from the last checkpoint; more than the first one "
        "takes for what it does alone, such as judging samples",
    )
    max_failures: int = Field(3, ge=0, description="how often to go on after a worker died")
    tracking: Uri | None = Field(None, description="MLflow tracking URI; an sqlite file in a local folder of runs by default")
    experiment: str = Field("ms2sl", description="MLflow experiment")
    candidate: bool = Field(
        True,
        json_schema_extra=formerly("champion"),
        description="register the finished model in MLflow as models:/<task>@candidate, which jobs.evaluate --promote makes the champion",
    )

    @property
    def folder(self) -> StoragePath:
        return StoragePath(self.runs) / self.name

    @property
    def system(self) -> System:
        return system(self.task)

    @property
    def kind(self) -> str:
        """Of the checkpoints that it makes."""
        return self.system.kind_of(self.stage)

    @property
    def section(self) -> str:
        """Where the options of its system begin."""
        return next(iter(self.system.sections))

    @property
    def built_on(self) -> dict[str, StoragePath]:
        """The folders of ``earlier``, once registered models are fetched."""
        return {name: StoragePath(folder) for name, folder in self.earlier.items()}

    def open_data(self) -> Dataset:
        """Reduced to the joints of the model that it begins with, if that has fewer of them."""
        return open_dataset(self.data, read_card(self.initial).skeleton if self.initial else None)

    @property
    def tags(self) -> dict[str, str | None]:
        """Of its run in MLflow."""
        return {"task": self.task, "stage": self.stage}

    def options(self) -> dict:
        return stages.command(self, super().options())

    @classmethod
    def under_current_names(cls, recorded: dict) -> dict:
        """A run of before there were virtual workers had one of them for each worker."""
        values = super().under_current_names(recorded)
        training = values.get("training")
        return values if training is None else values | {"training": {"virtual_workers": most(values.get("workers", 1))} | training}

    @property
    def learns(self) -> dict:
        """The options to record: a run can be resumed only with the same, but for those in ``changeable``."""
        if self.system.stages:
            return stages.learns(self) | self.provenance
        return self.model_dump(mode="json", include={"task", "training", "workers", *self.system.sections}) | self.provenance

    @property
    def provenance(self) -> dict[str, dict]:
        return super().provenance | stages.provenance(self)

    @property
    def changeable(self) -> set[str]:
        return super().changeable | {f"earlier.{stage}.model" for stage in self.system.stages}

    @property
    def sections(self) -> dict[str, Config]:
        """The options of its system or its stage, those of the shape of the model first."""
        if self.stage:
            return stages.sections(self)
        return {name: getattr(self, name) for name in self.system.sections}

    def initial_card(self, dataset: Dataset) -> ModelCard | None:
        """That of the model of ``--from``. Raises InputError if no training on this dataset can begin with it."""
        if self.initial is None:
            return None
        section, model = next(iter(self.sections.items()))
        card = read_initial_card(self.initial, self.kind, model, dataset.card, section, self.stage)
        stages.check_built_on(card, self.initial, self.built_on)
        return card

    def make_task(self, dataset: Dataset, commit: str | None) -> TrainingTask:
        torch.manual_seed(self.training.seed)  # the same first weights in every run of these options
        sections, before = self.sections, self.initial_card(dataset)
        card = ModelCard.of(self.kind, next(iter(sections.values())), dataset.card, recipe=self.learns, commit=commit)
        card = card if before is None else continued(card, before)
        if self.system.output == "poses":
            card = card.model_copy(update={"learned": tuple(each for each in card.learned if each in self.system.inputs)})
        task = stages.make_task(self, dataset, card) if self.stage else self.system.task(dataset, sections, card)
        if before is not None:
            load_initial(task.module, self.initial)
        return task


def train_worker(config: dict) -> dict:
    """What each worker runs. Divergence is a result, not a failure: to try it again would diverge again."""
    options: TrainCommand = config["options"]
    beside = ray.train.get_context().get_local_world_size()
    torch.set_num_threads(config["threads"] or max(1, len(os.sched_getaffinity(0)) // beside))
    dataset = options.open_data()
    reporter = RayReporter(config["start"], beside=not options.folder.is_local)
    task = options.make_task(dataset, config["commit"])
    if judging := config["judging"]:
        quality = judging.quality(dataset, str(reporter.device)) if reporter.rank == 0 else None
        task = TaskWithSampleMetrics(task, quality, judging.sampling)
    plans, pinned = worker_plans(options.training, dataset, reporter.rank, reporter.world_size), reporter.device.type == "cuda"
    try:
        with full_disk_told(options.folder):
            return train(task, lambda step: stream(plans, task.collate, step, options.training.steps, pinned), options.training, reporter)
    except Diverged as error:
        return {"diverged": str(error)}
    except RuntimeError as error:
        if "timed out" not in str(error).lower() or not is_together():
            raise
        raise InputError(f"rank {reporter.rank} waited {options.timeout:g} s for others: {late()}; see its log and its machine") from error


def dealt(options: TrainCommand, overwrite: bool = False) -> TrainCommand:
    """With as many virtual workers as the run was begun with, or more where there are more workers by now. overwrite: whether that run is
    to be forgotten."""
    if options.training.virtual_workers:
        return options
    recorded = None if overwrite or options.overwrite else read_recipe(options.folder)
    begun = options.under_current_names(recorded)["training"]["virtual_workers"] if recorded else 1
    virtual = {"virtual_workers": max(begun, most(options.workers))}
    return options.model_copy(update={"training": options.training.model_copy(update=virtual)})


def run(options: TrainCommand) -> StoragePath:
    """Trains to the end, each stage of a system in turn, and returns the folder of the finished model."""
    options = options.model_copy(update={"data": absolute(options.data)})
    options = options.model_copy(update={"runs": StoragePath(options.runs).uri})
    options = with_folders(options, "from", "earlier", within=options.runs, runs=options.runs)
    options = as_begun(options)
    todo, dataset = [dealt(each, options.overwrite) for each in stages.to_train(options)], options.open_data()
    if options.overwrite:
        check_kept(options.folder / options.stage if options.stage else options.folder, options.initial, *options.built_on.values())
    stages.check_earlier(todo[0], dataset)
    for each in todo:
        check(each, dataset)
    if dataset.validation == "train":
        print("there is no dev split: dev_… are figures of the training clips")
    with held(options):
        if not options.system.stages:
            return run_in_turn(todo[0], dataset)
        stages.check_whole(options, todo)
        models = [run_in_turn(each, dataset) for each in todo]
        return stages.publish_whole(options, models[-1]) if todo[-1].kind == options.task else models[-1]


def check(options: TrainCommand, dataset: Dataset) -> None:
    """Raises InputError for what would fail later."""
    if options.accelerator and not options.gpu:
        raise InputError(f"--accelerator {options.accelerator} is a kind of GPU, and workers have none: say --gpu")
    if before := options.initial_card(dataset):
        tell_fps(before.fps, dataset.card.fps)
        if options.system.output == "poses":
            tell_glosses(before.glosses, dataset.card.glosses)
    worker_plans(options.training, dataset, world_size=most(options.workers))
    dataset.shards(dataset.validation)


def run_in_turn(options: TrainCommand, dataset: Dataset) -> StoragePath:
    """The folder of the finished model, whose run is in the hands of this process."""
    if going := goes_on(options, dataset):
        check_cluster(options)  # before anything of a run is made, or forgotten
    check_run_identity(options, dataset)
    with kept_outboxes(options.folder):
        return run_alone(options, dataset) if going else finish(options, dataset)


def goes_on(options: TrainCommand, dataset: Dataset) -> bool:
    """Whether there is anything to train. Raises InputError if the folder is another run's, or has lost what is needed to go on."""
    if options.overwrite:
        return True
    changes_since(options, dataset)
    if trained_to(options.folder) == options.training.steps:
        return False
    if (options.folder / MODEL).exists() and not reached(options.folder):
        raise InputError(
            f"{options.folder} has lost its checkpoints, so it cannot go on: choose another --name, or --overwrite to start again"
        )
    return True


def finish(options: TrainCommand, dataset: Dataset) -> StoragePath:
    """What is left to do of a run that is trained."""
    finished = options.folder / MODEL
    if (outboxes(options.folder) / OUTBOX).exists():  # MLflow was away at the end
        hand_over(options, open_tracker(options, dataset), finished)
    print(f"{options.name} is trained already; model: {finished}")
    return finished


def check_cluster(options: TrainCommand) -> None:
    """Starts Ray. Raises InputError if the cluster can never run the workers, or does not see what they need."""
    start_ray()
    if not options.folder.is_local and ray.util.client.ray.is_connected():
        raise InputError(f"--runs {options.folder}: a client (ray://) does not see how a run in a store goes on: use `ray job submit`")
    number, taken = least(options)
    check_resources(number, taken.get("CPU", 0), taken.get("GPU", 0), options.accelerator)
    read = named_folders("--data", options.data) | {"--from": options.initial}
    read |= {f"--earlier {name}": folder for name, folder in options.earlier.items()}
    check_shared(read=read, written={"--runs": options.folder}, gpus=1 if options.gpu else 0)


def run_alone(options: TrainCommand, dataset: Dataset) -> StoragePath:
    """Trains from the last checkpoint to the end, and publishes the model."""
    tracker, finished = open_tracker(options, dataset), options.folder / MODEL
    try:
        with shown(tracker.outbox, options.training.steps, f"train {options.name}", "step", least(options)):
            result = fit(options, [WriteReports(tracker.outbox)])
        if "diverged" in result.return_value:
            raise Diverged(result.return_value["diverged"])
        with result.checkpoint.as_directory() as folder:
            publish(Path(folder), finished)
    except BaseException as error:
        tracker.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    hand_over(options, tracker, finished)
    print(f"model: {finished}\nMLflow: mlflow ui --backend-store-uri {public(tracker.uri)}")
    return finished


def fit(
    options: TrainCommand,
    callbacks: list,
    judging: SampleMetricsConfig | None = None,
    start: AnyPath | None = None,
    cpus: int | None = None,
) -> ray.train.Result:
    """Ray Train resumes a run by its name, from its last checkpoint.

    judging: how its samples are judged at each validation. start: a checkpoint to go on from. cpus: those that each worker takes; by
    default those of a machine share it.
    """
    trainer = Interruptible(
        train_worker,
        train_loop_config={
            "options": options,
            "threads": cpus or options.cpus_per_worker,
            "commit": git_commit(),
            "judging": judging,
            "start": start,
        },
        torch_config=TorchConfig(timeout_s=math.ceil(options.timeout)),
        scaling_config=scaling(options, cpus),
        run_config=ray.train.RunConfig(
            name="train",
            **ray_storage(options.folder),
            failure_config=ray.train.FailureConfig(max_failures=options.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            callbacks=callbacks,
        ),
    )
    try:
        with address_known(), waiting_for_workers(options.workers):
            return trainer.fit()
    except SystemExit:  # Ray's own answer to Ctrl-C, after it has stopped the workers
        raise KeyboardInterrupt from None
    except ray.exceptions.RayActorError:  # the controller
        lost = "the cluster was lost, or the machine on which the training was controlled"
        raise InputError(f"{lost}: once `ray status` answers, run the same command again to go on") from None


def open_tracker(options: TrainCommand, dataset: Dataset) -> Tracker:
    """One MLflow run for the whole training, however often it is interrupted."""
    known = options.folder / RUN_ID
    if not (options.folder.is_local or options.tracking):
        print(f"MLflow at {public(default_uri(options.runs))}: --tracking names another that the whole team sees")
    tracker = Tracker.open(
        options.tracking or default_uri(options.runs),
        options.experiment,
        options.name,
        run_id=known.read_text() if known.exists() else None,
        params=options.options() | options.provenance,
        tags={"git_commit": git_commit(), "dataset": dataset.card.fingerprint} | options.tags,
        outbox=outboxes(options.folder) / OUTBOX,
        on_start=lambda run_id: known.write(run_id.encode()),
    )
    tracker.dictionary(options.options(), "recipe.yaml")
    tracker.dictionary(dataset.card.model_dump(mode="json"), "dataset.json")
    return tracker


def ray_storage(folder: StoragePath) -> dict[str, Any]:
    """Where Ray keeps a run, as its configurations say it."""
    filesystem, path = folder.store
    return {"storage_path": path} if folder.is_local else {"storage_path": path, "storage_filesystem": filesystem}


def hand_over(options: TrainCommand, tracker: Tracker, finished: StoragePath) -> None:
    """Gives the finished model to MLflow, as a registered model or as an artifact of its run. If that is away, the outbox stays, and the
    same command tries it again."""
    registers = options.system.output == "poses" and options.kind == options.task and options.candidate
    if not registers:
        tracker.artifact(finished, "checkpoint")
    registered = not registers or tracker.register(finished, options.task, CANDIDATE) is not None
    if not registered:
        print(f"MLflow has no version of {finished} yet, because it did not answer or refused it: the same command registers it")
    if tracker.finish("FINISHED") and registered:
        tracker.outbox.delete()


if __name__ == "__main__":
    main(TrainCommand, run)
