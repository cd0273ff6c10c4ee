"""What a device can do."""

from typing import Literal

import torch

Precision = Literal["auto", "bf16", "fp32"]  # auto is bf16 where it is fast


def supports_bf16(device: torch.device) -> bool:
    """Whether bf16 arithmetic is fast on this device."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """What a precision means on this device."""
    return precision == "bf16" or (precision == "auto" and supports_bf16(device))
