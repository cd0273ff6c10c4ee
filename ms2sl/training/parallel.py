"""A module as all ranks train it: a copy each, whose gradients are averaged (DDP), or its shards (FSDP2)."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Literal

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from ms2sl.errors import InputError
from ms2sl.training.distributed import is_together

Parallel = Literal["ddp", "fsdp"]


def parallelise(module: nn.Module, device: torch.device, parallel: Parallel, recompute: bool, compiled: bool) -> nn.Module:
    """The module on its device, as ranks train it together; the same module where it is sharded or alone.

    ``module.layers``, where it has them, are sharded, recomputed and compiled one by one. recompute: they keep no activations but their
    input, and compute the rest again on the way back (Chen et al. 2016). Raises InputError if the module cannot be sharded, or names no
    layers to recompute or compile.
    """
    if device.type == "cuda":
        if device.index is not None:
            torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")  # TF32
    module.to(device)
    layers = getattr(module, "layers", [])
    if (recompute or compiled) and not layers:
        lacks = f"{type(module).__name__} names no layers that could be recomputed or compiled"
        raise InputError(f"{lacks}: leave out training.recompute and training.compile")
    for layer in layers:
        if recompute:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
        if compiled:
            layer.compile(dynamic=True)
    if not is_together():
        return module
    if parallel == "fsdp":
        return _sharded(module, layers, device)
    return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)


def _sharded(module: nn.Module, layers: Iterable[nn.Module], device: torch.device) -> nn.Module:
    if scalars := [name for name, parameter in module.named_parameters() if not parameter.dim()]:
        raise InputError(f"parallel fsdp cannot shard a number ({', '.join(scalars)}): give it the shape (1,), or use ddp")
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(module, mesh=mesh, reshard_after_forward=False)


def unsynchronised(module: nn.Module) -> AbstractContextManager:
    """Backward passes in it are of this rank alone; the first one after it brings the gradients of all ranks together."""
    if isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return _unreduced(module) if isinstance(module, FSDPModule) else nullcontext()


@contextmanager
def _unreduced(module: FSDPModule):
    module.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        module.set_requires_gradient_sync(True)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of which each rank may have a shard; all ranks must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """A value that every rank has, sharded as a tensor is."""
    return distribute_tensor(value, tensor.device_mesh, tensor.placements) if isinstance(tensor, DTensor) else value
