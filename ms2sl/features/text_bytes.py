"""Text as its UTF-8 bytes: no weights to download, any language."""

from collections.abc import Sequence

import numpy as np

from ms2sl.errors import InputError
from ms2sl.features.base import FeaturizerConfig, without_weights
from ms2sl.text_normalization import plain


class TextBytes:
    """Ids of the bytes of the plain text, uint8 ``(bytes,)``."""

    def __init__(self, config: FeaturizerConfig, device: str = "cpu"):
        self.features = without_weights(config, modality="text", vocabulary=256)

    def __call__(self, inputs: Sequence[str]) -> list[np.ndarray]:
        return [self._encode(text) for text in inputs]

    def _encode(self, text: str) -> np.ndarray:
        encoded = plain(text).encode("utf-8")
        if not encoded:
            raise InputError("the text is empty: write at least one letter")
        return np.frombuffer(encoded, np.uint8)
