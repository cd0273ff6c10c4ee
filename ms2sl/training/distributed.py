"""What all ranks compute together, which is just what one computes where there is one rank. All of them must make the same calls."""

from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import _get_default_store
from torch.nn import functional as F

ANSWER = timedelta(seconds=10)


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


def arrived(step: int) -> None:
    """Says that this rank has its clips of a step, so that others can tell for whom they wait."""
    if is_together():
        _get_default_store().set(f"ms2sl/step/{dist.get_rank()}", str(step))


def late() -> str:
    """The ranks that have come less far than others, in words."""
    store, ranks = _get_default_store(), range(dist.get_world_size())
    store.set_timeout(ANSWER)
    keys = {rank: f"ms2sl/step/{rank}" for rank in ranks}
    try:
        steps = {rank: int(store.get(key)) if store.check([key]) else -1 for rank, key in keys.items()}
    except RuntimeError:
        return "rank 0, which knows how far each has come, does not answer"
    last = max(steps.values())
    behind = [str(rank) for rank, step in steps.items() if step < last]
    if not behind:
        return f"all have begun step {last + 1}, and one of them hangs in it"
    return f"{'rank' if len(behind) == 1 else 'ranks'} {', '.join(behind)} of {len(ranks)} had not come to step {last + 1}"


def gathered(rows: torch.Tensor, longest: int) -> torch.Tensor:
    """The rows of all ranks ``(ranks x longest, …)``, those of each from ``rank x longest`` on, followed by zeros. Gradients go back to the
    ranks that gave the rows. rows ``(B, …)``: at most ``longest``, on any rank."""
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
