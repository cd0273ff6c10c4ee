"""What makes a diffusion hold on signs of which there are many recordings: one change of the recipe at a time, the same budget for each.

    python -m benchmarks.sign_study --data data/signs --back-translator runs/reader/model --steps 600 --seeds 0,1,2

Trains in this process, a variant after the other (about ten minutes each on one core), and goes on where it was stopped.
"""

import argparse
import itertools
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.common import machine, save
from ms2sl.data.batch_sampler import EpochPlan
from ms2sl.data.dataset import Dataset
from ms2sl.data.types import Clip, Poses
from ms2sl.inference.sampling_config import Sampling
from ms2sl.metrics.distribution import frechet_distance
from ms2sl.metrics.motion import diversity, jerk, movement
from ms2sl.metrics.text import error_rate
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.model import ModelConfig
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.systems.recogniser import Recogniser, load
from ms2sl.training.checkpoint import ModelCard
from ms2sl.training.local import LocalReporter, local_batches
from ms2sl.training.loop import TrainingConfig, train

VARIANTS = {
    "flow": {},
    "regression": {"schedule": "none"},
    "cosine": {"schedule": "cosine"},
    "velocity": {"prediction_type": "v_prediction"},
    "white noise": {"noise_length": 1},
    "separate patches": {"overlap": False},
    "all always seen": {"visibility": False},
    "none of the three": {"visibility": False, "overlap": False, "noise_length": 1},
    "none of the three, regression": {"visibility": False, "overlap": False, "noise_length": 1, "schedule": "none"},
}
SAMPLINGS = [
    Sampling(steps=steps, guidance=guidance) for steps, guidance in ((1, 1), (4, 1), (8, 1), (20, 1), (4, 1.5), (8, 1.5), (20, 1.5))
]
SAMPLES, GROUPS = 3, 40  # of one text; texts with several recordings


def trained(dataset: Dataset, shape: dict, steps: int, seed: int, folder: Path) -> Path:
    """The checkpoint of a variant after so many steps."""
    torch.manual_seed(seed)
    config = ModelConfig(**shape)
    task = MS2SLTask(dataset, config, LossWeights(), ModelCard.of("ms2sl", config, dataset.card))
    training = TrainingConfig(steps=steps, seed=seed, log_every=50, checkpoint_every=100, validate_every=steps)
    plan, reporter = EpochPlan.of(dataset, training.batch_size, seed, 0, 1), LocalReporter(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def batches(step: int):
        with tqdm(total=steps, initial=step, desc=folder.name, unit="step") as bar:
            for batch in local_batches(plan, task.collate, step):
                yield batch
                bar.update()

    train(task, batches, training, reporter)
    latest = reporter.latest()
    assert latest is not None
    return latest


class Judge:
    """What is read in signing, and how it moves, beside real clips of the same texts."""

    def __init__(self, dataset: Dataset, split: str, reader: Recogniser, most: int):
        self.skeleton, self.reader = dataset.skeleton, reader
        self.clips = [clip for clip in itertools.islice(dataset.clips(split), most) if clip.poses and clip.text and clip.gloss]
        self.real = [clip.poses for clip in self.clips]
        by_text: dict[str, list[Clip]] = defaultdict(list)
        for clip in self.clips:
            by_text[clip.text].append(clip)
        self.several = [some for some in by_text.values() if len(some) > 1][:GROUPS]
        self.moved, self.trembled = (np.mean([measure(each, self.skeleton) for each in self.real]) for measure in (movement, jerk))
        self.embeddings = reader.embeddings(self.real)
        self.own_diversity = np.mean([diversity([clip.poses for clip in some[:SAMPLES]], self.skeleton) for some in self.several])

    def row(self, poses: Sequence[Poses], samples: Sequence[Sequence[Poses]]) -> tuple[str, ...]:
        """samples: several of each text of ``several``."""
        read = [text.split() for text in self.reader.read(poses)]
        glosses = [clip.gloss.split() for clip in self.clips]
        near = frechet_distance(self.reader.embeddings(poses), self.embeddings)
        moved, trembled = (np.mean([measure(each, self.skeleton) for each in poses]) for measure in (movement, jerk))
        varied = np.mean([diversity(each, self.skeleton) for each in samples]) / self.own_diversity
        return (
            f"{error_rate(read, glosses):.1f}",
            f"{abs(near):.2f}",
            f"{varied:.2f}",
            f"{trembled / self.trembled:.2f}",
            f"{moved / self.moved:.2f}",
        )

    def of(self, producer: MS2SLProducer, sampling: Sampling) -> tuple[str, ...]:
        def produce(clips: Sequence[Clip], seed: int) -> list[Poses]:
            return producer.produce([clip.utterance("text") for clip in clips], sampling, seed=seed)

        first = [some[0] for some in self.several]
        samples = zip(*(produce(first, seed) for seed in range(1, SAMPLES + 1)), strict=True)
        return self.row(produce(self.clips, 0), list(samples))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--back-translator", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--runs", type=Path, default=Path("runs/sign_study"))
    arguments = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    dataset = Dataset(arguments.data)
    judge = Judge(dataset, arguments.split, load(arguments.back_translator), arguments.clips)
    rows = [("variant", "seed", "steps", "guidance", "gloss error %", "Fréchet", "diversity", "jerk", "speed ratio")]
    rows.append(("real signing", "", "", "", *judge.row(judge.real, [[clip.poses for clip in some[:SAMPLES]] for some in judge.several])))
    for name in arguments.variants.split(","):
        for seed in map(int, arguments.seeds.split(",")):
            folder = arguments.runs / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
            producer = MS2SLProducer.load(trained(dataset, VARIANTS[name], arguments.steps, seed, folder))
            for sampling in SAMPLINGS if producer.model.config.schedule != "none" else SAMPLINGS[:1]:
                row = (name, str(seed), str(sampling.steps), f"{sampling.guidance:g}", *judge.of(producer, sampling))
                rows.append(row)
                print("  ".join(row), flush=True)
    title = f"{len(judge.clips)} clips of {arguments.split}, {arguments.steps} steps of training; shares of real signing. {machine()}"
    save("sign_study", title, rows)


if __name__ == "__main__":
    main()
