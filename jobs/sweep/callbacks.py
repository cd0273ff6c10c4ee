"""Writes down what happens to each trial, in the ledger and in MLflow: all of it in the driver, where it cannot be lost with a worker."""

import math
from collections.abc import Sequence
from pathlib import Path

from ray import cloudpickle, tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.result import AUTO_RESULT_KEYS
from tqdm import tqdm

from jobs.cli import user_error
from jobs.outboxes import OF_TRIALS, outboxes
from jobs.sweep.command import TuneCommand
from jobs.sweep.resume import Pending, key
from jobs.sweep.search import Asha
from jobs.sweep.trainables import DIVERGED
from jobs.waiting import watch
from ms2sl.config import flatten
from ms2sl.errors import InputError
from ms2sl.evaluation.objective import QUALITY
from ms2sl.io.uri import public
from ms2sl.sweep.trial_store import SET, Trial, TrialStore
from ms2sl.sweep.values import is_number, judged
from ms2sl.tracking.tracker import Tracker

STATUS = {"finished": "FINISHED", "stopped": "KILLED", "open": "KILLED", "diverged": "FAILED", "failed": "FAILED"}


class TrialRecorder(tune.Callback):
    """One run in MLflow for each trial, under the run of the sweep, and a bar that shows how far the sweep is."""

    def __init__(self, options: TuneCommand, ledger: TrialStore, parent: Tracker, scheduler, known: Sequence[Trial], todo: Pending):
        # Tune writes all of this to disk, pickled, before the first trial.
        self.options, self.ledger, self.parent, self.scheduler = options.without_credentials(), ledger, parent, scheduler
        self.known = {trial.number: trial for trial in known}
        self.expected = list(todo.trials)
        self.running: dict[str, Trial] = {}  # by Tune's id
        self.before: dict[str, float] = {}  # seconds of earlier commands
        self.trackers: dict[str, Tracker] = {}
        self.total = len(self.known) + todo.more + sum(trial.number not in self.known for trial in todo.trials)
        self.bar: tqdm | None = None
        self.broken: InputError | None = None  # why the book could not be written; Tune keeps no more of it than its traceback

    def setup(self, **info) -> None:
        self.bar = tqdm(total=self.total, initial=self._ended(), desc=f"sweep {self.options.name}", unit="trial")
        watch(self.bar)

    def on_trial_start(self, iteration, trials, trial: TuneTrial, **info) -> None:
        if trial.trial_id in self.running:  # it goes on after a failure or an exchange
            return
        record = self._claim(trial.config["recipe"])
        tracker = open_run(self.options, record, self.parent)
        self.before[trial.trial_id], self.trackers[trial.trial_id] = record.seconds, tracker
        self._write(trial, run_id=tracker.run_id, record=record)

    def on_trial_result(self, iteration, trials, trial: TuneTrial, result: dict, **info) -> None:
        if DIVERGED in result:
            self._end(trial, "diverged", result[DIVERGED])
            return
        numbers = {name: float(value) for name, value in result.items() if name not in AUTO_RESULT_KEYS and is_number(value)}
        row = {name: value for name, value in numbers.items() if math.isfinite(value)}
        recipe, record = result["config"]["recipe"], self.running[trial.trial_id]  # that of the trial may be its next one already
        history = record.history
        if self.options.scheduler == "pbt":
            row |= {f"{SET}{name}": value for name, value in flatten(recipe)}
        else:  # a kill may have kept the checkpoint that belongs to the last row
            history = tuple(earlier for earlier in history if earlier["step"] < row["step"])
        self.trackers[trial.trial_id].metrics(row, int(row["step"]))
        seconds = self.before[trial.trial_id] + result["time_total_s"]
        checkpoint = self._recorded(result["checkpoint_path"]) if "checkpoint_path" in result else record.checkpoint
        self._write(trial, recipe=recipe, history=(*history, row), seconds=seconds, checkpoint=checkpoint)

    def on_checkpoint(self, iteration, trials, trial: TuneTrial, checkpoint, **info) -> None:
        self._write(trial, checkpoint=self._recorded(checkpoint.path))

    def _recorded(self, checkpoint: str) -> str:
        """A checkpoint as Tune names it, as ``TuneCommand.checkpoint_of`` finds it."""
        folder = self.options.folder
        return checkpoint if folder.is_local else checkpoint.removeprefix(folder.store[1]).strip("/")

    def on_trial_complete(self, iteration, trials, trial: TuneTrial, **info) -> None:
        if self.running[trial.trial_id].outcome != "open":
            return
        if self.running[trial.trial_id].step >= self.options.steps:
            self._end(trial, "finished")
        elif isinstance(self.scheduler, Asha) and trial.trial_id in self.scheduler.stopped:
            self._end(trial, "stopped", f"by ASHA at step {self.running[trial.trial_id].step}")

    def on_trial_error(self, iteration, trials, trial: TuneTrial, **info) -> None:
        error = None
        if trial.pickled_error_file:  # of this very process; ``get_pickled_error`` looks where it is copied to only later
            error = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
        cause = getattr(error, "cause", None) or error
        lines = [type(cause).__name__, *str(cause).strip().splitlines()] if cause else ["its process died"]
        self._end(trial, "failed", user_error(error) or ": ".join(dict.fromkeys((lines[0], lines[-1]))))

    def close(self) -> None:
        """Ends the runs of trials that are still open; they go on with the next command."""
        for id, record in self.running.items():
            if record.outcome == "open":
                self._finish(id, "by the end of the command")
        if self.bar is not None:
            self.bar.close()

    def _finish(self, id: str, reason: str) -> None:
        record, tracker = self.running[id], self.trackers[id]
        finish(tracker, record, reason)
        if tracker.run_id != record.run_id:  # MLflow was away when the trial began
            self.running[id] = self.known[record.number] = record.model_copy(update={"run_id": tracker.run_id})
            self._keep(self.running[id])

    def _claim(self, recipe: dict) -> Trial:
        """The trial that was expected with this recipe, or a new one."""
        taken = next((trial for trial in self.expected if key(trial.recipe) == key(recipe)), None)
        if taken is None:
            return Trial(number=1 + max([*self.known, *(trial.number for trial in self.expected)], default=-1), recipe=recipe)
        self.expected.remove(taken)
        return taken

    def _write(self, trial: TuneTrial, record: Trial | None = None, **changes) -> None:
        record = (record or self.running[trial.trial_id]).model_copy(update=changes)
        self.running[trial.trial_id] = self.known[record.number] = record
        self._keep(record)
        self._show()

    def _keep(self, record: Trial) -> None:
        try:
            self.ledger.write(record)
        except InputError as error:
            self.broken = error
            raise

    def _end(self, trial: TuneTrial, outcome: str, reason: str = "") -> None:
        self._write(trial, outcome=outcome, reason=reason)
        self._finish(trial.trial_id, reason)

    def _ended(self) -> int:
        return sum(trial.outcome != "open" for trial in self.known.values())

    def _show(self) -> None:
        running = ", ".join(f"{t.number}:{t.step}" for t in self.running.values() if t.outcome == "open")
        first = judged(list(self.known.values()), QUALITY)[:1]
        found = "".join(f"; best {best.value(QUALITY):.3g} (trial {best.number})" for best in first)
        self.bar.set_postfix_str(f"at step {running or '-'}{found}", refresh=False)
        self.bar.update(self._ended() - self.bar.n)
        self.bar.refresh()

    def __getstate__(self) -> dict:
        parent = Tracker(self.parent.uri and public(self.parent.uri), self.parent.run_id)
        return self.__dict__ | {"bar": None, "parent": parent, "trackers": {}}


