import errno
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from ms2sl.data.batch_sampler import EpochPlan
from ms2sl.data.dataset import Dataset
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.training.checkpoint import ModelCard
from ms2sl.training.divergence import Diverged, LossHistory
from ms2sl.training.local import LocalReporter, local_batches
from ms2sl.training.loop import TrainingConfig, learning_rate, make_optimizer, seed_step, train
from ms2sl.training.state import TrainState, forget_losses
from tests.training.checkpoints import contents


@pytest.fixture
def run(tiny_dataset, tiny_model):
    dataset = Dataset(tiny_dataset)

    def start(folder, spoil=None, weights=None, **options):
        config = TrainingConfig(
            **{"steps": 12, "batch_size": 4, "validate_every": 6, "checkpoint_every": 3, "log_every": 2, "precision": "fp32"} | options
        )
        torch.manual_seed(config.seed)
        task = MS2SLTask(dataset, tiny_model, weights or LossWeights(), ModelCard.of("ms2sl", tiny_model, dataset.card))
        plan, reporter = EpochPlan(dataset.shards("train"), 4, config.seed), LocalReporter(folder)

        def batches(step):
            for number, batch in enumerate(local_batches(plan, task.collate, step), step):
                yield spoil(number, batch) if spoil else batch

        train(task, batches, config, reporter)
        return task, reporter

    return start


def test_the_learning_rate_warms_up_and_decays_to_zero():
    config = TrainingConfig(steps=100, warmup=10, learning_rate=1.0)
    assert learning_rate(0, config) == pytest.approx(0.1)
    assert learning_rate(9, config) == pytest.approx(1.0)
    assert learning_rate(55, config) == pytest.approx(0.5)
    assert learning_rate(100, config) == pytest.approx(0.0)


def test_the_average_follows_its_closed_form():
    module = torch.nn.Linear(1, 1, bias=False)
    state = TrainState(module, torch.optim.SGD(module.parameters(), lr=1))
    expected = module.weight.item()
    for step in range(1, 200):
        module.weight.data.fill_(step)
        state.step = step
        state.update_average(0.9)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert state.averaged()["weight"].item() == pytest.approx(expected, rel=1e-5)


def test_vectors_do_not_decay():
    groups = make_optimizer(torch.nn.Linear(2, 2), TrainingConfig(weight_decay=0.1)).param_groups
    assert [(group["weight_decay"], [p.dim() for p in group["params"]]) for group in groups] == [(0.1, [2]), (0.0, [1])]


class Killed(Exception):
    pass


def killed_at(step):
    def spoil(number, batch):
        if number == step:
            raise Killed
        return batch

    return spoil


@pytest.mark.parametrize("moment", [4, 7, 11])
def test_a_run_that_was_killed_ends_in_the_very_weights_of_one_that_was_not(run, tmp_path, moment):
    whole, _ = run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "killed", spoil=killed_at(moment))
    resumed, reporter = run(tmp_path / "killed")
    assert reporter.history[0]["step"] <= moment + 2, "it began anew"
    for (name, one), other in zip(whole.module.named_parameters(), resumed.module.parameters(), strict=True):
        assert torch.equal(one, other), name
    one, other = (contents(tmp_path / name / "step-00000012") for name in ("whole", "killed"))
    assert one == other
    assert {"config.json", "training.json"} < one.keys()


def test_a_finished_run_does_nothing_when_started_again(run, tmp_path):
    run(tmp_path)
    _, reporter = run(tmp_path)
    assert reporter.history == []


def test_nan_stops_training_with_advice(run, tmp_path):
    def spoil(number, batch):
        if number == 5:
            batch.poses[0, 0] = math.nan
        return batch

    with pytest.raises(Diverged, match=r"the loss became nan by step 6; lower training\.learning_rate"):
        run(tmp_path, spoil=spoil)
    assert LocalReporter(tmp_path).latest().name == "step-00000003", "the last checkpoint is from before"


