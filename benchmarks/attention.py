"""Attention of the default model by hand and by torch's kernels, in turn, in one run: forward and backward as in training, forward alone.

    python -m benchmarks.attention

Self-attention has a learned bias of positions; cross-attention has none.
"""

import argparse
import os
import statistics
import time

import torch
from torch.nn import functional as F

from benchmarks.common import machine, save
from ms2sl.nn.transformer import attention_by_hand
from ms2sl.systems.ms2sl.config import ModelConfig
from ms2sl.training.loop import TrainingConfig

CLIPS = {"words": (24, 53), "10 s": (64, 176), "20 s": (128, 357)}  # tokens of the signing, and of text and speech together
WAYS = {"by hand": attention_by_hand, "SDPA": F.scaled_dot_product_attention}


def milliseconds(way: str, queries: int, keys: int, *, biased: bool, dtype: torch.dtype, training: bool) -> float:
    """One call on a batch of the default size."""
    model, batch = ModelConfig(), TrainingConfig().batch_size
    tokens = torch.randn(batch, queries, model.width, dtype=dtype, requires_grad=training)
    context = torch.randn(batch, keys, 2 * model.width, dtype=dtype, requires_grad=training)
    bias = torch.randn(model.heads, queries, keys, requires_grad=training)
    lengths = torch.randint(keys // 2, keys + 1, (batch,))
    query = tokens.unflatten(2, (model.heads, -1)).transpose(1, 2)
    key, value = context.unflatten(2, (2, model.heads, -1)).permute(2, 0, 3, 1, 4)
    began = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16), torch.set_grad_enabled(training):
        added = torch.where(torch.arange(keys) < lengths[:, None], 0.0, -1e4)[:, None, None]
        made = WAYS[way](query, key, value, bias + added if biased else added)
    if training:
        made.sum().backward()
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    before = os.getloadavg()[0]
    rows = [("", "precision", "clips", "attention", *(f"{way}, ms" for way in WAYS), "SDPA / by hand (median of pairs)")]
    for training in (True, False):
        for dtype in (torch.float32, torch.bfloat16):
            for clips, (frames, said) in CLIPS.items():
                for biased, keys in ((True, frames), (False, said)):
                    given = {"biased": biased, "dtype": dtype, "training": training}
                    pairs = [[milliseconds(way, frames, keys, **given) for way in WAYS] for _ in range(arguments.rounds + 1)][1:]
                    rows.append(
                        (
                            "training" if training else "producing",
                            str(dtype).removeprefix("torch."),
                            clips,
                            f"{'self' if biased else 'cross'}, {frames} × {keys}",
                            *(f"{statistics.median(times):.1f}" for times in zip(*pairs, strict=True)),
                            f"{statistics.median(sdpa / hand for hand, sdpa in pairs):.2f}",
                        )
                    )
    load = f"{before:.0f} before and {os.getloadavg()[0]:.0f} after"
    save("attention", f"Batches of {TrainingConfig().batch_size}, {arguments.rounds} rounds; load {load}. {machine()}", rows)


if __name__ == "__main__":
    main()
