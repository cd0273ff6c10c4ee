import torch

from ms2sl.precision import supports_bf16, uses_bf16


def test_auto_precision_is_fp32_on_a_gpu_that_only_emulates_bf16(monkeypatch):
    """T4 and V100 compute bf16, slowly; torch counts that as support unless it is asked not to."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not supports_bf16(torch.device("cuda"))
    assert not uses_bf16("auto", torch.device("cuda"))
    assert uses_bf16("bf16", torch.device("cuda"))
