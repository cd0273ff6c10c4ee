"""Transformer blocks with relative positions, so that what is learned on short clips holds on longer ones.

Shapes: B batch, N positions, M keys, W width, H heads, D width of a head.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

EXACT_OFFSETS, FARTHEST_OFFSET, BUCKETS_PER_SIDE = 8, 128, 16


def relative_buckets(queries: int, keys: int, device: torch.device) -> torch.Tensor:
    """Bucket of each offset ``(queries, keys)``: near offsets exactly, far ones by logarithm (T5, Raffel et al. 2020)."""
    offset = torch.arange(keys, device=device)[None] - torch.arange(queries, device=device)[:, None]
    distance = offset.abs()
    scale = (BUCKETS_PER_SIDE - EXACT_OFFSETS) / math.log(FARTHEST_OFFSET / EXACT_OFFSETS)
    far = EXACT_OFFSETS + (torch.log(distance.clamp(min=1) / EXACT_OFFSETS) * scale).long()
    bucket = torch.where(distance < EXACT_OFFSETS, distance, far.clamp(max=BUCKETS_PER_SIDE - 1))
    return bucket + BUCKETS_PER_SIDE * (offset > 0)


def length_mask(lengths: torch.Tensor, size: int) -> torch.Tensor:
    """bool ``(B, size)``: True where a row is real."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def check_heads(width: int, heads: int) -> None:
    """Raises ValueError where the attention heads cannot share the width."""
    if width % heads:
        raise ValueError(f"heads ({heads}) must divide width ({width})")


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None, mask: torch.Tensor) -> torch.Tensor:
    """``softmax(query @ key.T / sqrt(D) + bias) @ value`` over the keys of the mask ``(B, H, N, D)``.

    query ``(B, H, N, D)``, key and value ``(B, H, M, D)``, bias ``(H, N, M)``, mask bool ``(B, M)``, or ``(B, N, M)`` where each query has
    keys of its own. A query without any key gets finite numbers that mean nothing.

    By torch's kernels, but for bf16 on a CPU, where training with them is slower at usual lengths (benchmarks/results/attention.md). GPUs
    were not measured: there the memory-efficient kernel takes a mask, gives the bias its gradient, and keeps no weights
    ``(B, H, N, M)``. ``flex_attention`` would not write the bias out either, but has no backward pass on a CPU.
    """
    added = torch.where(mask if mask.ndim == 3 else mask[:, None], 0.0, -1e4)[:, None]
    added = added if bias is None else bias + added
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        return attention_by_hand(query, key, value, added)
    return F.scaled_dot_product_attention(query, key, value, added)


def attention_by_hand(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """The same as ``scaled_dot_product_attention``, step by step."""
    logits = query / math.sqrt(query.shape[-1]) @ key.transpose(2, 3) + added
    return logits.softmax(-1).to(value.dtype) @ value


class Attention(nn.Module):
    """Multi-head attention over ``context`` (self-attention where it is None)."""

    def __init__(self, width: int, heads: int, relative: bool):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.bias = nn.Embedding(2 * BUCKETS_PER_SIDE, heads) if relative else None
        if self.bias is not None:
            nn.init.zeros_(self.bias.weight)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """x ``(B, N, W)``, mask ``(B, M)`` or ``(B, N, M)`` of the keys, context ``(B, M, W)``."""
        context = x if context is None else context
        query = self.query(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(context).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = None
        if self.bias is not None:
            bias = self.bias(relative_buckets(x.shape[1], context.shape[1], x.device)).permute(2, 0, 1)
        return self.out(attention(query, key, value, bias, mask).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020). Its product can compare what attention brought with what was there, such as a letter with its neighbour."""

    def __init__(self, width: int):
        super().__init__()
        hidden = 8 * width // 3 // 8 * 8
        self.into = nn.Linear(width, 2 * hidden)
        self.out = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, value = self.into(x).chunk(2, dim=-1)
        return self.out(F.silu(gate) * value)


class Block(nn.Module):
    """Pre-norm block: self-attention, cross-attention if ``cross``, feed-forward.

    With ``adaptive`` a vector per clip scales, shifts and gates each branch (AdaLN-zero, Peebles & Xie 2022).
    """

    def __init__(self, width: int, heads: int, *, cross: bool = False, adaptive: bool = False, dropout: float = 0.0):
        super().__init__()
        self.attention = Attention(width, heads, relative=True)
        self.cross = Attention(width, heads, relative=False) if cross else None
        self.feed_forward = FeedForward(width)
        self.dropout = nn.Dropout(dropout)
        branches = 3 if cross else 2
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=not adaptive) for _ in range(branches))
        self.modulation = nn.Linear(width, 3 * branches * width) if adaptive else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(self, x, mask, vector=None, context=None, context_mask=None) -> torch.Tensor:
        """x ``(B, N, W)``, vector ``(B, W)``, context ``(B, M, W)``; masks: of the keys of x and of the context, as of ``attention``."""
        branches = [lambda h: self.attention(h, mask)]
        if self.cross is not None:
            branches.append(lambda h: self.cross(h, context_mask, context))
        branches.append(self.feed_forward)
        if self.modulation is None:
            for norm, branch in zip(self.norms, branches, strict=True):
                x = x + self.dropout(branch(norm(x)))
            return x
        parts = self.modulation(F.silu(vector))[:, None].chunk(3 * len(branches), dim=-1)
        for i, (norm, branch) in enumerate(zip(self.norms, branches, strict=True)):
            shift, scale, gate = parts[3 * i : 3 * i + 3]
            x = x + gate * self.dropout(branch(norm(x) * (1 + scale) + shift))
        return x


class Trunk(nn.Module):
    """A stack of blocks and a final norm: ``(B, N, W)`` → ``(B, N, W)``."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)


class Pool(nn.Module):
    """Tokens → one unit vector ``(B, size)`` by attention pooling."""

    def __init__(self, width: int, size: int):
        super().__init__()
        self.score = nn.Linear(width, 1)
        self.project = nn.Linear(width, size)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        weights = self.score(tokens).float().masked_fill(~mask[..., None], -1e4).softmax(dim=1)
        return F.normalize(self.project((weights * tokens).sum(dim=1)).float(), dim=-1)


def time_embedding(t: torch.Tensor, width: int) -> torch.Tensor:
    """Sinusoids of diffusion time t in [0, 1]: ``(B,)`` → ``(B, width)``."""
    frequencies = torch.exp(torch.linspace(0, math.log(1000), width // 2, device=t.device))
    angles = t[:, None] * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
