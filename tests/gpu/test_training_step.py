"""A step of every system on each device: finite, learning, the same with less memory, and on a GPU as on a CPU."""

import copy

import pytest
import torch

from ms2sl.data.batch_sampler import EpochPlan
from ms2sl.data.dataset import Dataset
from ms2sl.systems.ms2sl.config import ModelConfig
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.training.checkpoint import ModelCard
from ms2sl.training.local import LocalReporter, local_batches
from ms2sl.training.loop import TrainingConfig, accumulate, split, train
from ms2sl.training.parallel import parallelise


def gradients(task, batch, device: torch.device, *, bf16: bool = False, recompute: bool = False, compiled: bool = False) -> dict:
    """Loss terms and gradients of one step, on the CPU; with noise of the CPU, so that all devices have the same."""
    task = copy.deepcopy(task)
    module = parallelise(task.module, device, "ddp", recompute, compiled)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        losses = task.loss(module, batch.to(device), torch.Generator().manual_seed(1))
    losses["loss"].backward()
    found = {name: parameter.grad for name, parameter in task.module.named_parameters() if parameter.grad is not None}
    return {name: value.detach().float().cpu() for name, value in (losses | found).items()}


def agree(one: dict, other: dict, tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.allclose(value, other[name], rtol=tolerance, atol=tolerance * max(1e-3, value.abs().max())), name


def test_a_gpu_gives_the_losses_and_gradients_of_the_cpu(task, batch, gpu):
    torch.set_float32_matmul_precision("highest")
    on_cpu = gradients(task, batch, torch.device("cpu"))
    module = copy.deepcopy(task.module).to(gpu)
    losses = task.loss(module, batch.to(gpu), torch.Generator().manual_seed(1))
    losses["loss"].backward()
    found = {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}
    agree(on_cpu, {name: value.detach().cpu() for name, value in (losses | found).items()}, 1e-3)


def test_recomputed_layers_give_the_same_gradients(task, batch, device):
    agree(gradients(task, batch, device), gradients(task, batch, device, recompute=True), 1e-5)


def test_a_clip_without_anything_in_it_gives_finite_losses_and_gradients(task, batch, device):
    """Ranks that have fewer passes than others make such ones."""
    assert all(torch.isfinite(value).all() for value in gradients(task, batch.absent(), device).values())


def test_bf16_gives_nearly_the_same_loss_and_finite_gradients(task, batch, device):
    exact, rounded = gradients(task, batch, device), gradients(task, batch, device, bf16=True)
    assert all(torch.isfinite(value).all() for value in rounded.values())
    assert rounded["loss"].item() == pytest.approx(exact["loss"].item(), rel=0.05)


def test_compiled_layers_give_the_same_gradients(task, batch, gpu):
    agree(gradients(task, batch, gpu), gradients(task, batch, gpu, compiled=True), 1e-3)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_step_in_parts_is_a_step(task, batch, device, parts):
    """Of finite losses and gradients; every pass has noise of its own."""
    module, frames = task.module.to(device), batch.poses.shape[1]
    passes = split(0, batch, len(batch) * frames if parts == 1 else -(-len(batch) // parts) * frames)
    assert len(passes) >= parts
    losses = accumulate(task, module, passes, device, False, (0, 0))
    assert all(torch.isfinite(value).all() for value in losses.values())
    assert all(torch.isfinite(each.grad).all() for each in module.parameters() if each.grad is not None)


def test_a_batch_is_learned_by_heart_and_a_run_goes_on_where_it_was(task, device, tmp_path):
    plan = EpochPlan.of(task.dataset, 8, seed=0)
    config = TrainingConfig(steps=12, batch_size=8, warmup=0, log_every=1, checkpoint_every=6, validate_every=12, precision="fp32")

    def run(name: str, steps: int):
        learner, reporter = copy.deepcopy(task), LocalReporter(tmp_path / name, str(device))
        batches = local_batches(plan, learner.collate, 0)
        first = next(batches)
        train(learner, lambda step: (first for _ in range(step, steps)), config, reporter)
        return learner.module, reporter

    whole, reporter = run("whole", 12)
    assert reporter.history[-1]["loss"] < reporter.history[0]["loss"]
    with pytest.raises(StopIteration):
        run("stopped", 8)
    resumed, again = run("stopped", 12)
    assert [row["step"] for row in again.history] == [7, 8, 9, 10, 11, 12]
    for (name, one), other in zip(whole.named_parameters(), resumed.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6), name


def test_recomputing_takes_less_memory_of_the_longest_batch(tiny_dataset, gpu):
    """Of a model whose layers matter."""
    dataset, shape = Dataset(tiny_dataset), ModelConfig(denoiser_layers=8)
    task = MS2SLTask(dataset, shape, LossWeights(), ModelCard.of("ms2sl", shape, dataset.card))
    table = next(dataset.tables("train", task.collate.columns))
    longest = task.collate(table.take([table["n_frames"].to_numpy().argmax()] * 32))
    peaks = []
    for recompute in (False, True):
        torch.cuda.reset_peak_memory_stats()
        gradients(task, longest, gpu, recompute=recompute)
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < 0.8 * peaks[0]
