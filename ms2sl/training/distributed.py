"""What all ranks compute together, which is just what one computes where there is one rank. All of them must make the same calls."""

import torch
import torch.distributed as dist
from torch.nn import functional as F


def is_together() -> bool:
    """Whether there are other ranks."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def all_sum(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """Each value summed over all ranks; every rank must have the same keys in the same order."""
    if not is_together():
        return values
    total = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return dict(zip(values, total.tolist(), strict=True))


def largest(value: int, device: torch.device) -> int:
    """The largest value of any rank."""
    if not is_together():
        return value
    found = torch.tensor(value, device=device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def gathered(rows: torch.Tensor, longest: int) -> torch.Tensor:
    """The rows of all ranks ``(ranks x longest, …)``, those of this rank at ``rank x longest``, each rank's followed by zeros; a gradient
    goes back to the rank whose they are. rows ``(B, …)``: at most ``longest``, on any rank."""
    return _Gather.apply(F.pad(rows, (*(0, 0) * (rows.ndim - 1), 0, longest - len(rows))))


class _Gather(torch.autograd.Function):
    """The rows of all ranks, of which each has as many."""

    @staticmethod
    def forward(ctx, rows: torch.Tensor) -> torch.Tensor:
        found = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(found, rows.contiguous())
        return torch.cat(found)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]
