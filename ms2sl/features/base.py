"""What a featurizer is."""

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np


class Featurizer(Protocol):
    """Frozen and deterministic: the same input always has the same features.

    modality: ``text`` (inputs are str) or ``speech`` (inputs are Speech).
    vocabulary: number of ids if the features are ids, else 0.
    dim: width of a feature vector, 0 for ids.
    rate: features a second of speech; 0 for text.
    """

    modality: ClassVar[str]
    vocabulary: ClassVar[int]
    dim: ClassVar[int]
    rate: ClassVar[float]

    def __call__(self, inputs: Sequence) -> list[np.ndarray]:
        """For each input its features: ids uint8 ``(tokens,)`` or float16 ``(tokens, dim)``.

        Raises InputError for an input that has no features (an empty text, silence of no length).
        """
        ...


def feature_dtype(featurizer: Featurizer) -> np.dtype:
    """How the features lie in a shard."""
    return np.dtype(np.uint8 if featurizer.vocabulary else np.float16)