def test_a_loss_that_explodes_stops_training(run, tmp_path):
    with pytest.raises(Diverged, match="lower training"):
        run(tmp_path, learning_rate=1e8, warmup=0, steps=60)


def heavier(times: float) -> LossWeights:
    return LossWeights(**{name: times * weight for name, weight in LossWeights()})


def test_losses_of_other_weights_have_not_diverged_if_the_losses_before_are_forgotten(run, tmp_path):
    options = {"steps": 14, "log_every": 1}
    for folder in ("remembers", "forgets"):
        with pytest.raises(Killed):
            run(tmp_path / folder, spoil=killed_at(10), **options)
    with pytest.raises(Diverged, match="the loss rose"):
        run(tmp_path / "remembers", weights=heavier(1000), **options)
    forget_losses(next((tmp_path / "forgets").glob("step-*")))
    _, resumed = run(tmp_path / "forgets", weights=heavier(1000), **options)
    assert [row["step"] for row in resumed.history] == [10, 11, 12, 13, 14]


def test_a_loss_that_explodes_after_a_resumption_stops_training(run, tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, spoil=killed_at(7))
    with pytest.raises(Diverged, match="lower training"):
        run(tmp_path, learning_rate=1e8, warmup=0, steps=60)


def test_reports_hold_every_loss_the_speed_the_wait_and_the_motion_of_samples(run, tmp_path):
    _, reporter = run(tmp_path)
    last = reporter.history[-1]
    assert set(LossWeights.model_fields) | {"loss", "gradient_norm", "frames_per_second", "data_wait_share", "learning_rate"} <= last.keys()
    assert {"dev_amplitude_text", "dev_amplitude_speech", "dev_length_text", "dev_length_speech", "dev_x0_mse"} <= last.keys()
    assert 0 <= last["data_wait_share"] <= 1
    assert all(math.isfinite(value) for value in last.values())


def test_validation_is_of_the_whole_dev_split_and_repeatable(run, tmp_path):
    task, _ = run(tmp_path)
    weights = task.module.state_dict()
    first = task.validate(weights, 0, 1, torch.device("cpu"))
    assert first == task.validate(weights, 0, 1, torch.device("cpu"))


def test_bf16_trains_too(run, tmp_path):
    _, reporter = run(tmp_path, precision="bf16")
    assert math.isfinite(reporter.history[-1]["loss"])


def state_of(module) -> TrainState:
    return TrainState(module, torch.optim.AdamW(module.parameters()))


def stepped(step: int) -> TrainState:
    """A state that can be saved: its optimizer has moments."""
    state = state_of(torch.nn.Linear(2, 2))
    state.module(torch.ones(1, 2)).sum().backward()
    state.optimizer.step()
    state.step = step
    return state


def test_losses_and_precision_are_remembered_across_a_resumption_and_losses_can_be_forgotten(tmp_path):
    state = stepped(7)
    state.bf16 = True
    state.losses.check(7, 2.0, 1.0)
    state.save(tmp_path)
    resumed = state_of(torch.nn.Linear(2, 2))
    resumed.load(tmp_path)
    assert (resumed.step, resumed.bf16, resumed.losses) == (7, True, LossHistory(2.0, 2.0, [2.0]))
    forget_losses(tmp_path)
    resumed.load(tmp_path)
    assert (resumed.step, resumed.bf16, resumed.losses) == (7, True, LossHistory())


def test_a_state_of_before_there_was_a_history_of_losses_loads(tmp_path):
    save_as_formerly(stepped(7), tmp_path)
    (tmp_path / "training.json").write_text('{"step": 7, "lowest_loss": 2.0}')
    resumed = state_of(torch.nn.Linear(2, 2))
    resumed.load(tmp_path)
    assert (resumed.step, resumed.bf16, resumed.losses) == (7, None, LossHistory())


