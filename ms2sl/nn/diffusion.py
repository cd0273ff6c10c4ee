"""Noise schedules, the forward process and the samplers. Time runs from 0 (clean) to 1 (noise)."""

import itertools
from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch.nn import functional as F

FLOOR = 0.05  # of the deviation of smooth noise: what of it is white
Denoise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
ScheduleName = Literal["linear", "cosine", "none"]
PredictionType = Literal["sample", "v_prediction"]
SamplerName = Literal["ddim", "dpm++"]


class Schedule(Protocol):
    """x_t = alpha(t) x_0 + sigma(t) noise, on a path with alpha(0) = sigma(1) = 1 and alpha(1) = sigma(0) = 0."""

    def alpha(self, t: torch.Tensor) -> torch.Tensor: ...

    def sigma(self, t: torch.Tensor) -> torch.Tensor: ...

    def clean(self, x_t: torch.Tensor, velocity: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """x_0, which follows from x_t and the velocity along the path; the shapes broadcast."""
        ...


class Linear:
    """The straight path of flow matching (Lipman et al. 2022, conditional optimal transport); its velocity is noise - x_0."""

    def alpha(self, t: torch.Tensor) -> torch.Tensor:
        return 1 - t

    def sigma(self, t: torch.Tensor) -> torch.Tensor:
        return t

    def clean(self, x_t: torch.Tensor, velocity: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return x_t - t * velocity


class Cosine:
    """Variance-preserving cosine diffusion in continuous time (Nichol & Dhariwal 2021, without their offset).

    Its velocity is alpha noise - sigma x_0 (Salimans & Ho 2022): the derivative of x_t by the angle, t pi / 2.
    """

    def alpha(self, t: torch.Tensor) -> torch.Tensor:
        return torch.cos(t * torch.pi / 2)

    def sigma(self, t: torch.Tensor) -> torch.Tensor:
        return torch.sin(t * torch.pi / 2)

    def clean(self, x_t: torch.Tensor, velocity: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.alpha(t) * x_t - self.sigma(t) * velocity


class NoPath:
    """No diffusion at all: the network regresses the clean pose from the condition, with nothing else to look at, in one step."""

    def alpha(self, t: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(t)

    def sigma(self, t: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(t)

    def clean(self, x_t: torch.Tensor, velocity: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("without a path there is no velocity")


SCHEDULES: dict[ScheduleName, Schedule] = {"linear": Linear(), "cosine": Cosine(), "none": NoPath()}


def diffuse(x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor, schedule: Schedule) -> torch.Tensor:
    """The noisy x_t; ``t`` is ``(batch,)``, the others ``(batch, ...)``."""
    t = t.view(-1, *[1] * (x0.dim() - 1))
    return schedule.alpha(t) * x0 + schedule.sigma(t) * noise


def smooth_noise(white: torch.Tensor, length: int) -> torch.Tensor:
    """Noise of unit variance that changes along the frames about as fast as motion does: white noise ``(batch, frames + overhang(length),
    D)`` averaged through a triangle of ``2 * length - 1`` frames, and a little of it as it is → ``(batch, frames, D)``.

    White noise is mostly faster than any motion: a network that leaves a hundredth of it in the pose makes it tremble. The spectrum of
    this one falls with the fourth power of the frequency, as that of motion does. length: 1 is white.
    """
    if length == 1:
        return white
    triangle = length - (torch.arange(2 * length - 1, device=white.device) - (length - 1)).abs().to(white.dtype)
    kernel = triangle / triangle.norm()
    kernel[-1] += FLOOR
    kernel = (kernel / kernel.norm()).expand(white.shape[2], 1, -1)
    return F.conv1d(white.transpose(1, 2), kernel, groups=white.shape[2]).transpose(1, 2)


def overhang(length: int) -> int:
    """Frames of white noise before those of ``smooth_noise``."""
    return 2 * length - 2


def first_order(times: torch.Tensor, schedule: Schedule) -> torch.Tensor:
    """DDIM (Song et al. 2021, eq. 12 with eta = 0): no step looks back. On the linear path it is Euler's method for the flow.

    times ``(steps + 1)`` → shares of ``sample`` ``(steps)``.
    """
    return times.new_zeros(len(times) - 1)


def second_order(times: torch.Tensor, schedule: Schedule) -> torch.Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): h_i / (2 h_(i-1)), where h is the length of a step in lambda = log(alpha / sigma).

    Lambda is infinite at both ends of the path. So the second step does not look back either, since the first one was infinitely long,
    and the last one is of first order. times ``(steps + 1)`` → shares of ``sample`` ``(steps)``.
    """
    inner = times[1:-1]
    lengths = (schedule.alpha(inner) / schedule.sigma(inner)).log().diff()
    shares = times.new_zeros(len(times) - 1)
    shares[2:-1] = lengths[1:] / (2 * lengths[:-1])
    return shares


SAMPLERS: dict[SamplerName, Callable[[torch.Tensor, Schedule], torch.Tensor]] = {"ddim": first_order, "dpm++": second_order}


def sampling_times(steps: int, shift: float = 1.0) -> torch.Tensor:
    """``(steps + 1)`` from 1 to 0: shift t / (1 + (shift - 1) t) of evenly spaced t. A shift above 1 lays more of them near pure noise
    (Esser et al. 2024, eq. 23)."""
    times = torch.linspace(1, 0, steps + 1)
    return shift * times / (1 + (shift - 1) * times)


def sample(
    denoise: Denoise, noise: torch.Tensor, steps: int, schedule: Schedule, sampler: SamplerName = "ddim", shift: float = 1.0
) -> torch.Tensor:
    """Deterministic sampling in ``steps`` calls of ``denoise(x_t, t) -> x_0 predicted``, at ``sampling_times``.

    The update is DDIM's, written for any schedule: x_s = alpha_s x̂_0 + sigma_s / sigma_t (x_t - alpha_t x̂_0). A sampler that looks back
    puts in the place of x̂_0 the sum of x̂_0 and a share of its change since the step before.
    """
    if isinstance(schedule, NoPath):
        return denoise(torch.zeros_like(noise), noise.new_ones(len(noise)))
    times = sampling_times(steps, shift).to(noise.device)
    x, before = noise, 0.0
    for (t, s), share in zip(itertools.pairwise(times), SAMPLERS[sampler](times, schedule), strict=True):
        x0 = denoise(x, t.expand(len(x)))
        towards = x0 + share * (x0 - before)
        x = schedule.alpha(s) * towards + schedule.sigma(s) / schedule.sigma(t) * (x - schedule.alpha(t) * towards)
        before = x0
    return x
