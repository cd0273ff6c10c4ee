"""All that training needs to go on as if it had never stopped: weights, their average, optimizer, step."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn

from ms2sl.training.divergence import LossHistory
from ms2sl.training.parallel import like, whole

STATE, PROGRESS = "training", "training.json"


class TrainState:
    """Weights under training, their exponential average, buffers, the optimizer, the step, the losses so far, and whether it runs in bf16.

    bf16: None until it is decided; what the first machine decided holds on every other one that goes on with the run.
    Random numbers need no state: each step seeds its own from (seed, step, rank).
    """

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer):
        self.module, self.optimizer = module, optimizer
        self.names, self.parameters = [name for name, _ in module.named_parameters()], list(module.parameters())
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.step = 0
        self.losses = LossHistory()
        self.bf16: bool | None = None

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """EMA with a warm-up, so that early steps do not remember the initial weights."""
        decay = min(decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average, [parameter.detach() for parameter in self.parameters], 1 - decay)

    def averaged(self) -> dict[str, torch.Tensor]:
        """``state_dict`` of the whole module with averaged weights; all ranks must call it."""
        averages = dict(zip(self.names, map(whole, self.average), strict=True))
        return {name: averages.get(name, value) for name, value in self.module.state_dict().items()}

    @property
    def buffers(self) -> dict[str, torch.Tensor]:
        """Those that belong to a checkpoint, such as a codebook that is learned without gradients."""
        kept = self.module.state_dict().keys()
        return {name: buffer for name, buffer in self.module.named_buffers() if name in kept}

    @property
    def _tensors(self) -> dict[str, torch.Tensor]:
        """Of the module, as a checkpoint names them."""
        weights = {f"weight.{name}": parameter.detach() for name, parameter in zip(self.names, self.parameters, strict=True)}
        averages = {f"average.{name}": average for name, average in zip(self.names, self.average, strict=True)}
        return weights | averages | {f"buffer.{name}": buffer for name, buffer in self.buffers.items()}

    def save(self, folder: Path) -> None:
        """Writes the part of this rank: those of all ranks are the state, with each tensor once."""
        moments = {name: self.optimizer.state[parameter] for name, parameter in zip(self.names, self.parameters, strict=True)}
        tensors = self._tensors | {f"optimizer.{key}.{name}": state[key] for name, state in moments.items() for key in state}
        ranks = dist.get_world_size() if dist.is_initialized() else 1
        writer = dcp.HuggingFaceStorageWriter(str(folder / f"{STATE}-{ranks}"), save_distributed=True)
        with _own_errors():
            dcp.save(tensors, storage_writer=writer, no_dist=not dist.is_initialized())
        (folder / PROGRESS).write_text(json.dumps({"step": self.step, "bf16": self.bf16, "ranks": ranks, "losses": self.losses.state()}))

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """What any number of ranks saved."""
        parameters, tensors = dict(zip(self.names, self.parameters, strict=True)), self._tensors
        progress = json.loads((folder / PROGRESS).read_text())
        # A folder for each number of ranks: one that was given up half-way must not be mixed with another. Formerly rank 0 wrote one file.
        parts = folder / f"{STATE}-{progress['ranks']}" if "ranks" in progress else folder
        reader = dcp.HuggingFaceStorageReader(str(parts))
        sizes = {key: stored.size for key, stored in reader.read_metadata().state_dict_metadata.items()}
        for key in sizes:
            if key.startswith("optimizer."):
                _, kind, name = key.split(".", 2)
                parameter = parameters[name].detach()
                tensors[key] = torch.zeros((), device=parameter.device) if kind == "step" else torch.zeros_like(parameter)
                self.optimizer.state[parameters[name]][kind] = tensors[key]
        there = {key: tensor for key, tensor in tensors.items() if key in sizes or not key.startswith("buffer.")}
        # A parameter of shape (1,) may have been a number.
        numbers = {key: torch.zeros((), device=each.device) for key, each in there.items() if each.ndim and sizes.get(key) == ()}
        with _own_errors():
            dcp.load(there | numbers, storage_reader=reader, no_dist=not dist.is_initialized())
        for key, number in numbers.items():
            there[key].copy_(like(there[key], number.view(1)))
        self.step, self.bf16 = progress["step"], progress.get("bf16")
        self.losses = LossHistory(**progress.get("losses", {}))


@contextmanager
def _own_errors() -> Iterator[None]:
    """Raises what went wrong on a rank, such as an OSError, and not that something did. No warning where there is one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        try:
            yield
        except dcp.api.CheckpointException as error:
            raise next(iter(error.failures.values()))[0] from error


def forget_losses(folder: Path) -> None:
    """Drops the losses of a checkpoint from which training goes on with other settings: they say nothing of divergence then."""
    progress = json.loads((folder / PROGRESS).read_text())
    (folder / PROGRESS).write_text(json.dumps(progress | {"losses": {}}))
