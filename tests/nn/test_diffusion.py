import math

import pytest
import torch

from ms2sl.nn.diffusion import SAMPLERS, SCHEDULES, diffuse, overhang, sample, sampling_times, smooth_noise

STEPS = [1, 2, 3, 4, 5, 8, 50]
PATHS = ["linear", "cosine"]  # the third schedule is none


@pytest.mark.parametrize("name", PATHS)
def test_time_zero_is_the_pose_and_time_one_is_noise(name):
    schedule, x0, noise = SCHEDULES[name], torch.randn(2, 3), torch.randn(2, 3)
    assert torch.allclose(diffuse(x0, noise, torch.zeros(2), schedule), x0, atol=1e-6)
    assert torch.allclose(diffuse(x0, noise, torch.ones(2), schedule), noise, atol=1e-6)


def test_cosine_diffusion_preserves_variance():
    t = torch.linspace(0, 1, 11)
    assert torch.allclose(SCHEDULES["cosine"].alpha(t) ** 2 + SCHEDULES["cosine"].sigma(t) ** 2, torch.ones(11))


@pytest.mark.parametrize("name", PATHS)
def test_the_velocity_is_the_derivative_along_the_path_and_gives_the_pose_back(name):
    """By time on the linear path, by the angle t π / 2 on the cosine one."""
    schedule, unit = SCHEDULES[name], {"linear": 1.0, "cosine": math.pi / 2}[name]
    x0, noise = torch.randn(7, 3, dtype=torch.double), torch.randn(7, 3, dtype=torch.double)
    little = 1e-6
    for t in torch.linspace(little, 1 - little, 11, dtype=torch.double):
        before, x_t, after = (diffuse(x0, noise, (t + d).repeat(7), schedule) for d in (-little, 0, little))
        velocity = {"linear": noise - x0, "cosine": math.cos(t * unit) * noise - math.sin(t * unit) * x0}[name]
        assert torch.allclose((after - before) / (2 * little), unit * velocity, atol=1e-8)
        assert torch.allclose(schedule.clean(x_t, velocity, t), x0)


def test_times_run_from_noise_to_clean_and_a_shift_leaves_the_ends_where_they_are():
    assert sampling_times(4).tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert sampling_times(4, 3.0).tolist() == pytest.approx([1, 0.9, 0.75, 0.5, 0])
    # On the linear path, noise that is as many times as strong is as if time were shifted by it.
    even, shifted = sampling_times(9)[1:-1], sampling_times(9, 3.0)[1:-1]
    assert torch.allclose(shifted / (1 - shifted), 3 * even / (1 - even))


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_denoiser_that_knows_the_answer_is_followed_to_it(name, steps, sampler, shift):
    x0 = torch.randn(4, 5)
    assert torch.allclose(sample(lambda x, t: x0, torch.randn(4, 5), steps, SCHEDULES[name], sampler, shift), x0, atol=1e-5)


def gaussian_denoiser(schedule, deviation: float):
    """E[x0 | x_t] in closed form for x0 ~ N(0, deviation²)."""

    def denoise(x, t):
        alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
        return alpha * deviation**2 / (alpha**2 * deviation**2 + sigma**2) * x

    return denoise


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("name", PATHS)
def test_samples_of_a_gaussian_have_its_variance(name, shift):
    """A mis-set sampler shrinks what it makes: frozen poses."""
    schedule = SCHEDULES[name]
    noise = torch.randn(2000, 1, generator=torch.Generator().manual_seed(0))
    samples = sample(gaussian_denoiser(schedule, 0.5), noise, 200, schedule, shift=shift)
    assert samples.std().item() == pytest.approx(0.5 * noise.std().item(), rel=0.03)


def errors(sampler: str, name: str, deviation: float, all_steps: list[int]) -> torch.Tensor:
    """Of samples of a Gaussian, relative. The flow's exact way from t = 1 to 0 scales noise by the deviation, since it keeps
    x / sqrt(alpha² deviation² + sigma²)."""
    schedule, noise = SCHEDULES[name], torch.ones(1, 1)
    ends = [sample(gaussian_denoiser(schedule, deviation), noise, steps, schedule, sampler) for steps in all_steps]
    return (torch.cat(ends)[:, 0] / deviation - 1).abs()


@pytest.mark.parametrize("name", PATHS)
def test_dpm_solver_is_of_second_order_and_ddim_of_first(name):
    """Twice the steps leave a quarter of the error, or half of it."""
    steps = [8, 16, 32, 64, 128]
    ddim, dpm = (errors(sampler, name, 2.0, steps) for sampler in ("ddim", "dpm++"))
    assert (ddim[:-1] / ddim[1:]).tolist() == pytest.approx([2] * 4, abs=0.2)
    assert (dpm[:-1] / dpm[1:]).tolist() == pytest.approx([3.5] * 4, abs=0.7)
    for deviation in (0.3, 0.5, 1.0, 2.0):
        ddim, dpm = (errors(sampler, name, deviation, [16, 32]) for sampler in ("ddim", "dpm++"))
        assert (dpm < 0.4 * ddim).all(), deviation


