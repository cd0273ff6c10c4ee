"""Searches a space of settings with Ray Tune. A trial is a training that is judged now and then by what it produces on dev clips; or, where
a space holds choices of sampling alone, one trained model that is sampled in another way.

The same command after any end goes on: trials that have ended are not run again.
"""

import logging
import os
import random
import signal
import sys
import threading
import time

from ray import tune
from ray.tune import TuneError

from jobs.cli import main, start_ray
from jobs.evaluate import check_reader
from jobs.models import with_folders
from jobs.outboxes import kept_outboxes
from jobs.run_lock import held
from jobs.runs import as_begun, check_run_identity
from jobs.shared import check_shared
from jobs.sweep.callbacks import TrialRecorder, settle
from jobs.sweep.command import TuneCommand, open_space
from jobs.sweep.report import conclude
from jobs.sweep.resources import concurrency, needs
from jobs.sweep.resume import Pending, key, pending
from jobs.sweep.search import scheduler, searcher
from jobs.sweep.trainables import trainable
from jobs.train import open_tracker, ray_storage
from ms2sl.data.dataset import Dataset
from ms2sl.deprecated_names import hint
from ms2sl.evaluation.objective import usual_score
from ms2sl.io.storage import StoragePath
from ms2sl.sweep.trial_store import TrialStore
from ms2sl.systems import back_translation
from ms2sl.systems.registry import read_producer_card
from ms2sl.tracking.tracker import Tracker
from ms2sl.training.checkpoint import check_skeleton
from ms2sl.training.loop import worker_plans
from tune_spaces import Space

ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the ledger and MLflow keep all that is reported
    "TUNE_WARN_THRESHOLD_S": "60",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def run(options: TuneCommand) -> None:
    space, former = open_space(options.space)
    for name, today in former.items():
        print(f"space '{space.name}': {hint(name, today)}", file=sys.stderr)
    options = options.model_copy(update={"data": StoragePath(options.data).uri, "runs": StoragePath(options.runs).uri})
    options = with_folders(options, "back_translator", "trained", "from", within=options.runs, runs=options.runs)
    task = read_producer_card(options.trained).kind if options.trained else options.task
    options = as_begun(options.model_copy(update={"task": task}).settled(space))
    dataset = Dataset(options.data)
    check(options, space, dataset)
    options = options.model_copy(update={"score": options.score or usual_score(back_translation.load(options.back_translator))})
    ledger = TrialStore(options.folder / "trials", TuneCommand)
    together = room(options) if pending(options, space, [] if options.overwrite else ledger.trials()) else 0
    with held(options):
        check_run_identity(options, dataset)
        with kept_outboxes(options.folder):
            run_alone(options, space, dataset, ledger, together)


def run_alone(options: TuneCommand, space: Space, dataset: Dataset, ledger: TrialStore, together: int) -> None:
    """What is left of the sweep, so many trials at a time, and what can be said of it."""
    todo = pending(options, space, ledger.trials())
    tracker, status = open_tracker(options, dataset), "FAILED"
    try:
        interrupted = bool(todo) and search(options, space, ledger, todo, tracker, together)
        settle(options, ledger, tracker)
        trials = ledger.trials()
        if any(trial.history for trial in trials) or not pending(options, space, trials):
            conclude(options, space, trials, tracker, again=not interrupted)
            status = "FINISHED"
        else:
            status = "KILLED"
            print("no trial has come to its first judgement yet: run the same command again to go on")
        if interrupted:
            raise KeyboardInterrupt
    except (KeyboardInterrupt, SystemExit):  # the latter is Ray's answer to a termination
        status = "KILLED"
        raise
    finally:
        if tracker.finish(status):
            tracker.outbox.delete()


def room(options: TuneCommand) -> int:
    """Trials at a time; Ray runs after this. Raises InputError if there is room for none."""
    start_ray(**({"num_cpus": None} if options.workers_per_trial == 1 else {}))
    together = concurrency(options)
    read = {"--data": options.data, "--back-translator": options.back_translator, "--trained": options.trained}
    read["--from"] = options.initial
    check_shared(read=read, written={"--runs": options.runs}, gpus=needs(options).get("GPU", 0))
    return together


def check(options: TuneCommand, space: Space, dataset: Dataset) -> None:
    """Raises InputError for what would fail in every trial."""
    check_reader(options.back_translator, dataset)
    if options.trained:
        check_skeleton(read_producer_card(options.trained), dataset.skeleton, options.trained)
    else:
        for recipe in [{}, *space.extremes()] if options.initial else []:
            options.with_recipe(recipe).training_command().initial_card(dataset)
        worker_plans(options.training, dataset, world_size=options.workers_per_trial)
    dataset.shards(dataset.validation)
    if dataset.validation == "train":
        print("there is no dev split: trials are judged on training clips")


def search(options: TuneCommand, space: Space, ledger: TrialStore, todo: Pending, tracker: Tracker, together: int) -> bool:
    """Runs what is left to run, so many trials at a time; returns whether the user stopped it."""
    os.environ |= {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    known = ledger.trials()
    stopping = scheduler(options, space, known)
    algorithm, configurations, samples = searcher(options, space, known, todo)
    starts = {key(trial.recipe): options.checkpoint_of(trial) for trial in todo.trials if trial.checkpoint}
    books = TrialRecorder(options, ledger, tracker, stopping, known, todo)
    tuner = tune.Tuner(
        trainable(options, starts),
        param_space=configurations,
        tune_config=tune.TuneConfig(
            search_alg=algorithm,
            scheduler=stopping,
            num_samples=samples,
            max_concurrent_trials=together if options.scheduler != "pbt" else None,  # of a population all are alive, and take turns
            time_budget_s=options.minutes and 60 * options.minutes,
            reuse_actors=options.workers_per_trial == 1,
            trial_name_creator=lambda trial: trial.trial_id,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=time.strftime("%Y%m%d-%H%M%S"),
            **ray_storage(options.folder / "tune"),
            # Of a population anyone may go on from what another was long ago.
            checkpoint_config=tune.CheckpointConfig(num_to_keep=None if options.scheduler == "pbt" else 2),
            failure_config=tune.FailureConfig(max_failures=options.max_failures if options.workers_per_trial == 1 else 0),  # Ray Train's
            callbacks=[books],
            verbose=0,
        ),
    )
    random.seed(options.seed)  # PBT draws from it
    began, handler = time.monotonic(), signal.getsignal(signal.SIGINT)
    try:
        tuner.fit()
    except TuneError:
        if books.broken:
            raise books.broken from None
        raise
    finally:
        books.close()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)  # Tune leaves its own, which would swallow the next Ctrl-C
    over = options.minutes is not None and time.monotonic() - began >= 60 * options.minutes
    return bool(pending(options, space, ledger.trials())) and not over


if __name__ == "__main__":
    main(TuneCommand, run)
