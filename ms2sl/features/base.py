"""What a featurizer is, and the record by which the same one is found again."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from pydantic import Field

from ms2sl.audio.loudness import USUAL_LEVEL
from ms2sl.config import Config
from ms2sl.errors import InputError
from ms2sl.io.uri import PathOrName


class FeaturizerConfig(Config):
    """Which featurizer, of which pretrained weights. Those without weights have none of their options.

    level: None also in the records of data and models that were made before there was one.
    """

    featurizer: str
    weights: PathOrName | None = Field(None, description="hub name or local folder of pretrained weights")
    revision: str | None = Field(None, description="revision of the weights on the hub")
    layer: int = Field(-1, description="hidden state to take; -1 is the last")
    rate: float | None = Field(None, gt=0, description="features a second of speech after pooling in time")
    level: float | None = Field(None, le=0, description="dBFS to which speech is brought first; null leaves it as it was recorded")
    precision: Literal["auto", "bf16", "fp32"] = Field("auto", description="auto is bf16 where the processor has it")


class TextConfig(FeaturizerConfig):
    """Featurizer of text."""

    featurizer: str = Field("bytes", description="bytes (offline), or clip with --text.weights")


class SpeechConfig(FeaturizerConfig):
    """Featurizer of speech."""

    featurizer: str = Field("log-mel", description="log-mel (offline), or hubert with --speech.weights")
    level: float | None = Field(USUAL_LEVEL, le=0, description="dBFS to which speech is brought first; null leaves it as it was recorded")


class Features(FeaturizerConfig):
    """The record of a featurizer in cards and checkpoints: its options as they were resolved, and what it makes.

    vocabulary: number of ids if the features are ids, else 0; dim: width of a vector, 0 for ids.
    digest: of the pretrained weights.
    """

    modality: Literal["text", "speech"]
    vocabulary: int = 0
    dim: int = 0
    digest: str | None = None

    @property
    def dtype(self) -> np.dtype:
        """How features lie in a shard."""
        return np.dtype(np.uint8 if self.vocabulary else np.float16)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one token or frame."""
        return (self.dim,) if self.dim else ()


class Featurizer(Protocol):
    """Frozen and deterministic: the same input always has the same features. Made from a FeaturizerConfig."""

    features: Features

    def __call__(self, inputs: Sequence) -> list[np.ndarray]:
        """For each input, a str or Speech, its features: ids uint8 ``(tokens,)`` or float16 ``(tokens, dim)``.

        Raises InputError for an input that has no features (an empty text, silence of no length).
        """
        ...


def without_weights(config: FeaturizerConfig, **own) -> Features:
    """The record of a featurizer that has no weights. Raises InputError if it is given an option of those that have."""
    features = Features(featurizer=config.featurizer, **own)
    fields = FeaturizerConfig.model_fields
    changed = [key for key in fields if getattr(config, key) not in (fields[key].default, getattr(features, key))]
    if changed:
        raise InputError(f"the featurizer {config.featurizer} has no pretrained weights and no option {', '.join(changed)}")
    return features
