"""What is signed, read back as text: how produced signing is judged. Readers are trained on real signing only."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from ms2sl.data.types import Poses
from ms2sl.io.storage import AnyPath
from ms2sl.systems import registry

Reading = Literal["letters", "glosses", "sentences"]


class BackTranslator(Protocol):
    """Reads signing, given as normalised poses; reads: what it makes of it."""

    reads: Reading

    def read(self, clips: Sequence[Poses]) -> list[str]:
        """What is signed, as plain text, or as glosses with spaces between them."""
        ...

    def likelihoods(self, clips: Sequence[Poses], texts: Sequence[str]) -> list[float]:
        """Mean log-likelihood of a piece (letter, gloss, word) of what should have been signed; NaN for one that it could never read."""
        ...

    def embeddings(self, clips: Sequence[Poses]) -> np.ndarray:
        """Its mean state while it reads ``(clips, width)``: where signing lies in a space that no producer was trained in."""
        ...


def load(folder: AnyPath, device: str = "cpu") -> BackTranslator:
    """The recogniser of letters or the back-translator in a checkpoint folder. Raises InputError if it holds neither."""
    return registry.system(registry.read_reader_card(folder).kind).load(folder, registry.Context(device))
