"""Text as the token states of a CLIP text encoder (Radford et al. 2021), or of any text encoder of ``transformers``."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import AutoTokenizer

from ms2sl.errors import InputError
from ms2sl.features.base import Features, FeaturizerConfig
from ms2sl.features.pretrained import by_length, digest, load, resolve_precision

TOKENS_PER_BATCH = {"cpu": 512, "cuda": 16_384}  # on a CPU what fits its caches is twice as fast


class ClipText:
    """Hidden states of all tokens of a text, float16 ``(tokens, dim)``.

    Texts run with texts of like length, not padded to the 77 tokens of CLIP: its attention looks back only, and what stands behind the
    end changes nothing. Multilingual encoders (AltCLIP, XLM-R, …) mask the padding. Texts longer than the encoder can read are refused.
    """

    def __init__(self, config: FeaturizerConfig, device: str = "cpu"):
        for option in ("rate", "level"):
            if getattr(config, option) is not None:
                raise InputError(f"text has no {option}: --text.{option} is for nothing")
        self.device = torch.device(device)
        model, self.tokenizer = load(config, "text", AutoTokenizer, self.device)
        self.model = getattr(model, "text_model", model)
        hashed, precision = digest(self.model), resolve_precision(config, self.device)
        self.model.to(torch.bfloat16 if precision == "bf16" else torch.float32)
        shape = self.model.config
        self.longest = min(self.tokenizer.model_max_length, getattr(shape, "max_position_embeddings", 512))
        given = config.model_dump() | {"precision": precision}
        self.features = Features(**given, modality="text", dim=shape.hidden_size, digest=hashed)

    def __call__(self, inputs: Sequence[str]) -> list[np.ndarray]:
        for text in inputs:
            if not text.strip():
                raise InputError("the text is empty: write at least one word")
        tokens = self.tokenizer(list(inputs))["input_ids"]
        for text, ids in zip(inputs, tokens, strict=True):
            if len(ids) > self.longest:
                raise InputError(f"the text has {len(ids)} tokens, more than the {self.longest} that the encoder reads: {text[:40]!r}…")
        features: list[np.ndarray] = [np.empty(0)] * len(tokens)
        for batch in by_length([len(ids) for ids in tokens], TOKENS_PER_BATCH[self.device.type]):
            padded = self.tokenizer.pad({"input_ids": [tokens[i] for i in batch]}, return_tensors="pt").to(self.device)
            states = self._states(padded["input_ids"], padded["attention_mask"]).to(torch.float16).cpu().numpy()
            for i, state in zip(batch, states, strict=True):
                features[i] = state[: len(tokens[i])]
        return features

    @torch.inference_mode()
    def _states(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        output = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=self.features.layer != -1)
        return output.last_hidden_state if self.features.layer == -1 else output.hidden_states[self.features.layer]
