"""Noise schedules, the forward process and the sampler. Time runs from 0 (clean) to 1 (noise)."""

import itertools
from collections.abc import Callable
from typing import Literal, Protocol

import torch

Denoise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
ScheduleName = Literal["linear", "cosine", "none"]


class Schedule(Protocol):
    """x_t = alpha(t) x_0 + sigma(t) noise, on a path with alpha(0) = sigma(1) = 1 and alpha(1) = sigma(0) = 0."""

    def alpha(self, t: torch.Tensor) -> torch.Tensor: ...

    def sigma(self, t: torch.Tensor) -> torch.Tensor: ...


class Linear:
    """The straight path of flow matching (Lipman et al. 2022, conditional optimal transport)."""

    def alpha(self, t: torch.Tensor) -> torch.Tensor:
        return 1 - t

    def sigma(self, t: torch.Tensor) -> torch.Tensor:
        return t


class Cosine:
    """Variance-preserving cosine diffusion in continuous time (Nichol & Dhariwal 2021, without their offset)."""

    def alpha(self, t: torch.Tensor) -> torch.Tensor:
        return torch.cos(t * torch.pi / 2)

    def sigma(self, t: torch.Tensor) -> torch.Tensor:
        return torch.sin(t * torch.pi / 2)


class NoPath:
    """No diffusion at all: the network regresses the clean pose from the condition, with nothing else to look at, in one step."""

    def alpha(self, t: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(t)

    def sigma(self, t: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(t)


SCHEDULES: dict[ScheduleName, Schedule] = {"linear": Linear(), "cosine": Cosine(), "none": NoPath()}


def diffuse(x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor, schedule: Schedule) -> torch.Tensor:
    """The noisy x_t; ``t`` is ``(batch,)``, the others ``(batch, ...)``."""
    t = t.view(-1, *[1] * (x0.dim() - 1))
    return schedule.alpha(t) * x0 + schedule.sigma(t) * noise


def sample(denoise: Denoise, noise: torch.Tensor, steps: int, schedule: Schedule) -> torch.Tensor:
    """Deterministic sampling in ``steps`` calls of ``denoise(x_t, t) -> x_0 predicted``.

    The update is DDIM's (Song et al. 2021, eq. 12 with eta = 0), written for any schedule:
    x_s = alpha_s x̂_0 + sigma_s / sigma_t (x_t - alpha_t x̂_0). On the linear path it is Euler's
    method for the flow, so one sampler serves both.
    """
    if isinstance(schedule, NoPath):
        return denoise(torch.zeros_like(noise), noise.new_ones(len(noise)))
    times = torch.linspace(1, 0, steps + 1, device=noise.device)
    x = noise
    for t, s in itertools.pairwise(times):
        x0 = denoise(x, t.expand(len(x)))
        x = schedule.alpha(s) * x0 + schedule.sigma(s) / schedule.sigma(t) * (x - schedule.alpha(t) * x0)
    return x