@pytest.mark.parametrize("name", PATHS)
def test_dpm_solver_takes_the_steps_of_its_paper(name):
    """Algorithm 2 as it stands there, from the third to the last but one of six steps, on a denoiser whose answers differ."""
    schedule, steps = SCHEDULES[name], 6
    seen, answers, noise = [], torch.randn(steps, 1, 4), torch.randn(1, 4)

    def denoise(x, t):
        seen.append(x)
        return answers[len(seen) - 1]

    sample(denoise, noise, steps, schedule, "dpm++")
    times = torch.linspace(1, 0, steps + 1, dtype=torch.double)
    alpha, sigma = schedule.alpha(times), schedule.sigma(times)
    lam = (alpha / sigma).log()
    for i in range(3, steps):  # to times[i]
        h, h_before = lam[i] - lam[i - 1], lam[i - 1] - lam[i - 2]
        r = h_before / h
        data = (1 + 1 / (2 * r)) * answers[i - 1] - 1 / (2 * r) * answers[i - 2]
        expected = sigma[i] / sigma[i - 1] * seen[i - 1] - alpha[i] * (torch.exp(-h) - 1) * data
        assert torch.allclose(seen[i], expected.float(), atol=1e-5), i


@pytest.mark.parametrize("name", PATHS)
def test_with_few_steps_dpm_solver_is_ddim_and_never_is_anything_undefined(name):
    schedule, noise = SCHEDULES[name], torch.randn(6, 1)
    for steps in range(1, 51):
        ddim, dpm = (sample(gaussian_denoiser(schedule, 0.5), noise, steps, schedule, sampler) for sampler in ("ddim", "dpm++"))
        assert torch.isfinite(dpm).all()
        assert torch.equal(ddim, dpm) == (steps <= 3), steps


def test_on_the_linear_path_ddim_is_eulers_method_for_the_flow():
    schedule, steps = SCHEDULES["linear"], 8
    denoise, noise = gaussian_denoiser(schedule, 0.5), torch.randn(6, 1)
    x = noise
    for i in range(steps):
        t = torch.full((6,), 1 - i / steps)
        velocity = (x - denoise(x, t)) / t[:, None]  # dx/dt = noise - x0, with noise = (x - (1 - t) x0) / t
        x = x - velocity / steps
    assert torch.allclose(sample(denoise, noise, steps, schedule), x, atol=1e-5)


def test_a_sampler_that_is_not_there_is_no_other():
    with pytest.raises(KeyError, match="euler"):
        sample(lambda x, t: x, torch.randn(2, 3), 4, SCHEDULES["linear"], "euler")


def test_without_a_path_neither_pose_nor_noise_is_seen_and_one_call_does():
    schedule, calls = SCHEDULES["none"], []
    assert not diffuse(torch.randn(2, 3), torch.randn(2, 3), torch.rand(2), schedule).any()

    def denoise(x, t):
        calls.append((x, t))
        return torch.full_like(x, 7)

    assert (sample(denoise, torch.randn(2, 3), 8, schedule) == 7).all()
    assert len(calls) == 1
    assert not calls[0][0].any()


def test_smooth_noise_has_unit_variance_and_is_alike_from_frame_to_frame():
    white = torch.randn(8, 4000 + overhang(5), 6, generator=torch.Generator().manual_seed(0))
    noise = smooth_noise(white, 5)
    assert noise.shape == (8, 4000, 6)
    assert noise.std().item() == pytest.approx(1, abs=0.01)
    correlation = [(noise[:, lag:] * noise[:, : 4000 - lag]).mean().item() for lag in (1, 3, 9)]
    assert correlation == pytest.approx([80 / 85, 52 / 85, 0], abs=0.03)  # of the triangle 1 2 3 4 5 4 3 2 1 with itself
    third = noise.diff(dim=1).diff(dim=1).diff(dim=1)
    assert third.std() < 0.12 * white.diff(dim=1).diff(dim=1).diff(dim=1).std()
    assert torch.corrcoef(noise.transpose(0, 2).flatten(1)).fill_diagonal_(0).abs().max() < 0.05


def test_smooth_noise_of_a_part_is_part_of_that_of_the_whole_and_length_1_is_white():
    white = torch.randn(2, 60 + overhang(5), 3)
    assert torch.allclose(smooth_noise(white[:, 20 : 40 + overhang(5)], 5), smooth_noise(white, 5)[:, 20:40], atol=1e-6)
    assert smooth_noise(white, 1) is white
    assert overhang(1) == 0
