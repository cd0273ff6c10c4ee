"""Random numbers of training, drawn where the generator is, so that a step on a GPU waits for no noise from the CPU."""

import torch


def uniform(*shape: int, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """From 0 to 1 ``shape``, on ``device``."""
    return torch.rand(shape, generator=generator, device=generator.device).to(device)


def normal(*shape: int, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """Of mean 0 and deviation 1 ``shape``, on ``device``."""
    return torch.randn(shape, generator=generator, device=generator.device).to(device)
