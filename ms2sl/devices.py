"""What a device can do."""

import torch


def supports_bf16(device: torch.device) -> bool:
    """Whether bf16 arithmetic is fast on this device."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
