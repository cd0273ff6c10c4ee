"""The CPU runs ahead of a GPU: nothing in a step asks for a value that is not computed yet, but CTC for the lengths.

Negatives of all ranks do too: how many there are.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode

from ms2sl.nn import losses
from ms2sl.systems.translator.model import Translator


def step(task, batch) -> None:
    """A step on tensors that have shapes and no values: what needs a value raises."""
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    states = {name: fake.from_tensor(tensor) for name, tensor in [*task.module.named_parameters(), *task.module.named_buffers()]}

    def module(*given):
        return torch.func.functional_call(task.module, states, given)

    given = batch._map(fake.from_tensor)
    with fake:
        task.loss(module, given, torch.Generator())["loss"].backward()


def test_a_step_waits_for_nothing_but_ctc(task, batch, monkeypatch):
    if not isinstance(task.module, Translator):
        with pytest.raises(DynamicOutputShapeException, match=r"aten\._ctc_loss"):
            step(task, batch)
    monkeypatch.setattr(losses.F, "ctc_loss", lambda log_p, *given, **options: log_p.sum((0, 2)))
    step(task, batch)
