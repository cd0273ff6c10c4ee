import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from ms2sl.errors import InputError
from ms2sl.training.parallel import parallelise, whole
from ms2sl.training.state import TrainState

CPU = torch.device("cpu")


class Layer(nn.Linear):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return F.linear(x, self.weight, self.bias).tanh()


class Layers(nn.Module):
    def __init__(self, layer: type[nn.Linear] = Layer):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(layer(3, 3) for _ in range(2))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x.sum()


def gradients(module: nn.Module) -> list[torch.Tensor]:
    module(torch.arange(6.0).view(2, 3)).backward()
    return [parameter.grad for parameter in module.parameters()]


def test_a_module_alone_is_neither_wrapped_nor_sharded():
    module = Layers()
    assert parallelise(module, CPU, "fsdp", recompute=False, compiled=False) is module


@pytest.mark.parametrize(("device", "chosen"), [("cuda", []), ("cuda:1", [1])])
def test_a_gpu_is_chosen_where_it_has_a_number(device, chosen, monkeypatch):
    found = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: found.append(device.index))
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda precision: None)
    module = Layers()
    monkeypatch.setattr(module, "to", lambda device: module)
    assert parallelise(module, torch.device(device), "ddp", recompute=False, compiled=False) is module
    assert found == chosen


def test_what_has_no_layers_is_neither_recomputed_nor_compiled():
    for options in ({"recompute": True, "compiled": False}, {"recompute": False, "compiled": True}):
        with pytest.raises(InputError, match=r"Linear names no layers that could be recomputed or compiled: leave out training\.recompute"):
            parallelise(nn.Linear(1, 1), CPU, "ddp", **options)


def test_recomputed_layers_compute_twice_and_learn_the_same_under_the_same_names():
    plain, recomputed = Layers(), parallelise(Layers(), CPU, "ddp", recompute=True, compiled=False)
    assert all(torch.equal(one, other) for one, other in zip(gradients(plain), gradients(recomputed), strict=True))
    assert [[layer.calls for layer in module.layers] for module in (plain, recomputed)] == [[1, 1], [2, 2]]
    assert recomputed.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_compiled_layers_learn_the_same_under_the_same_names():
    plain, compiled = Layers(nn.Linear), parallelise(Layers(nn.Linear), CPU, "ddp", recompute=False, compiled=True)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(gradients(plain), gradients(compiled), strict=True))
    assert compiled.state_dict().keys() == plain.state_dict().keys()


class Scaled(nn.Module):
    """As it is now, with a parameter of shape (1,), or was, when that was a number."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        torch.manual_seed(0)
        self.line, self.scale = nn.Linear(3, 3), nn.Parameter(torch.full(shape, 3.0))

    def forward(self, x):
        return (self.line(x) * self.scale).sum()


def stepped(shape: tuple[int, ...]) -> TrainState:
    state = TrainState(module := Scaled(shape), torch.optim.AdamW(module.parameters()))
    module(torch.ones(2, 3)).backward()
    state.optimizer.step()
    return state


def shard(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    module = parallelise(Scaled((1,)), CPU, "fsdp", recompute=False, compiled=False)
    state = TrainState(module, torch.optim.AdamW(module.parameters()))
    state.load(Path(folder))
    values = {name: whole(parameter.detach()).tolist() for name, parameter in module.named_parameters()}
    moments = [whole(state.optimizer.state[module.scale][name]).tolist() for name in ("exp_avg", "exp_avg_sq")]
    (Path(folder) / f"{rank}.json").write_text(json.dumps([values, moments]))
    dist.destroy_process_group()


def test_a_run_of_before_goes_on_sharded(tmp_path):
    before = stepped(())
    before.save(tmp_path)
    saved = load_file(next((tmp_path / "training-1").iterdir()))
    save_file(saved, tmp_path / "training.safetensors")
    (tmp_path / "training.json").write_text('{"step": 1}')
    torch.multiprocessing.spawn(shard, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        values, moments = json.loads((tmp_path / f"{rank}.json").read_text())
        assert values["scale"] == [before.module.scale.item()]
        assert torch.equal(torch.tensor(values["line.weight"]), before.module.line.weight)
        kept = before.optimizer.state[before.module.scale]
        assert moments == [[kept["exp_avg"].item()], [kept["exp_avg_sq"].item()]]
