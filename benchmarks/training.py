"""Training speed: real frames a second of the plain loop and of Ray Train on the same work, in turn, in one run.

    python -m benchmarks.training --data data/fingerspelling --rounds 3

Start-up is left out: a run's first report does not count. Runs are long enough for the read-ahead to fill up. Two workers are compared
with a plain loop that is pinned to one core, and with two such at once, each on a core of its own: what the second core itself can give.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch

from benchmarks.common import machine, save
from jobs.cli import start_ray
from jobs.ray_reporter import WriteReports
from jobs.train import TrainCommand, fit
from ms2sl.data.batch_sampler import EpochPlan
from ms2sl.data.dataset import Dataset
from ms2sl.tracking.outbox import Outbox
from ms2sl.training.local import LocalReporter, local_batches
from ms2sl.training.loop import train

ONE, TWO = "plain loop on one core", "two such at once"


def speed(reports: list[dict]) -> tuple[float, float]:
    """Frames a second and share of waiting, over the reports after the first (which warms up)."""
    reports = reports[1:]
    return statistics.mean(r["frames_per_second"] for r in reports), statistics.mean(r["data_wait_share"] for r in reports)


def plain(options: TrainCommand, cores: Sequence[int] | None = None) -> tuple[float, float]:
    """On those cores alone, or on all."""
    if cores:
        os.sched_setaffinity(0, cores)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    dataset, reporter = Dataset(options.data), LocalReporter()
    task = options.make_task(dataset, None)
    plan = EpochPlan.of(dataset, options.training.batch_size, 0)
    train(task, lambda step: local_batches(plan, task.collate, step), options.training, reporter)
    return speed(reporter.history)


def at_once(options: TrainCommand, loops: int) -> tuple[float, float]:
    """Plain loops, each in a process of its own on a core of its own, all together."""
    with ProcessPoolExecutor(loops, multiprocessing.get_context("spawn")) as pool:
        measured = list(pool.map(partial(plain, options), [[core] for core in sorted(os.sched_getaffinity(0))[:loops]]))
    return sum(frames for frames, _ in measured), statistics.mean(wait for _, wait in measured)


def on_ray(options: TrainCommand, workers: int) -> tuple[float, float]:
    """All workers together; each has the whole batch size."""
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder) / "reports.jsonl")
        fit(options.model_copy(update={"runs": Path(folder), "workers": workers}), [WriteReports(outbox)])
        frames, wait = speed([report["values"] for report, _ in outbox.read(0)])
    return frames, wait


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/fingerspelling"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    steps = arguments.steps
    never = {"validate_every": 10 * steps, "checkpoint_every": 10 * steps, "log_every": 20, "steps": steps}
    options = TrainCommand(data=arguments.data.absolute(), training=never)
    start_ray()
    ways: dict[str, Callable[[], tuple[float, float]]] = {
        "plain loop": lambda: plain(options),
        "Ray Train, 1 worker": lambda: on_ray(options, 1),
        ONE: lambda: at_once(options, 1),
        TWO: lambda: at_once(options, 2),
        "Ray Train, 2 workers": lambda: on_ray(options, 2),
    }
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, measure in ways.items():
            figures[name].append(measure())
            print(name, *figures[name][-1], flush=True)
    beside = ("plain loop", ONE, TWO)
    rows = [("", "frames/s (median)", "min – max", "data wait", *(f"beside {name} (median of pairs)" for name in beside))]
    for name, measured in figures.items():
        frames, waits = zip(*measured, strict=True)
        ratios = [statistics.median(a / b for a, (b, _) in zip(frames, figures[other], strict=True)) for other in beside]
        span = f"{min(frames):.0f} – {max(frames):.0f}"
        wait = f"{100 * statistics.median(waits):.1f} %"
        rows.append((name, f"{statistics.median(frames):.0f}", span, wait, *(f"{ratio:.2f}" for ratio in ratios)))
    save("training", f"{steps} steps of batch {options.training.batch_size} a worker, {arguments.rounds} rounds. {machine()}", rows)


if __name__ == "__main__":
    main()
