"""Where clips come from: one module a source, one line each in the registry."""

from typing import Literal, Protocol

from ms2sl.clip import Clip
from ms2sl.corpora.fingerspelling import Fingerspelling
from ms2sl.skeleton import Skeleton


class Corpus(Protocol):
    """Clips by index, each split a range of them, so that any number of processes can share the work.

    fps: frames a second of its poses.
    """

    name: str
    skeleton: Skeleton
    fps: float
    splits: dict[str, range]

    def clip(self, index: int) -> Clip:
        """Raises InputError for a clip that cannot be used."""
        ...

    def card(self) -> dict:
        """What it is and under which terms, for ``dataset.json``."""
        ...


CorpusName = Literal["fingerspelling"]
CORPORA: dict[str, type[Corpus]] = {
    "fingerspelling": Fingerspelling,
}
