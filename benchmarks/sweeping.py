"""What a sweep costs beside its trials, and what ASHA saves: the same trials in a plain loop, in a sweep, and in one with ASHA.

    python -m benchmarks.sweeping --data data/fingerspelling --back-translator runs/recogniser/model

All run the same draws with the same threads. The loop and the sweep beside it take one trial after the other; ASHA and its rival have
as many at a time as there are cores. Starting Ray is measured by itself: a sweep does it once. What sweeps conclude is left out.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.common import machine, save
from jobs.cli import start_ray
from jobs.sweep.command import TuneCommand
from jobs.sweep.resources import concurrency
from jobs.sweep.resume import listed, pending
from jobs.sweep.trainables import train_judged
from jobs.tune import search
from ms2sl.evaluation.objective import QUALITY
from ms2sl.sweep.trial_store import TrialStore
from ms2sl.tracking.tracker import Tracker, default_uri
from ms2sl.training.local import LocalReporter
from tune_spaces import load_space

SPACE = load_space("loss_weights")


def loop(options: TuneCommand) -> float:
    """Seconds for all trials one after the other in this process."""
    torch.set_num_threads(options.cpus_per_trial)
    began = time.perf_counter()
    for trial in listed(options, SPACE):
        with tempfile.TemporaryDirectory() as folder:
            train_judged(options, trial.recipe, LocalReporter(Path(folder)))
    return time.perf_counter() - began


def sweep(options: TuneCommand) -> tuple[float, float, int]:
    """Seconds, the best loss of quality, and how many trials finished."""
    with tempfile.TemporaryDirectory() as folder:
        options = options.model_copy(update={"runs": Path(folder)})
        ledger, began = TrialStore(options.folder / "trials"), time.perf_counter()
        tracker = Tracker.open(default_uri(options.runs), options.experiment, options.name)
        search(options, SPACE, ledger, pending(options, SPACE, []), tracker, concurrency(options))
        seconds, trials = time.perf_counter() - began, ledger.trials()
    return seconds, min(trial.value(QUALITY) for trial in trials), sum(trial.outcome == "finished" for trial in trials)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/fingerspelling"))
    parser.add_argument("--back-translator", type=Path, default=Path("runs/recogniser/model"))
    parser.add_argument("--trials", type=int, default=4, help="of the loop and of the sweep beside it")
    parser.add_argument("--steps", type=int, default=90)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--asha-trials", type=int, default=12)
    parser.add_argument("--asha-steps", type=int, default=270)
    arguments = parser.parse_args()
    shared = {"data": str(arguments.data.absolute()), "back_translator": arguments.back_translator.absolute()}
    cores = os.cpu_count() or 1
    began = time.perf_counter()
    start_ray(num_cpus=cores)
    starting = time.perf_counter() - began

    training = {"steps": arguments.steps}
    one_by_one = {"trials": arguments.trials, "scheduler": "none", "concurrent": 1, "cpus_per_trial": cores}
    alone = TuneCommand(**shared, **one_by_one, num_evals=3, training=training).settled(SPACE)
    rounds = [(loop(alone), sweep(alone)[0]) for _ in range(arguments.rounds)]
    loops, sweeps = zip(*rounds, strict=True)
    ratio = statistics.median(mine / plain for plain, mine in rounds)
    rows = [("", "seconds (median)", "ratio to the loop (median of pairs)")]
    rows.append((f"loop of {arguments.trials} trials of {arguments.steps} steps", f"{statistics.median(loops):.0f}", "1.00"))
    rows.append(("the same in a sweep", f"{statistics.median(sweeps):.0f}", f"{ratio:.2f}"))
    rows.append(("Ray starts, once", f"{starting:.0f}", ""))
    title = f"Overhead of a sweep, {cores} threads a trial, {arguments.rounds} rounds. {machine()}"
    save("sweeping-overhead", title, rows)

    rows = [("", "seconds", "best guarded letter error", "finished")]
    together = {"trials": arguments.asha_trials, "num_evals": 9, "cpus_per_trial": 1, "concurrent": None}
    together |= {"training": {"steps": arguments.asha_steps}}
    for name in ("none", "asha"):
        seconds, best, finished = sweep(TuneCommand(**alone.model_dump() | together | {"scheduler": name}).settled(SPACE))
        rows.append(
            ("no scheduler" if name == "none" else "ASHA", f"{seconds:.0f}", f"{best:.2f}", f"{finished} of {arguments.asha_trials}")
        )
    title = f"{arguments.asha_trials} draws of loss weights, {arguments.asha_steps} steps at most, {cores} at a time. {machine()}"
    save("sweeping-asha", title, rows)


if __name__ == "__main__":
    main()
