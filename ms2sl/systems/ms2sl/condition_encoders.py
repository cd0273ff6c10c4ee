"""Text and speech as conditions: tokens of one space, their durations, and one unit vector.

Shapes: B batch, N condition tokens, T frame tokens, W width.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from ms2sl.data.collate import Batch
from ms2sl.data.label_fields import NULL
from ms2sl.features.base import Features
from ms2sl.nn.transformer import Block, Pool, Trunk, length_mask

ALIGNMENT_SCALES = (0.7, 1.5, 3.0, 6.0)  # frames
NEAR = 9  # frame tokens


@dataclass(slots=True)
class Condition:
    """tokens ``(B, N, W)``, mask ``(B, N)``; log_durations ``(B, N)``: log of the frames of signing that a token takes; embedding
    ``(B, E)``, of unit length; log_deviation (): deviation of the log of the length in frames; piece ``(B, N)``: of several that are said
    one after another, the one that a token is of, from 0; None where there is one."""

    tokens: torch.Tensor
    mask: torch.Tensor
    log_durations: torch.Tensor
    embedding: torch.Tensor
    log_deviation: torch.Tensor
    piece: torch.Tensor | None = None

    @property
    def log_length(self) -> torch.Tensor:
        """Mean of the log of the length in frames ``(B,)``: durations add up, so longer inputs than any in training have a length too."""
        return self.log_durations.masked_fill(~self.mask, -1e4).logsumexp(dim=1)

    def length_nll(self, n_frames: torch.Tensor) -> torch.Tensor:
        """Negative log-likelihood ``(B,)`` of the log of lengths in frames."""
        error = (n_frames.clamp(min=1).log() - self.log_length) / torch.exp(self.log_deviation)
        return error**2 / 2 + self.log_deviation


def expected_frames(conditions: Sequence[Condition]) -> torch.Tensor:
    """Mean of the log-normal distribution of the length ``(B,)``, in frames.

    Of several conditions the surer one counts more, by its precision; together they are no surer, since they say the same.
    """
    precision = torch.stack([torch.exp(-2 * condition.log_deviation) for condition in conditions])
    log_lengths = torch.stack([condition.log_length for condition in conditions], dim=1)
    return torch.exp(log_lengths @ (precision / precision.sum()) + 1 / precision.mean() / 2)


class ConditionEncoder(nn.Module):
    """Features of one modality → Condition. Speech is first thinned to ``speech_rate`` tokens a second."""

    def __init__(self, features: Features, width: int, heads: int, layers: int, embedding: int, dropout: float, speech_rate: float):
        super().__init__()
        thinnings = max(0, round(math.log2(features.rate / speech_rate))) if features.rate else 0
        widths = [features.dim, *[width] * thinnings]
        self.thin = nn.ModuleList(nn.Conv1d(a, b, 5, stride=2, padding=2) for a, b in pairwise(widths))
        if features.vocabulary:
            self.stem = nn.Embedding(features.vocabulary, width)
        else:
            self.stem = nn.Identity() if thinnings else nn.Linear(features.dim, width)
        self.trunk = Trunk(width, heads, layers, dropout)
        self.pool = Pool(width, embedding)
        self.duration = nn.Linear(width, 1)
        self.log_deviation = nn.Parameter(torch.tensor([-1.0]))

    def forward(self, features: torch.Tensor, lengths: torch.Tensor, chosen: torch.Tensor | None = None) -> Condition:
        """features ``(B, M, dim)`` or ids ``(B, M)``, lengths ``(B,)``, chosen ``(B, W)``; a row of length 0 gives a meaningless token."""
        x = self.stem(features)
        x = x * length_mask(lengths, x.shape[1])[..., None]
        for conv in self.thin:
            lengths = (lengths + 1) // 2
            x = F.gelu(conv(x.transpose(1, 2)).transpose(1, 2))
            x = x * length_mask(lengths, x.shape[1])[..., None]
        mask = length_mask(lengths.clamp(min=1), x.shape[1])
        if chosen is not None:
            x = x + chosen[:, None].to(x.dtype)
        tokens = self.trunk(x, mask)
        return Condition(tokens, mask, self.duration(tokens)[..., 0].float(), self.pool(tokens, mask), self.log_deviation[0])


class Choices(nn.Module):
    """What may be chosen beside what is said, such as the sign language: ids of each, ``NULL`` where it is not → one vector ``(B, W)``.

    sizes: how many values of each there are.
    """

    def __init__(self, sizes: Mapping[str, int], width: int):
        super().__init__()
        self.width = width
        self.tables = nn.ModuleDict({name: nn.Embedding(size + 1, width) for name, size in sizes.items()})

    def ids(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Of the clips of a batch, by name ``(B,)``; what the batch does not say is left out."""
        return {name: batch[name].values[:, 0] for name in self.tables if name in batch}

    def forward(self, ids: Mapping[str, torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
        """ids: what is left out is not chosen. rows ``(B, …)``: any tensor of as many rows."""
        nothing = torch.full((len(rows),), NULL, device=rows.device)
        vector = rows.new_zeros(len(rows), self.width, dtype=torch.float32)
        return sum((table(ids.get(name, nothing)) for name, table in self.tables.items()), vector)


class GaussianUpsampler(nn.Module):
    """Condition tokens laid out along the frames of the signing.

    Each token gets a share of the length in proportion to its duration, in the order of speech, and frames gather
    the tokens near them through Gaussians of several widths (after Shen et al. 2020, Non-Attentive Tacotron). ``Reorderer``
    changes the order.
    """

    def __init__(self, width: int):
        super().__init__()
        self.scales = nn.Parameter(torch.tensor(ALIGNMENT_SCALES).log())
        self.value = nn.Linear(width, width)
        self.offset = nn.Linear(len(ALIGNMENT_SCALES), width)
        self.near = nn.Conv1d(width, 2 * width, NEAR, padding=NEAR // 2)

    def forward(self, condition: Condition, n_frames: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """n_frames ``(B,)``; times ``(T,)`` or ``(B, T)``: centres of the frame tokens, in frames → ``(B, T, W)``."""
        times = times.expand(len(n_frames), -1)
        log_share = condition.log_durations.masked_fill(~condition.mask, -1e4).log_softmax(dim=1)
        share = log_share.exp()
        centre = (share.cumsum(dim=1) - share / 2) * n_frames[:, None]
        distance = times[..., None] - centre[:, None]  # (B, T, N)
        logits = log_share[:, None, None] - (distance[:, None] / self.scales.exp()[:, None, None]) ** 2 / 2
        weights = logits.softmax(dim=-1)  # (B, scales, T, N)
        values = self.value(condition.tokens).unflatten(2, (len(self.scales), -1)).transpose(1, 2)
        gathered = (weights.to(values.dtype) @ values).transpose(1, 2).flatten(2)
        offset = (weights * distance[:, None]).sum(-1).transpose(1, 2)  # (B, T, scales)
        x = gathered + self.offset(offset / self.scales.exp())
        # What is said is compared with what is said just before and after: a letter that is doubled, say, is signed in another way.
        # Here, behind the alignment, what was learned of it from one modality holds for the other.
        inside = (times < n_frames[:, None])[..., None]
        one, other = self.near((x * inside).transpose(1, 2)).transpose(1, 2).chunk(2, dim=-1)
        return x + one + one * other


class Reorderer(nn.Module):
    """What is said along the frames of signing, from the order of speech to that of signing, which may put the topic first (a reordering
    module, after Ran et al. 2021, ReorderNAT). Each frame looks at all that is said, and at its neighbours, before there is any noise.

    glosses: where the training clips have some, how many different ones; what is in order must spell those of its clip.
    """

    def __init__(self, width: int, heads: int, layers: int, glosses: int, dropout: float):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, cross=True, dropout=dropout) for _ in range(layers))
        self.gloss = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, glosses + 1)) if layers and glosses else None

    def forward(self, aligned: torch.Tensor, mask: torch.Tensor, context: torch.Tensor, context_mask: torch.Tensor) -> torch.Tensor:
        """aligned ``(B, T, W)``, context ``(B, N, W)`` → ``(B, T, W)``; masks: which tokens of both a token looks at, ``(B, T)`` and
        ``(B, N)``, or of its own ``(B, T, T)`` and ``(B, T, N)``."""
        for block in self.blocks:
            aligned = block(aligned, mask, context=context, context_mask=context_mask)
        return aligned

    def gloss_logits(self, reordered: torch.Tensor) -> torch.Tensor | None:
        """``(B, T, glosses + 1)``, the last of which is CTC's blank; None where it knows no glosses."""
        return None if self.gloss is None else self.gloss(reordered)


class CrossModalMapper(nn.Module):
    """Maps condition features of one modality to those that the other would have: pseudo-features for a missing modality."""

    def __init__(self, width: int):
        super().__init__()
        self.net = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(approximate="tanh"), nn.Linear(2 * width, width))
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.net(x)
