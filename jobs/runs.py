"""The folder of a run: what it was begun with, what may change when it goes on, and who works in it.

Options of a run have ``name``, ``runs``, ``folder`` and ``overwrite``; ``learns``, the options to record, which decide what is learned or
found; and ``changeable``, the names of those that do not (``ms2sl.config.changeable``).
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from jobs.overwrite import RECIPE, RunOptions, forget
from ms2sl.config import flatten
from ms2sl.data.dataset import Dataset
from ms2sl.deprecated_names import values_before
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath
from ms2sl.tracking.tracker import git_commit
from ms2sl.training.checkpoint import CONFIG
from ms2sl.training.state import PROGRESS

MODEL = "model"
STEP = "step-"  # what the names of checkpoints begin with
RUN_ID = "mlflow_run_id"  # the file that has it
CHOSEN, CHANGES = "chosen", "changes"  # in recipe.json, beside the options: names of those not at their default; what changed, and when
STEPS = "training.steps"
LONGEST = 40  # characters of a value in a message
REMARKS = {
    STEPS: "; the learning rate follows the schedule of that many steps from here on",
    "training.max_frames": "; what is learned from here on is not bit for bit what would have been learned before",
    "workers": "; what is learned from here on is the same, but for rounding",
    "training.parallel": "; what is learned from here on is the same, but for rounding",
    "training.recompute": "; what is learned from here on is the same, but for rounding",
    "training.compile": "; what is learned from here on is the same, but for rounding",
    "training.virtual_workers": "; what is learned from here on is not bit for bit what would have been learned before",
}


def as_begun(options: Any) -> Any:
    """The options of a run that goes on: what came to be an option after it was begun, and is not asked for otherwise, is as it was."""
    recorded = None if options.overwrite else read_recipe(options.folder)
    if recorded is None:
        return options
    known = dict(flatten(options.under_current_names(recorded)))
    defaults = usual(options)
    values = dict(flatten(options.model_dump(mode="json")))
    for name, value in values_before(type(options)).items():
        section, _, field = name.rpartition(".")
        of_the_run = any(each.startswith(f"{section}.") for each in known)
        if of_the_run and known.get(name, value) == value and values[name] == defaults[name]:
            options = options.model_copy(update={section: getattr(options, section).model_copy(update={field: value})})
    return options


def check_run_identity(options: RunOptions, dataset: Dataset | None) -> None:
    """Makes the run's folder, or finds that it is this very run's; what changed and may change is recorded there and printed.

    dataset: None where the run may have several. Raises InputError if the folder is another run's.
    """
    if options.overwrite:
        forget(options)
    now, (changes, changed) = learns(options, dataset), changes_since(options, dataset)
    others = {"workers"} if "training.virtual_workers" in changed else set()  # whose remark would be wrong then
    for name, (old, new) in changed.items():
        print(f"{options.name} goes on with {name} {new} ({old} before){'' if name in others else REMARKS.get(name, '')}")
    if changed:
        when = {"time": time.strftime("%Y-%m-%d %H:%M:%S%z"), "commit": git_commit(), "step": reached(options.folder)}
        changes = [*changes, when | {"from": {name: old for name, (old, _) in changed.items()}}]
    defaults = usual(options)
    chosen = sorted(name for name, value in flatten(now) if value != defaults.get(name))
    (options.folder / RECIPE).write(json.dumps(now | {CHOSEN: chosen, CHANGES: changes}, indent=1).encode())


def changes_since(options: RunOptions, dataset: Dataset | None) -> tuple[list, dict[str, tuple[Any, Any]]]:
    """What changed in the run before, as recorded, and names and both values of what changes now; nothing if there is no such run.

    Raises InputError if it is another run's folder.
    """
    before = read_recipe(options.folder)
    if before is None:
        return [], {}
    before = options.under_current_names(before)
    values = dict(flatten(learns(options, dataset)))
    changed = differences(before, values, usual(options) | values_before(type(options)))  # type: ignore[arg-type]
    refuse_other(options, {name: pair for name, pair in changed.items() if name not in options.changeable})
    if STEPS in changed:
        refuse_fewer(options, *changed[STEPS])
    return before.get(CHANGES, []), changed


def learns(options: RunOptions, dataset: Dataset | None) -> dict[str, Any]:
    """What decides what the run learns."""
    data = {} if dataset is None else {"dataset": dataset.card.fingerprint} | ({"mixture": dataset.parts} if dataset.parts else {})
    return options.learns | data


def usual(options: RunOptions) -> dict[str, Any]:
    """Today's defaults."""
    return dict(flatten(type(options).model_construct().model_dump(mode="json")))


def read_recipe(folder: StoragePath) -> dict | None:
    """What a run was begun with, and how that changed; None if there is no such run. Raises InputError if it cannot be read."""
    path = folder / RECIPE
    try:
        return json.loads(path.read_text()) if path.exists() else None
    except (InputError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): restore it, or delete {folder} to start the run again") from None


def differences(before: Mapping[str, Any], values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Names and both values of what is not as it was recorded.

    before: what was recorded; values: today's, by dotted name; defaults: what was so where the record does not say it. An option that this
    version lacks does not count if it was at its default.
    """
    recorded = dict(flatten({name: value for name, value in before.items() if name not in (CHOSEN, CHANGES)}))
    recorded = {name: defaults[name] for name in values if name in defaults} | recorded
    gone = {name for name in recorded.keys() - values.keys() if CHOSEN in before and name not in before[CHOSEN]}
    names = sorted((values.keys() | recorded.keys()) - gone)
    return {name: (recorded.get(name), values.get(name)) for name in names if recorded.get(name) != values.get(name)}


def overwriting(options: RunOptions) -> str:
    """How a user says that this run, or this stage of one, is to begin again."""
    stage = getattr(options, "stage", None)
    return f"--stage {stage} --overwrite" if stage else "--overwrite"


def refuse_other(options: RunOptions, changed: Mapping[str, tuple[Any, Any]]) -> None:
    """Raises InputError if anything changed that may not."""
    if not changed:
        return
    changed = {"task": changed["task"]} if "task" in changed else changed
    other = ", ".join(name + _values(*pair) for name, pair in changed.items())
    raise InputError(
        f"{options.folder} holds a run with other settings ({other}): "
        f"choose another name or folder of runs, or delete {options.folder} to start it again ({overwriting(options)} does that)"
    )


def _values(old: Any, new: Any) -> str:
    if new is None:
        return f" {old} there, and unknown here"
    return f" {old} there, {new} here" if len(f"{old}{new}") < LONGEST else ""


def refuse_fewer(options: RunOptions, before: int, now: int) -> None:
    """Raises InputError if a run is to end before the step that it has come to."""
    step = max(reached(options.folder), trained_to(options.folder))
    if now < before and now <= step and now != trained_to(options.folder):
        raise InputError(
            f"{options.folder} has come to step {step} already: ask for more than {step} {STEPS}, or choose another --name to stop at {now}"
        )


def reached(folder: StoragePath) -> int:
    """The step of the last checkpoint from which a run can go on, 0 without one."""
    whole = (each for each in (folder / "train").folders() if each.name.startswith(STEP) and (each / PROGRESS).exists())
    return max((int(each.name.removeprefix(STEP)) for each in whole), default=0)


def trained_to(folder: StoragePath) -> int:
    """The steps that the finished model of a run was trained for, 0 where that cannot be told."""
    config = folder / MODEL / CONFIG
    try:
        return json.loads(config.read_bytes())["recipe"]["training"]["steps"] if config.exists() else 0
    except (InputError, ValueError, KeyError):
        return 0
