"""The two parts of a model of poses: a tokenizer, and a prior of its codes given the text.

The tokenizer is a vector-quantised autoencoder whose codebook follows what is encoded, without gradients (van den Oord et al. 2017).
"""

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from ms2sl.config import Config
from ms2sl.data.normalization import PoseNormalizer
from ms2sl.nn.losses import masked_mean


class TokenizerConfig(Config):
    width: int = Field(16, gt=0, description="width of a code")
    codes: int = Field(32, gt=1, description="size of the codebook")


class PriorConfig(Config):
    width: int = Field(16, gt=0, description="width of its GRU")


class Tokenizer(nn.Module):
    def __init__(self, config, skeleton):
        super().__init__()
        self.space, features = PoseNormalizer(skeleton), skeleton.n_joints * skeleton.dims
        self.encoder, self.decoder = nn.Linear(features, config.width), nn.Linear(config.width, features)
        self.register_buffer("codebook", torch.randn(config.codes, config.width))

    def forward(self, poses, seen):
        x, known = self.space.encode(poses, seen)
        z = self.encoder(x).float()
        ids = torch.cdist(z, self.codebook).argmin(-1)
        q = self.codebook[ids]
        if self.training and torch.is_grad_enabled():
            hits = F.one_hot(ids.flatten(), len(self.codebook)).to(z.dtype)
            mean = hits.T @ z.detach().flatten(0, 1) / hits.sum(0).clamp(min=1)[:, None]
            self.codebook.lerp_(torch.where(hits.sum(0)[:, None] > 0, mean, self.codebook), 0.1)
        decoded = self.decoder(z + (q - z).detach())
        return ids, masked_mean((decoded - x) ** 2, known), F.mse_loss(z, q)

    def decode(self, ids):
        return self.space.decode(self.decoder(self.codebook[ids]))


class Codes(nn.Module):
    """The whole model: the frozen tokenizer, and the prior."""

    def __init__(self, tokenizer, prior, skeleton):
        super().__init__()
        self.tokenizer = Tokenizer(tokenizer, skeleton).requires_grad_(False)
        self.letters, self.code = nn.Embedding(256, prior.width), nn.Embedding(tokenizer.codes + 1, prior.width)
        self.gru, self.head = nn.GRU(2 * prior.width, prior.width, batch_first=True), nn.Linear(prior.width, tokenizer.codes)

    def forward(self, before, ids, n_letters, state=None):
        real = torch.arange(ids.shape[1], device=ids.device) < n_letters[:, None]
        said = (self.letters(ids) * real[..., None]).sum(1, keepdim=True) / n_letters.clamp(min=1)[:, None, None]
        out, state = self.gru(torch.cat([self.code(before), said.expand(-1, before.shape[1], -1)], -1), state)
        return self.head(out), state
