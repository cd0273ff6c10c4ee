"""Memory of a training step on long clips, with and without a bound on the frames of a forward pass; each in a process of its own.

python -m benchmarks.memory --clips 16 --seconds 60
"""

import argparse
import resource
import subprocess
import sys
import time

import torch

from benchmarks.common import machine, random_batch, save
from ms2sl.data.skeleton_registry import HOLISTIC_178X3
from ms2sl.features import featurizer
from ms2sl.features.base import SpeechConfig, TextConfig
from ms2sl.systems.ms2sl.config import ModelConfig
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.model import MS2SL
from ms2sl.training.loop import accumulate, split

FPS = 25
UNBOUNDED = 2**40


def step(clips: int, seconds: float, max_frames: int) -> tuple[float, float]:
    """Peak memory beyond what was there before the step (MiB), and its duration (seconds)."""
    torch.manual_seed(0)
    torch.set_num_threads(2)
    text, speech = featurizer(TextConfig(), "text").features, featurizer(SpeechConfig(), "speech").features
    model = MS2SL(ModelConfig(), HOLISTIC_178X3, text, speech)
    batch = random_batch(clips, seconds, FPS, HOLISTIC_178X3, speech)

    class Task:
        def loss(self, module, batch, generator):
            return module(batch, LossWeights(), generator)

    before, started = resident(), time.perf_counter()
    accumulate(Task(), model, split(0, batch, max_frames), torch.device("cpu"), True, (0, 0))
    return resident() - before, time.perf_counter() - started


def resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--max-frames", type=int, help="measure this bound alone, in this process")
    arguments = parser.parse_args()
    if arguments.max_frames:
        print(*step(arguments.clips, arguments.seconds, arguments.max_frames))
        return
    rows = [("frames a forward pass", "parts", "peak memory of the step (MiB)", "seconds")]
    command = [sys.executable, "-m", "benchmarks.memory", "--clips", str(arguments.clips), "--seconds", str(arguments.seconds)]
    padded = round(arguments.seconds * FPS)
    for bound in (UNBOUNDED, 16_384, 8_192, 4_096):
        ran = subprocess.run([*command, "--max-frames", str(bound)], capture_output=True, text=True, check=True)
        peak, seconds = map(float, ran.stdout.split())
        name = "any" if bound == UNBOUNDED else f"{bound:,}"
        parts = -(-arguments.clips // max(1, bound // padded))
        rows.append((name, f"{parts}", f"{peak:,.0f}", f"{seconds:.1f}"))
    save("memory", f"One training step of MS2SL, {arguments.clips} clips of {arguments.seconds:g} s, bf16. {machine()}", rows)


if __name__ == "__main__":
    main()
