"""What embedding consistency is worth where most clips lack speech: the same budget with and without it, several seeds.

    python -m jobs.prepare --out data/mute --fingerspelling.missing-speech 0.8 --fingerspelling.missing-text 0
    python -m benchmarks.consistency --data data/mute

``on`` is the recipe as it is. ``off`` has neither contrastive, cycle and agreement losses nor priors and pseudo-features; the CTC of
speech, which is no part of ECL, stays in both. Runs that are finished are not run again.
"""

import argparse
import json
import os
import statistics
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks.common import machine, save
from jobs.train import TrainCommand
from ms2sl.backtranslation import recogniser
from ms2sl.batching import Plan
from ms2sl.dataset import Dataset
from ms2sl.evaluation import judge, recall_in_joint_space
from ms2sl.local import LocalReporter, local_batches
from ms2sl.producers.ms2sl import MS2SLProducer
from ms2sl.training import train

OFF = dict.fromkeys(("contrastive", "cycle", "agreement", "pseudo"), 0.0)
SETTINGS = {"on": {}, "off": OFF}
COLUMNS = ("text", "speech")


def trained(options: TrainCommand, folder: Path) -> Path:
    """A model of these options, trained in this process."""
    dataset, reporter = Dataset(options.data), LocalReporter(folder)
    task = options.make_task(dataset, None)
    plan = Plan(dataset.shards("train"), options.training.batch_size, options.training.seed)
    train(task, lambda step: local_batches(plan, task.collate, step), options.training, reporter)
    return reporter.latest()


def measure(options: TrainCommand, folder: Path, judge_folder: Path, threads: int) -> dict[str, float]:
    """Letter error, amplitude and R@1 on the test split, from text and from speech."""
    torch.set_num_threads(threads)
    result = folder / "result.json"
    if not result.exists():
        dataset, reader = Dataset(options.data), recogniser.load(judge_folder)
        producer, clips = MS2SLProducer.load(trained(options, folder)), list(dataset.clips("test"))
        scores = {}
        for modality in COLUMNS:
            produced = producer.produce([clip.utterance(modality) for clip in clips], seed=0)
            own = judge("", modality, produced, clips, reader, dataset.skeleton)
            recall = recall_in_joint_space(producer, clips, modality)
            scores[modality] = {"letter error %": own.letter_error, "amplitude": own.amplitude, "R@1 %": recall}
        result.write_text(json.dumps(scores))
    return json.loads(result.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/mute"))
    parser.add_argument("--runs", type=Path, default=Path("runs/consistency"))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parallel", type=int, default=2, help="trainings at a time")
    arguments = parser.parse_args()
    threads = max(1, (os.cpu_count() or 1) // arguments.parallel)
    never = {"validate_every": arguments.steps, "checkpoint_every": 200, "log_every": 50}
    reader = TrainCommand(data=arguments.data.absolute(), task="recogniser", training={"steps": 400} | never)
    runs = arguments.runs.absolute()
    judge_folder = LocalReporter(runs / "recogniser").latest() or trained(reader, runs / "recogniser")
    chosen = list(product(range(arguments.seeds), SETTINGS))
    with ProcessPoolExecutor(arguments.parallel, mp_context=get_context("spawn")) as pool:
        waiting = {}
        for seed, name in chosen:
            training = {"steps": arguments.steps, "seed": seed} | never
            options = TrainCommand(data=arguments.data.absolute(), losses=SETTINGS[name], training=training)
            waiting[name, seed] = pool.submit(measure, options, runs / f"{name}-{seed}", judge_folder, threads)
        scores = {key: future.result() for key, future in waiting.items()}
    rows = [("ECL", "from", "letter error %, mean", "by seed", "amplitude", "R@1 %")]
    for name, modality in product(SETTINGS, COLUMNS):
        found = [scores[name, seed][modality] for seed in range(arguments.seeds)]
        errors = [each["letter error %"] for each in found]
        means = (f"{statistics.mean(each[key] for each in found):.{digits}f}" for key, digits in (("amplitude", 2), ("R@1 %", 1)))
        rows.append((name, modality, f"{statistics.mean(errors):.1f}", ", ".join(f"{error:.1f}" for error in errors), *means))
    counts = Dataset(arguments.data).card.splits["train"]
    title = f"{counts.with_speech} of {counts.clips} training clips have speech; {arguments.steps} steps. {machine()}"
    save("consistency", title, rows)


if __name__ == "__main__":
    main()
