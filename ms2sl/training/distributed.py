"""Sums over ranks, which are just the sums where there is one rank."""

import torch
import torch.distributed as dist


def all_sum(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """Each value summed over all ranks; every rank must have the same keys in the same order."""
    if not (dist.is_available() and dist.is_initialized()):
        return values
    total = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return dict(zip(values, total.tolist(), strict=True))
