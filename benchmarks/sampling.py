"""Sampling speed: ms a sequence at 1, 4, 8 and 50 steps, alone and in a batch. What few steps do to the signing, ``jobs.evaluate --sweep``
shows.

python -m benchmarks.sampling --model runs/quickstart/model
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import torch

from benchmarks.common import machine, save
from ms2sl.data.dataset import Dataset
from ms2sl.inference.sampling_config import Sampling
from ms2sl.systems.ms2sl.producer import MS2SLProducer

STEPS, BATCHES = (1, 4, 8, 50), (1, 16)


def milliseconds(producer: MS2SLProducer, utterances: list, batch: int, repeats: int) -> float:
    """Median time a sequence, features included."""
    times = []
    for repeat in range(repeats):
        some = [utterances[(repeat * batch + i) % len(utterances)] for i in range(batch)]
        start = time.perf_counter()
        producer.produce(some, seed=repeat)
        times.append((time.perf_counter() - start) / batch)
    return 1000 * statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/fingerspelling"))
    parser.add_argument("--model", type=Path, default=Path("runs/quickstart/model"))
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=12)
    arguments = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    dataset = Dataset(arguments.data)
    clips = list(dataset.clips("test"))[: arguments.clips]
    rows = [("steps", "from", *(f"ms a sequence, batch {batch}" for batch in BATCHES))]
    for steps in STEPS:
        producer = MS2SLProducer.load(arguments.model, options=Sampling(steps=steps))
        for modality in ("text", "speech"):
            utterances = [clip.utterance(modality) for clip in clips]
            speeds = (f"{milliseconds(producer, utterances, batch, arguments.repeats):.1f}" for batch in BATCHES)
            rows.append((str(steps), modality, *speeds))
    frames = statistics.mean(clip.poses.n_frames for clip in clips)
    save("sampling", f"{len(clips)} test clips of {frames:.0f} frames at {dataset.card.fps} fps. {machine()}", rows)


if __name__ == "__main__":
    main()