class Codebook(torch.nn.Module):
    """One part learns by gradients, one is frozen, and one is a buffer."""

    def __init__(self):
        super().__init__()
        self.learned, self.frozen = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2).requires_grad_(False)
        self.register_buffer("codes", torch.zeros(3))
        self.register_buffer("helper", torch.zeros(3), persistent=False)


def stepped_codebook(folder) -> Codebook:
    state = state_of(Codebook())
    state.module.learned(torch.ones(1, 2)).sum().backward()
    state.optimizer.step()
    state.update_average(0.5)
    state.module.codes += 5
    state.module.helper += 5
    state.save(folder)
    return state.module


def test_buffers_and_frozen_weights_are_as_they_were_after_a_resumption(tmp_path):
    module, resumed = stepped_codebook(tmp_path), state_of(Codebook())
    resumed.load(tmp_path)
    assert resumed.module.codes.tolist() == [5, 5, 5]
    assert resumed.module.helper.tolist() == [0, 0, 0], "what is no part of a checkpoint is made anew"
    assert torch.equal(resumed.module.frozen.weight, module.frozen.weight)
    assert torch.equal(resumed.averaged()["frozen.weight"], module.frozen.weight), "nothing has moved the average"
    resumed.module.learned(torch.ones(1, 2)).sum().backward()
    resumed.optimizer.step()
    assert torch.equal(resumed.module.frozen.weight, module.frozen.weight)


def save_as_formerly(state: TrainState, folder: Path, names: Callable[[str], bool] = lambda name: True) -> None:
    """As one file of rank 0."""
    state.save(folder)
    saved = load_file(next((folder / "training-1").iterdir()))
    shutil.rmtree(folder / "training-1")
    progress = json.loads((folder / "training.json").read_text())
    (folder / "training.json").write_text(json.dumps({name: value for name, value in progress.items() if name != "ranks"}))
    save_file({name: tensor for name, tensor in saved.items() if names(name)}, folder / "training.safetensors")
    save_file({name: torch.full_like(value, 9.0) for name, value in state.module.state_dict().items()}, folder / "model.safetensors")


def test_a_state_that_one_rank_saved_formerly_loads_as_it_was(tmp_path):
    state = stepped(7)
    state.update_average(0.5)
    save_as_formerly(state, tmp_path)
    resumed = state_of(torch.nn.Linear(2, 2))
    resumed.load(tmp_path)
    assert resumed.step == 7
    for one, other in zip(state.parameters, resumed.parameters, strict=True):
        assert torch.equal(one, other)
        assert state.optimizer.state[one].keys() == resumed.optimizer.state[other].keys()
        assert all(torch.equal(value, resumed.optimizer.state[other][key]) for key, value in state.optimizer.state[one].items())
    assert all(torch.equal(one, other) for one, other in zip(state.average, resumed.average, strict=True))


class Scaled(torch.nn.Module):
    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.full(shape, 3.0))


def test_a_parameter_that_was_a_number_is_one_of_shape_1_now(tmp_path):
    state = state_of(Scaled(()))
    (state.module.scale**2).backward()
    state.optimizer.step()
    save_as_formerly(state, tmp_path)
    resumed = state_of(Scaled((1,)))
    resumed.load(tmp_path)
    moments = resumed.optimizer.state[resumed.module.scale]
    assert resumed.module.scale.tolist() == [state.module.scale.item()]
    assert {key: (value.shape, value.item()) for key, value in moments.items()} == {
        "step": ((), 1.0),
        "exp_avg": ((1,), pytest.approx(0.6)),
        "exp_avg_sq": ((1,), pytest.approx(0.036)),
    }
    (resumed.module.scale**2).sum().backward()
    resumed.optimizer.step()