def open_run(options: TuneCommand, record: Trial, parent: Tracker) -> Tracker:
    """The run of a trial, under that of the sweep."""
    return Tracker.open(
        parent.uri,
        options.experiment,
        f"{options.name}-{record.number:03d}",
        run_id=record.run_id,
        params=record.recipe,
        tags={"trial": record.number, "name": record.name or None},
        parent=parent,
        key="trial",  # a kill may have kept the id of its run out of the ledger
        outbox=outbox(options, record),
    )


def outbox(options: TuneCommand, record: Trial) -> Path:
    return outboxes(options.folder) / OF_TRIALS / f"{record.number:03d}.jsonl"


def finish(tracker: Tracker, record: Trial, reason: str | None) -> None:
    tracker.tags({"outcome": record.outcome, "reason": reason or None})
    if tracker.finish(STATUS[record.outcome]):
        tracker.outbox.delete()


def settle(options: TuneCommand, ledger: TrialStore, parent: Tracker) -> None:
    """Ends what goes on in MLflow though nobody works on it, and tells it what it could not be told while it was away."""
    for record in ledger.trials():
        if outbox(options, record).exists():
            tracker = open_run(options, record, parent)
            finish(tracker, record, record.reason)
            if tracker.run_id != record.run_id:
                ledger.write(record.model_copy(update={"run_id": tracker.run_id}))
        elif (tracker := Tracker(parent.uri, record.run_id)).running():
            finish(tracker, record, record.reason or "by the end of the command")
