"""The training loop. It knows a Task (what is learned) and a Reporter (where it runs), and neither Ray nor MLflow."""

import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from pydantic import Field
from torch import nn
from torch.distributed.fsdp import FSDPModule

from ms2sl.config import CHANGEABLE, Config
from ms2sl.data.batch_sampler import EpochPlan
from ms2sl.data.collate import Batch, Collate
from ms2sl.data.dataset import Dataset
from ms2sl.deprecated_names import formerly
from ms2sl.precision import Precision, uses_bf16
from ms2sl.training.distributed import all_sum, arrived, largest
from ms2sl.training.parallel import Parallel, parallelise, unsynchronised, whole
from ms2sl.training.state import TrainState

CPU = torch.device("cpu")
Batches = Callable[[int], Iterator[Batch]]


class TrainingConfig(Config):
    """How long and how fast to learn."""

    steps: int = Field(1500, gt=0, description="optimizer steps", json_schema_extra=CHANGEABLE)
    batch_size: int = Field(64, gt=0, description="clips a step and virtual worker, at most")
    batch_by: Literal["clips", "frames"] = Field(
        "clips",
        description="clips: batches have as many clips each; frames: about as many frames, of longer clips fewer; batch_size is their mean",
    )
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
    parallel: Parallel = Field(
        "ddp",
        description="ddp: each worker has all of the model; fsdp: weights, gradients and moments are sharded over the workers",
        json_schema_extra=CHANGEABLE,
    )
    recompute: bool = Field(
        False,
        description="keep no activations inside of transformer layers, but compute them again on the way back: a third slower, for longer "
        "batches in the same memory",
        json_schema_extra=CHANGEABLE,
    )
    compile: bool = Field(False, description="compile transformer layers (torch.compile)", json_schema_extra=CHANGEABLE)
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
    by_frames = config.batch_by == "frames"
    return EpochPlan.of_worker(dataset, config.batch_size, config.seed, rank, world_size, config.virtual_workers, by_frames)


class Task(Protocol):
    """What is learned.

    It may have ``lockstep``: whether its loss makes calls in which all ranks must take part; and its module ``layers``
    (``ms2sl.training.parallel``).
    """

    module: nn.Module

    @property
    def collate(self) -> Collate: ...

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Terms to report, and ``loss``, which is minimised. ``module`` may be wrapped or sharded: its weights are whole in its forward."""
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

    def latest(self) -> Path | None:
        """The last checkpoint of this run, if there is one."""
        ...

    def preempted(self) -> bool:
        """Whether a machine is about to be taken away, asked for the first time since that is known; the same on all ranks."""
        ...

    def report(self, step: int, metrics: dict[str, float], checkpoint: Path | None, urgent: bool) -> None:
        """Metrics of all ranks together; what this rank has of a checkpoint, in a folder that may be moved: those of all ranks are one.
        urgent: whether it must be safe on return: it is the last, or this machine is about to be taken away."""
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
    share = reporter.world_size / virtual_workers  # of a virtual worker in the mean over its rank, of which there is a mean over ranks
    device = reporter.device
    module = parallelise(task.module, device, config.parallel, config.recompute, config.compile)
    lockstep = isinstance(module, FSDPModule) or getattr(task, "lockstep", False)
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
        with meter.waiting():
            given = {worker: next(stream) for worker in own}
        arrived(state.step)
        passes = [each for worker, batch in given.items() for each in split(worker, batch, config.max_frames)]
        if lockstep:
            passes += [passes[-1].idle()] * (largest(len(passes), device) - len(passes))
        losses = accumulate(task, module, passes, device, state.bf16, (config.seed, state.step), share)
        losses["gradient_norm"] = len(own) * whole(torch.nn.utils.clip_grad_norm_(state.parameters, config.clip_norm))
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        state.update_average(config.ema_decay)
        meter.add(losses, sum(int(batch.n_frames.sum()) for batch in given.values()), len(own))

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
            if urgent or state.step % config.checkpoint_every == 0:
                checkpoint, averaged = Path(folder), state.averaged()
                if reporter.rank == 0:
                    task.save(checkpoint, averaged)
                state.save(checkpoint)
            reporter.report(state.step, metrics, checkpoint, urgent)
    return validation


@dataclass(frozen=True, slots=True)
class Pass:
    """A forward and a backward pass over some clips of the batch of a virtual worker. weight: their share of its clips."""

    worker: int
    batch: Batch
    weight: float

    def idle(self) -> "Pass":
        """One that is made because other ranks have so many."""
        return Pass(self.worker, self.batch.absent(), 0.0)


def split(worker: int, batch: Batch, max_frames: int) -> list[Pass]:
    """The passes over a batch."""
    return [Pass(worker, part, len(part) / len(batch)) for part in batch.split(max_frames)]


def accumulate(
    task: Task, module: nn.Module, passes: Sequence[Pass], device: torch.device, bf16: bool, seed: tuple[int, int], share: float = 1.0
) -> dict[str, torch.Tensor]:
    """The gradients of a step of this rank, ``share`` of what its passes add up to; returns the sums over its batches of the loss terms.

    seed: of the training, and the step.
    Gradients are averaged over ranks once, with the last pass, so ranks may have different numbers of them, where nothing else is lockstep.
    """
    terms: dict[str, torch.Tensor] = defaultdict(lambda: torch.zeros((), device=device))
    worker = None
    for left, each in enumerate(passes, 1 - len(passes)):
        if each.worker != worker:
            worker, generator = each.worker, seed_step(*seed, each.worker, device)
        with unsynchronised(module) if left else nullcontext():
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                losses = task.loss(module, each.batch.to(device), generator)
            (share * each.weight * losses["loss"]).backward()
        for name, value in losses.items():
            terms[name] = terms[name] + each.weight * value.detach()
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
        """Sums over so many batches of a step."""
        for name, value in losses.items():
            self.sums[name] = self.sums[name].to(value.device) + value
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
