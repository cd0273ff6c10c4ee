import shutil

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ms2sl.errors import InputError
from ms2sl.training.parallel import parallelise

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
