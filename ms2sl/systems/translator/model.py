"""Back-translation of whole sentences: poses → text by an encoder–decoder, trained on real poses only.

It judges produced signing by what a reader of real signing reads in it (Saunders et al. 2020). The likelihood that it gives to the true
text tells nearly right from wrong where the words that it would write itself are none of them right.
"""

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from ms2sl.config import TRAINING_ONLY, Config
from ms2sl.data.collate import Batch, BatchField, Collate
from ms2sl.data.normalization import PoseNormalizer
from ms2sl.data.types import Poses
from ms2sl.nn.transformer import check_heads, length_mask
from ms2sl.nn.vocabulary import END, PAD, Vocabulary, VocabularyKind
from ms2sl.random_numbers import normal

KIND = "translator"
BATCH = 32


class TranslatorConfig(Config):
    """Shape of the back-translator."""

    vocabulary: VocabularyKind = Field("bpe", description="what it writes in: characters, words or byte pairs (bpe)")
    pieces: int = Field(4000, gt=10, description="most pieces of the vocabulary")
    width: int = Field(256, gt=0, multiple_of=8, description="width of its transformers")
    heads: int = Field(4, gt=0, description="attention heads")
    layers: int = Field(3, gt=0, description="layers of the encoder and of the decoder")
    stride: int = Field(2, gt=0, description="frames a token of the encoder")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout", json_schema_extra=TRAINING_ONLY)
    noise: float = Field(
        0.1, ge=0, description="noise added to pose features in training, in standard deviations", json_schema_extra=TRAINING_ONLY
    )
    smoothing: float = Field(0.1, ge=0, lt=1, description="label smoothing in training", json_schema_extra=TRAINING_ONLY)
    longest: int = Field(100, gt=0, description="most pieces of what it writes", json_schema_extra=TRAINING_ONLY)

    @model_validator(mode="after")
    def _divisible(self) -> "TranslatorConfig":
        check_heads(self.width, self.heads)
        return self


class Translator(nn.Module):
    """Shapes: B batch, F frames, T encoder tokens, W width, L pieces of text, V pieces of the vocabulary."""

    reads = "sentences"

    def __init__(self, config: TranslatorConfig, collate: Collate, vocabulary: Vocabulary):
        from transformers import T5Config, T5ForConditionalGeneration  # takes seconds to load

        super().__init__()
        self.config, self.collate, self.vocabulary = config, collate, vocabulary
        self.space = PoseNormalizer(collate.skeleton)
        features = collate.skeleton.n_joints * collate.skeleton.dims
        self.embed = nn.Conv1d(features, config.width, 2 * config.stride + 1, stride=config.stride, padding=config.stride)
        # Relative positions: what was learned on short sentences holds on longer ones.
        self.t5 = T5ForConditionalGeneration(
            T5Config(
                vocab_size=len(vocabulary),
                d_model=config.width,
                d_kv=config.width // config.heads,
                d_ff=4 * config.width,
                num_layers=config.layers,
                num_heads=config.heads,
                dropout_rate=config.dropout,
                feed_forward_proj="gated-gelu",
                pad_token_id=PAD,
                eos_token_id=END,
                decoder_start_token_id=PAD,
                tie_word_embeddings=False,
            )
        )
        # Each weight under one name alone: the average of weights, and safetensors, know no others.
        self.t5.shared = self.t5.encoder.embed_tokens = None
        self.t5.decoder.embed_tokens = nn.Embedding(len(vocabulary), config.width)
        self.t5.lm_head = nn.Linear(config.width, len(vocabulary), bias=False)

    @property
    def layers(self) -> list[nn.Module]:
        """Those that may be sharded, recomputed and compiled one by one."""
        return [*self.t5.encoder.block, *self.t5.decoder.block]

    def encode(self, batch: Batch, generator: torch.Generator | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """States ``(B, T, W)`` of the encoder and their mask ``(B, T)``; a generator adds the noise of training."""
        features, known = self.space.encode(batch.poses, batch.seen)
        if generator is not None:
            features = features + known * self.config.noise * normal(*features.shape, generator=generator, device=features.device)
        embedded = self.embed(features.transpose(1, 2)).transpose(1, 2)
        lengths = -(-batch.n_frames // self.config.stride)
        mask = length_mask(lengths.clamp(min=1), embedded.shape[1])
        return self.t5.encoder(inputs_embeds=embedded, attention_mask=mask).last_hidden_state, mask

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> torch.Tensor:
        """Logits ``(B, L, V)`` of each piece, given those before it."""
        states, mask = self.encode(batch, generator)
        before = self.t5._shift_right(batch["targets"].values)
        return self.t5(encoder_outputs=(states,), attention_mask=mask, decoder_input_ids=before, use_cache=False).logits

    def log_likelihood(self, batch: Batch) -> torch.Tensor:
        """Of the true text, the mean over its pieces ``(B,)``; NaN where there is none."""
        log_p = self(batch).float().log_softmax(-1).gather(2, batch["targets"].values[..., None])[..., 0]
        real = batch["targets"].values != PAD
        return (log_p * real).sum(1) / real.sum(1)

    @torch.no_grad()
    def write(self, batch: Batch, beams: int) -> list[str]:
        """What it reads in the poses, by beam search."""
        from transformers.modeling_outputs import BaseModelOutput

        states, mask = self.encode(batch)
        ids = self.t5.generate(
            encoder_outputs=BaseModelOutput(states),
            attention_mask=mask,
            num_beams=beams,
            max_new_tokens=self.config.longest,
            do_sample=False,
        )
        return self.vocabulary.decode(ids[:, 1:])

    def read(self, clips: Sequence[Poses], beams: int = 4) -> list[str]:
        """What is signed in normalised poses."""
        return [text for batch in self._batches(clips, None) for text in self.write(batch, beams)]

    @torch.no_grad()
    def likelihoods(self, clips: Sequence[Poses], texts: Sequence[str]) -> list[float]:
        """Mean log-likelihood of a piece of the true text, for each clip."""
        return [value for batch in self._batches(clips, texts) for value in self.log_likelihood(batch).tolist()]

    @torch.no_grad()
    def embeddings(self, clips: Sequence[Poses]) -> np.ndarray:
        """Mean state of the encoder ``(clips, width)``."""
        means = []
        for batch in self._batches(clips, None):
            states, mask = self.encode(batch)
            means.append(((states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)).float().cpu().numpy())
        return np.concatenate(means)

    def _batches(self, clips: Sequence[Poses], texts: Sequence[str] | None):
        device = self.embed.weight.device
        for start in range(0, len(clips), BATCH):
            some = clips[start : start + BATCH]
            batch = self.collate.batch(some, [None] * len(some), [None] * len(some))
            if texts is not None:
                batch = batch.having(targets=target_field(self.vocabulary, texts[start : start + BATCH]))
            yield batch.to(device)


def target_field(vocabulary: Vocabulary, texts: Sequence[str | None]) -> BatchField:
    """Ids of the pieces of the texts ``(batch, pieces)``, padded with ``PAD``."""
    ids = vocabulary.encode(texts)
    return BatchField(ids, (ids != PAD).sum(dim=1))
