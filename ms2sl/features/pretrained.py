"""Frozen encoders of ``transformers``: loaded from a hub name or a folder, and known again by a hash of their weights."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoModel

from ms2sl.errors import InputError
from ms2sl.features.base import FeaturizerConfig
from ms2sl.precision import uses_bf16


def load(config: FeaturizerConfig, modality: str, processor: Any, device: torch.device) -> tuple[nn.Module, Any]:
    """The encoder, frozen and in fp32, and its ``processor``: a tokenizer or feature extractor.

    Raises InputError if they cannot be had.
    """
    if not config.weights:
        raise InputError(f"the featurizer {config.featurizer} needs pretrained weights: --{modality}.weights NAME-ON-THE-HUB or FOLDER")
    try:
        made = processor.from_pretrained(config.weights, revision=config.revision)
        model = AutoModel.from_pretrained(config.weights, revision=config.revision, dtype=torch.float32)
    except (OSError, ValueError) as error:
        offline = {"text": "bytes", "speech": "log-mel"}[modality]
        raise InputError(
            f"the weights '{config.weights}' cannot be had ({str(error).splitlines()[0]}). Where the hub can be reached, `hf download "
            f"{config.weights} --local-dir FOLDER` gets them; then say --{modality}.weights FOLDER. The featurizer '{offline}' needs none"
        ) from None
    return model.eval().requires_grad_(False).to(device), made


def resolve_precision(config: FeaturizerConfig, device: torch.device) -> str:
    return "bf16" if uses_bf16(config.precision, device) else "fp32"


def digest(model: nn.Module) -> str:
    """Hash of all weights, which are in fp32."""
    found = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().numpy().tobytes())
    return found.hexdigest()


def by_length(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in batches of similar length: the longest times their number is at most ``budget``, or the batch is a single one."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and lengths[i] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
