"""The training loop. It knows a Task (what is learned) and a Reporter (where it runs), and neither Ray nor MLflow."""

import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol

import torch
from pydantic import Field
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ms2sl.config import CHANGEABLE, Config
from ms2sl.data.batch_sampler import EpochPlan
from ms2sl.data.collate import Batch, Collate
from ms2sl.data.dataset import Dataset
from ms2sl.deprecated_names import formerly
from ms2sl.precision import Precision, uses_bf16
from ms2sl.training.distributed import all_sum
from ms2sl.training.state import TrainState

CPU = torch.device("cpu")
Batches = Callable[[int], Iterator[Batch]]


class TrainingConfig(Config):
    """How long and how fast to learn."""

    steps: int = Field(1500, gt=0, description="optimizer steps", json_schema_extra=CHANGEABLE)
    batch_size: int = Field(64, gt=0, description="clips a step and virtual worker, at most")
    virtual_workers: int | None = Field(
        None,
        gt=0,
        description="workers that each step's data is dealt to, of which each worker does the work of one or several, so that what is "
        "learned does not depend on how many there are; by default as many as the run begins with",
        json_schema_extra=CHANGEABLE,
    )
    max_frames: int = Field(
        32_768,
        gt=0,
        description="padded frames (clips x the longest) a forward pass; a larger batch is learned from in parts, contrastive terms too",
        json_schema_extra=CHANGEABLE,
    )
    learning_rate: float = Field(2e-3, gt=0, description="peak learning rate of AdamW; cosine decay to 0")
    warmup: int = Field(50, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(0.01, ge=0, description="weight decay of AdamW")
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the gradient")
    ema_decay: float = Field(0.995, ge=0, lt=1, description="decay of the averaged weights", json_schema_extra=formerly("ema"))
    precision: Precision = Field("auto", description="auto is bf16 autocast where the run begins on processors that all have it")
    log_every: int = Field(
        20,
        gt=0,
        description="steps between reports, and between looks whether a machine is about to be taken away, for a checkpoint before",
        json_schema_extra=CHANGEABLE,
    )
    validate_every: int = Field(500, gt=0, description="steps between validations on the whole dev split", json_schema_extra=CHANGEABLE)
    checkpoint_every: int = Field(250, gt=0, description="steps between checkpoints", json_schema_extra=CHANGEABLE)
    seed: int = Field(0, ge=0, description="seed of weights, order and noise")


def worker_plans(config: TrainingConfig, dataset: Dataset, rank: int = 0, world_size: int = 1) -> list[EpochPlan]:
    """What a worker learns from. Raises InputError if there is nothing for some."""
    return EpochPlan.of_worker(dataset, config.batch_size, config.seed, rank, world_size, config.virtual_workers)


class Task(Protocol):
    """What is learned."""

    module: nn.Module

    @property
    def collate(self) -> Collate: ...

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Terms to report, and ``loss``, which is minimised. ``module`` may be wrapped for DDP."""
        ...

    def validate(self, weights: dict[str, torch.Tensor], rank: int, world_size: int, device: torch.device) -> dict[str, float]:
        """Metrics of these weights on the whole dev split; every rank calls it and gets the same."""
        ...

    def save(self, folder: Path, weights: dict[str, torch.Tensor]) -> None:
        """The checkpoint to use, of these weights."""
        ...


class Reporter(Protocol):
    """Where training runs. All ranks make the same calls in the same order."""

    rank: int
    world_size: int
    device: torch.device

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module on its device, with gradients averaged over ranks."""
        ...

    def latest(self) -> Path | None:
        """The last checkpoint of this run, if there is one."""
        ...

    def preempted(self) -> bool:
        """Whether a machine is about to be taken away, asked for the first time since that is known; the same on all ranks."""
        ...

    def report(self, step: int, metrics: dict[str, float], checkpoint: Path | None, urgent: bool) -> None:
        """Metrics of all ranks together; the checkpoint, which it may move, of rank 0 alone. urgent: whether it must be safe on return: it
        is the last, or this machine is about to be taken away."""
        ...


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Linear warm-up, then cosine decay to 0 at the last step."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (1 + math.cos(math.pi * progress)) / 2


def make_optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Fused AdamW; vectors (biases, norms, scales) do not decay."""
    groups = [
        {"params": [p for p in module.parameters() if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in module.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


def train(task: Task, batches: Batches, config: TrainingConfig, reporter: Reporter) -> dict[str, float]:
    """Trains from the reporter's last checkpoint, or afresh, to ``config.steps``; returns the last validation's metrics.

    batches: ``batches(step)`` gives this rank's batches from that step on: one a step of each virtual worker whose work it does, which are
    those of its rank, rank + world_size, ….
    Raises Diverged.
    """
    virtual_workers = config.virtual_workers or reporter.world_size
    own = range(reporter.rank, virtual_workers, reporter.world_size)
    device = reporter.device
    module = reporter.wrap(task.module)
    state = TrainState(task.module, make_optimizer(task.module, config))
    if latest := reporter.latest():
        state.load(latest)
    if state.bf16 is None or config.precision != "auto":  # all ranks alike, or their gradients would be of different arithmetic
        state.bf16 = all_sum({"bf16": uses_bf16(config.precision, device)}, device)["bf16"] == reporter.world_size
    meter, validation = Meter(), {}
    stream = batches(state.step) if state.step < config.steps else iter(())
    while state.step < config.steps:
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(state.step, config)
        share = reporter.world_size / virtual_workers  # of a virtual worker in the mean over its rank, of which there is a mean over ranks
        losses, frames = defaultdict(float), 0
        for worker in own:
            with meter.waiting():
                batch = next(stream)
            frames += int(batch.n_frames.sum())
            generator = seed_step(config.seed, state.step, worker, device)
            parts, last = batch.split(config.max_frames), worker == own[-1]
            for name, value in accumulate(task, module, parts, device, state.bf16, generator, share, last).items():
                losses[name] += value / len(own)
        losses["gradient_norm"] = torch.nn.utils.clip_grad_norm_(state.parameters, config.clip_norm)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        state.update_average(config.ema_decay)
        meter.add(losses, frames, len(own))

        last = state.step == config.steps
        if not (last or any(state.step % n == 0 for n in (config.log_every, config.checkpoint_every, config.validate_every))):
            continue
        metrics = meter.read(device) | {"learning_rate": learning_rate(state.step, config)}
        state.losses.check(state.step, metrics["loss"], metrics["gradient_norm"])
        if last or state.step % config.validate_every == 0:
            validation = task.validate(state.averaged(), reporter.rank, reporter.world_size, device)
            metrics |= validation
            meter.skip_time()
        urgent = reporter.preempted() or last
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = None
            if reporter.rank == 0 and (urgent or state.step % config.checkpoint_every == 0):
                checkpoint = Path(folder)
                task.save(checkpoint, state.averaged())
                state.save(checkpoint)
            reporter.report(state.step, metrics, checkpoint, urgent)
    return validation


def accumulate(
    task: Task,
    module: nn.Module,
    parts: Sequence[Batch],
    device: torch.device,
    bf16: bool,
    generator: torch.Generator,
    weight: float = 1.0,
    last: bool = True,
) -> dict[str, torch.Tensor]:
    """Backward passes over the parts of a batch; returns the means of the loss terms, each part weighted by its clips.

    weight: of the gradients. last: whether no other batch of this step follows. Gradients are averaged over ranks once, with the last part
    of the last batch, so ranks may have different numbers of them.
    """
    clips, terms = sum(map(len, parts)), {}
    for part in parts:
        alone = not (last and part is parts[-1]) and isinstance(module, DistributedDataParallel)
        with module.no_sync() if alone else nullcontext():
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                losses = task.loss(module, part.to(device), generator)
            share = len(part) / clips
            (weight * share * losses["loss"]).backward()
        for name, value in losses.items():
            terms[name] = terms.get(name, 0) + share * value.detach()
    return terms


def seed_step(seed: int, step: int, rank: int, device: torch.device = CPU) -> torch.Generator:
    """The random numbers of one step of a virtual worker: a generator for noise, and the global one for dropout. Those of a GPU are others
    than those of the CPU, and each repeats its own."""
    mixed = ((seed * 1_000_003 + step) * 4_099 + rank) % 2**63
    torch.manual_seed(mixed)
    return torch.Generator(device).manual_seed(mixed)


class Meter:
    """Over all ranks since the last reading: means of losses, frames a second, and the share of time spent waiting for data."""

    def __init__(self):
        self._reset()

    def _reset(self) -> None:
        self.started, self.waited, self.frames, self.batches = time.perf_counter(), 0.0, 0, 0
        self.sums: dict[str, torch.Tensor] = defaultdict(lambda: torch.zeros(()))

    def waiting(self) -> "Meter":
        return self

    def __enter__(self) -> None:
        self._entered = time.perf_counter()

    def __exit__(self, *_) -> None:
        self.waited += time.perf_counter() - self._entered

    def add(self, losses: Mapping[str, torch.Tensor], frames: int, batches: int) -> None:
        """Means over so many batches of a step."""
        for name, value in losses.items():
            self.sums[name] = self.sums[name].to(value.device) + batches * value.detach()
        self.frames += frames
        self.batches += batches

    def skip_time(self) -> None:
        """What happened since the last reading is not training."""
        self._reset()

    def read(self, device: torch.device) -> dict[str, float]:
        """The same on every rank, all of which must call it; so whatever is decided by it, all ranks decide alike."""
        times = {
            "batches": self.batches,
            "ranks": 1,
            "frames": self.frames,
            "elapsed": time.perf_counter() - self.started,
            "waited": self.waited,
        }
        total = all_sum({name: float(value) for name, value in (self.sums | times).items()}, device)
        batches, ranks, frames, elapsed, waited = (total.pop(name) for name in times)
        metrics = {name: value / batches for name, value in total.items()}
        metrics |= {"frames_per_second": frames * ranks / elapsed, "data_wait_share": waited / elapsed}
        self._reset()
        return metrics
