"""The denoiser and the sign encoder, both over patches of frames.

Shapes: B batch, F frames, T frame tokens (F / patch), D pose features, W width.
"""

import torch
from torch import nn

from ms2sl.nn.transformer import Block, Pool, Trunk, length_mask, time_embedding


def patches(x: torch.Tensor, patch: int) -> torch.Tensor:
    """``(B, F, D)`` → ``(B, T, patch * D)``; F is a multiple of the patch."""
    return x.unflatten(1, (-1, patch)).flatten(2)


def frames_of(patched: torch.Tensor, patch: int) -> torch.Tensor:
    """The inverse of ``patches``."""
    return patched.unflatten(2, (patch, -1)).flatten(1, 2)


def patch_times(frames: int, patch: int, device: torch.device) -> torch.Tensor:
    """Centres of the patches, in frames ``(T,)``."""
    return (torch.arange(frames // patch, device=device) + 0.5) * patch


def patch_mask(n_frames: torch.Tensor, frames: int, patch: int) -> torch.Tensor:
    """bool ``(B, T)``: patches that hold a real frame; at least one a row."""
    return length_mask((n_frames.clamp(min=1) + patch - 1) // patch, frames // patch)


class Denoiser(nn.Module):
    """Noisy pose features, time and condition → clean pose features, or what they follow from.

    A token is of the frames of its patch; with ``overlap`` of those around it too, or motion would have an edge between two patches.
    """

    def __init__(self, features: int, width: int, heads: int, layers: int, patch: int, overlap: bool, dropout: float):
        super().__init__()
        self.patch = patch
        self.width = width
        self.overlap = overlap
        around = max(1, patch // 2)
        shape = {"kernel_size": patch + 2 * around, "stride": patch, "padding": around}
        self.embed = nn.Conv1d(features, width, **shape) if overlap else nn.Linear(patch * features, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.aligned = nn.Linear(width, width)
        self.blocks = nn.ModuleList(Block(width, heads, cross=True, adaptive=True, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.ConvTranspose1d(width, features, **shape) if overlap else nn.Linear(width, patch * features)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, noisy, t, n_frames, chosen, aligned, context, context_mask) -> torch.Tensor:
        """noisy ``(B, F, D)``, t ``(B,)``, chosen ``(B, W)``, aligned ``(B, T, W)``, context ``(B, N, W)`` → ``(B, F, D)``."""
        mask = patch_mask(n_frames, noisy.shape[1], self.patch)
        x = self._tokens(noisy) + self.aligned(aligned)
        vector = self.time(time_embedding(t, self.width))
        vector = vector + chosen.to(vector.dtype)
        for block in self.blocks:
            x = block(x, mask, vector, context, context_mask)
        return self._frames(self.norm(x) * mask[..., None]).float()

    def _tokens(self, frames: torch.Tensor) -> torch.Tensor:
        return self.embed(frames.transpose(1, 2)).transpose(1, 2) if self.overlap else self.embed(patches(frames, self.patch))

    def _frames(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(tokens.transpose(1, 2)).transpose(1, 2) if self.overlap else frames_of(self.head(tokens), self.patch)


class SignEncoder(nn.Module):
    """Pose features → one unit vector of the joint space ``(B, E)``."""

    def __init__(self, features: int, width: int, heads: int, layers: int, patch: int, embedding: int, dropout: float):
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(patch * features, width)
        self.trunk = Trunk(width, heads, layers, dropout)
        self.pool = Pool(width, embedding)

    def forward(self, features: torch.Tensor, n_frames: torch.Tensor) -> torch.Tensor:
        mask = patch_mask(n_frames, features.shape[1], self.patch)
        features = features * length_mask(n_frames, features.shape[1])[..., None]
        return self.pool(self.trunk(self.embed(patches(features, self.patch)), mask), mask)
