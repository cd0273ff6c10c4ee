"""All that training needs to go on as if it had never stopped: weights, their average, optimizer, step."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ms2sl.training.divergence import LossHistory

STATE, PROGRESS = "training.safetensors", "training.json"


class TrainState:
    """Weights under training, their exponential average, buffers, the optimizer, the step, the losses so far, and whether it runs in bf16.

    bf16: None until it is decided; what the first machine decided holds on every other one that goes on with the run.
    Random numbers need no state: each step seeds its own from (seed, step, rank).
    """

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer):
        self.module, self.optimizer = module, optimizer
        self.parameters = list(module.parameters())
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
        """``state_dict`` of the module with averaged weights."""
        names = [name for name, _ in self.module.named_parameters()]
        return self.module.state_dict() | dict(zip(names, self.average, strict=True))

    @property
    def buffers(self) -> dict[str, torch.Tensor]:
        """Those that belong to a checkpoint, such as a codebook that is learned without gradients."""
        kept = self.module.state_dict().keys()
        return {name: buffer for name, buffer in self.module.named_buffers() if name in kept}

    def save(self, folder: Path) -> None:
        names = [name for name, _ in self.module.named_parameters()]
        moments = [self.optimizer.state[parameter] for parameter in self.parameters]
        tensors = {f"weight.{name}": parameter.detach() for name, parameter in zip(names, self.parameters, strict=True)}
        tensors |= {f"average.{name}": average for name, average in zip(names, self.average, strict=True)}
        tensors |= {f"optimizer.{key}.{name}": state[key] for name, state in zip(names, moments, strict=True) for key in state}
        tensors |= {f"buffer.{name}": buffer for name, buffer in self.buffers.items()}
        save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, folder / STATE)
        (folder / PROGRESS).write_text(json.dumps({"step": self.step, "bf16": self.bf16, "losses": self.losses.state()}))

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        tensors = load_file(folder / STATE)
        for (name, parameter), average in zip(self.module.named_parameters(), self.average, strict=True):
            parameter.copy_(tensors[f"weight.{name}"])
            average.copy_(tensors[f"average.{name}"])
            prefix, suffix = "optimizer.", f".{name}"
            keys = [key for key in tensors if key.startswith(prefix) and key.endswith(suffix) and key.count(".") == name.count(".") + 2]
            self.optimizer.state[parameter] = {key[len(prefix) : -len(suffix)]: tensors[key].to(parameter.device) for key in keys}
        for name, buffer in self.buffers.items():
            buffer.copy_(tensors.get(f"buffer.{name}", buffer))  # of a run that was begun before they were kept, those of the data
        progress = json.loads((folder / PROGRESS).read_text())
        self.step, self.bf16 = progress["step"], progress.get("bf16")
        self.losses = LossHistory(**progress.get("losses", {}))


def forget_losses(folder: Path) -> None:
    """Drops the losses of a checkpoint from which training goes on with other settings: they say nothing of divergence then."""
    progress = json.loads((folder / PROGRESS).read_text())
    (folder / PROGRESS).write_text(json.dumps(progress | {"losses": {}}))