def test_an_error_of_the_disk_is_raised_as_it_is(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("torch.distributed.checkpoint.HuggingFaceStorageWriter.write_data", full)
    with pytest.raises(OSError, match="No space left on device"):
        stepped(7).save(tmp_path)


def test_a_part_that_other_ranks_left_half_way_is_not_read(tmp_path):
    state = stepped(7)
    state.save(tmp_path)
    other = tmp_path / "training-4"
    other.mkdir()
    left = {"weight.weight": torch.full((2, 2), 9.0)}
    save_file(left, other / "shard-00004-model-00001-of-00001.safetensors")
    resumed = state_of(torch.nn.Linear(2, 2))
    resumed.load(tmp_path)
    assert torch.equal(resumed.module.weight, state.module.weight)


def test_a_state_of_before_buffers_were_kept_leaves_those_of_the_data(tmp_path):
    state = state_of(Codebook())
    state.module.learned(torch.ones(1, 2)).sum().backward()
    state.optimizer.step()
    save_as_formerly(state, tmp_path, lambda name: not name.startswith("buffer."))
    resumed = state_of(Codebook())
    resumed.module.codes += 2
    resumed.load(tmp_path)
    assert resumed.module.codes.tolist() == [2, 2, 2]


def test_auto_precision_is_what_it_was_when_the_run_began_whatever_the_machine_that_goes_on(run, tmp_path, monkeypatch):
    monkeypatch.setattr("ms2sl.precision.supports_bf16", lambda device: True)
    whole, _ = run(tmp_path / "whole", precision="auto")
    with pytest.raises(Killed):
        run(tmp_path / "killed", spoil=killed_at(7), precision="auto")
    monkeypatch.setattr("ms2sl.precision.supports_bf16", lambda device: False)
    resumed, _ = run(tmp_path / "killed", precision="auto")
    for (name, one), other in zip(whole.module.named_parameters(), resumed.module.parameters(), strict=True):
        assert torch.equal(one, other), name


def test_random_numbers_differ_by_seed_step_and_rank_and_repeat_otherwise():
    draws = [torch.rand(1, generator=seed_step(*key)).item() for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    assert len(set(draws)) == 4
    assert torch.rand(1, generator=seed_step(0, 0, 0)).item() == draws[0]


def test_a_seed_may_be_a_time_in_nanoseconds_or_is_refused_by_the_config():
    try:
        seed = TrainingConfig(seed=1_763_683_200_000_000_000).seed
    except ValidationError:
        return
    assert torch.equal(torch.rand(3, generator=seed_step(seed, 5, 1)), torch.rand(3, generator=seed_step(seed, 5, 1)))


def test_a_resumed_optimizer_keeps_all_it_knows_beside_the_weights(tmp_path, monkeypatch):
    """Fused AdamW on a GPU refuses a step count that was left on the CPU; the meta device shows where things are put without a
    GPU, but holds no values."""
    monkeypatch.setattr("ms2sl.training.state.dcp.load", lambda tensors, **options: None)
    module = torch.nn.Linear(2, 2)
    state = state_of(module)
    module(torch.ones(1, 2)).sum().backward()
    state.optimizer.step()
    state.save(tmp_path)
    elsewhere = state_of(torch.nn.Linear(2, 2, device="meta"))
    elsewhere.load(tmp_path)
    found = {key: tensor.device.type for kept in elsewhere.optimizer.state.values() for key, tensor in kept.items()}
    assert found == {"exp_avg": "meta", "exp_avg_sq": "meta", "step": "meta"}


def test_a_rank_without_a_dev_batch_sums_the_same_values_as_the_others(run, tmp_path, monkeypatch):
    """12 dev clips in two shards are two batches; of three workers, the third has none. Only the network is left out."""
    task, _ = run(tmp_path, steps=1)
    summed = []

    def all_sum(values, device):
        summed.append(values)
        return summed[0]

    monkeypatch.setattr("ms2sl.systems.ms2sl.task.all_sum", all_sum)
    for rank in range(3):
        task.validate(task.module.state_dict(), rank, 3, torch.device("cpu"))
    assert list(summed[2]) == list(summed[1]) == list(summed[0])
