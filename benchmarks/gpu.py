"""MS2SL on a GPU, beside the network of MDM on the same card: training speed, its share of the card's peak (MFU), memory, ms a sequence.

    python -m benchmarks.gpu

Batches are noise of a fixed length, so nothing but the card is measured: features are there, and no data is read. FLOPs are those of the
operations that ran (``torch.utils.flop_counter``), of recomputed layers once more.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import machine, random_batch, save
from ms2sl.data.collate import Batch
from ms2sl.data.skeleton_registry import HOLISTIC_178X3
from ms2sl.features import featurizer
from ms2sl.features.base import SpeechConfig, TextConfig
from ms2sl.random_numbers import normal
from ms2sl.systems.ms2sl.config import ModelConfig
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.model import MS2SL
from ms2sl.training.loop import TrainingConfig, make_optimizer
from ms2sl.training.parallel import parallelise

FPS, SECONDS = 20, 9.8  # 196 frames, as MDM makes at most
SHAPES = {"192 wide (default)": ModelConfig(), "512 wide": ModelConfig(width=512, heads=8)}
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense bf16 FLOP/s by the makers' data sheets
GUIDANCE, MDM_STEPS = 2.5, 50


class MDM(nn.Module):
    """The network of MDM (Tevet et al. 2023): an encoder of 8 layers, 512 wide, with one token of the condition before the frames."""

    def __init__(self, features: int, width: int = 512):
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 1024, 0.1, "gelu", batch_first=True)
        self.into, self.trunk, self.out = nn.Linear(features, width), nn.TransformerEncoder(layer, 8), nn.Linear(width, features)

    def forward(self, frames: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return self.out(self.trunk(torch.cat([condition[:, None], self.into(frames)], dim=1))[:, 1:])


def seconds(run: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Median of a call that the device has finished, after three to warm up."""
    times = []
    for _ in range(rounds + 3):
        _wait(device)
        began = time.perf_counter()
        run()
        _wait(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times[3:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


class Bench:
    def __init__(self, device: str, rounds: int, bf16: bool):
        self.device, self.rounds, self.bf16 = torch.device(device), rounds, bf16
        self.text, self.speech = featurizer(TextConfig(), "text").features, featurizer(SpeechConfig(), "speech").features

    def model(self, shape: ModelConfig) -> MS2SL:
        torch.manual_seed(0)
        return MS2SL(shape, HOLISTIC_178X3, self.text, self.speech)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def batch(self, clips: int) -> Batch:
        return random_batch(clips, SECONDS, FPS, HOLISTIC_178X3, self.speech).to(self.device)

    def training(self, name: str, clips: int, *, recompute: bool, compiled: bool) -> tuple[str, ...]:
        """A row: what, parameters, clips, ms a step, sequences a second, TFLOP/s, MFU, GiB."""
        model = self.model(SHAPES[name])
        parallelise(model, self.device, "ddp", recompute, compiled)
        optimizer, batch, generator = make_optimizer(model, TrainingConfig()), self.batch(clips), torch.Generator(self.device)

        def step() -> None:
            with self.autocast():
                loss = model(batch, LossWeights(), generator)["loss"]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        step()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        taken = seconds(step, self.device, self.rounds)
        memory = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else float("nan")
        with FlopCounterMode(display=False) as counter:
            step()
        rate = counter.get_total_flops() / taken
        how = name + (", recomputed" if recompute else "") + (", compiled" if compiled else "")
        figures = f"{1000 * taken:.1f}", f"{clips / taken:,.0f}", f"{rate / 1e12:.2f}", self.mfu(rate), f"{memory:.1f}"
        return (how, f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M", f"{clips}", *figures)

    def mfu(self, rate: float) -> str:
        card = torch.cuda.get_device_name() if self.device.type == "cuda" else ""
        peak = next((peak for name, peak in PEAK.items() if name in card), None)
        return f"{rate / peak:.0%}" if peak and self.bf16 else "–"

    @torch.no_grad()
    def sampling(self, name: str, clips: int, steps: int) -> tuple[str, ...]:
        """A row: what, steps, clips, ms a sequence."""
        model, batch = self.model(SHAPES[name]).to(self.device).eval(), self.batch(clips)
        size = clips, model.overhang + batch.poses.shape[1], model.features

        def sample() -> torch.Tensor:
            with self.autocast():
                noise = model.noise(normal(*size, generator=torch.Generator(self.device), device=self.device))
                return model.decode(model.generate([model.conditions(batch)["text"]], batch.n_frames, noise, steps))[0]

        return name, f"{steps}", f"{clips}", f"{1000 * seconds(sample, self.device, self.rounds) / clips:.3f}"

    @torch.no_grad()
    def mdm(self, clips: int) -> tuple[str, ...]:
        features = HOLISTIC_178X3.n_joints * HOLISTIC_178X3.dims
        model, frames = MDM(features).to(self.device).eval(), round(SECONDS * FPS)
        condition = torch.randn(clips, 512, device=self.device)

        def sample() -> torch.Tensor:
            x = torch.randn(clips, frames, features, device=self.device)
            for step in range(MDM_STEPS):
                with self.autocast():
                    given, free = model(x, condition), model(x, torch.zeros_like(condition))
                x = torch.lerp(x, free + GUIDANCE * (given - free), 1 / (MDM_STEPS - step))
            return x

        return "MDM's network, guided", f"{MDM_STEPS}", f"{clips}", f"{1000 * seconds(sample, self.device, self.rounds) / clips:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu shows that the benchmark works")
    bench = Bench(arguments.device, arguments.rounds, arguments.precision == "bf16")
    card = torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU"
    title = f"{round(SECONDS * FPS)} frames of 534 values, {arguments.precision}, {card}. {machine()}"
    ways = [(False, False), (True, False), (False, True)]
    rows = [("training", "parameters", "clips", "ms a step", "sequences a second", "TFLOP/s", "MFU", "GiB")]
    rows += [bench.training(name, arguments.clips, recompute=again, compiled=compiled) for name in SHAPES for again, compiled in ways]
    save("gpu-training", title, rows)
    made = [("sampling", "steps", "clips", "ms a sequence")]
    made += [bench.sampling(name, clips, steps) for name in SHAPES for clips in (1, arguments.clips) for steps in (1, 4, 8)]
    save("gpu-sampling", title, [*made, *(bench.mdm(clips) for clips in (1, arguments.clips))])


if __name__ == "__main__":
    main()
