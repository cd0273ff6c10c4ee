"""Anything that turns utterances into poses, behind one Protocol, so that it can be compared."""

from collections.abc import Sequence
from typing import Protocol

from ms2sl.data.types import Poses, Utterance


class Producer(Protocol):
    """``name`` stands in tables."""

    name: str

    def produce(self, utterances: Sequence[Utterance], *, seed: int) -> list[Poses]:
        """Normalised poses of each utterance, in order. Raises InputError for one that it cannot produce."""
        ...
