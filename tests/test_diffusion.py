import pytest
import torch

from ms2sl.diffusion import SCHEDULES, diffuse, sample

STEPS = [1, 4, 8, 50]
PATHS = ["linear", "cosine"]  # the third schedule is none


@pytest.mark.parametrize("name", PATHS)
def test_time_zero_is_the_pose_and_time_one_is_noise(name):
    schedule, x0, noise = SCHEDULES[name], torch.randn(2, 3), torch.randn(2, 3)
    assert torch.allclose(diffuse(x0, noise, torch.zeros(2), schedule), x0, atol=1e-6)
    assert torch.allclose(diffuse(x0, noise, torch.ones(2), schedule), noise, atol=1e-6)


def test_cosine_diffusion_preserves_variance():
    t = torch.linspace(0, 1, 11)
    assert torch.allclose(SCHEDULES["cosine"].alpha(t) ** 2 + SCHEDULES["cosine"].sigma(t) ** 2, torch.ones(11))


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_denoiser_that_knows_the_answer_is_followed_to_it(name, steps):
    x0 = torch.randn(4, 5)
    assert torch.allclose(sample(lambda x, t: x0, torch.randn(4, 5), steps, SCHEDULES[name]), x0, atol=1e-5)


def gaussian_denoiser(schedule, deviation: float):
    """E[x0 | x_t] in closed form for x0 ~ N(0, deviation²)."""

    def denoise(x, t):
        alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
        return alpha * deviation**2 / (alpha**2 * deviation**2 + sigma**2) * x

    return denoise


@pytest.mark.parametrize("name", PATHS)
def test_samples_of_a_gaussian_have_its_variance(name):
    """A mis-set sampler shrinks what it makes: frozen poses."""
    schedule = SCHEDULES[name]
    noise = torch.randn(2000, 1, generator=torch.Generator().manual_seed(0))
    samples = sample(gaussian_denoiser(schedule, 0.5), noise, 200, schedule)
    assert samples.std().item() == pytest.approx(0.5 * noise.std().item(), rel=0.03)


def test_on_the_linear_path_the_sampler_is_eulers_method_for_the_flow():
    schedule, steps = SCHEDULES["linear"], 8
    denoise, noise = gaussian_denoiser(schedule, 0.5), torch.randn(6, 1)
    x = noise
    for i in range(steps):
        t = torch.full((6,), 1 - i / steps)
        velocity = (x - denoise(x, t)) / t[:, None]  # dx/dt = noise - x0, with noise = (x - (1 - t) x0) / t
        x = x - velocity / steps
    assert torch.allclose(sample(denoise, noise, steps, schedule), x, atol=1e-5)


def test_without_a_path_neither_pose_nor_noise_is_seen_and_one_call_does():
    schedule, calls = SCHEDULES["none"], []
    assert not diffuse(torch.randn(2, 3), torch.randn(2, 3), torch.rand(2), schedule).any()

    def denoise(x, t):
        calls.append((x, t))
        return torch.full_like(x, 7)

    assert (sample(denoise, torch.randn(2, 3), 8, schedule) == 7).all()
    assert len(calls) == 1
    assert not calls[0][0].any()
