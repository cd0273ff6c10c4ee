"""What is signed, read back as text: how produced signing is judged. Readers are trained on real signing only."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ms2sl import checkpoint
from ms2sl.backtranslation import recogniser, translation_task, translator
from ms2sl.clip import Poses


class Reader(Protocol):
    """Reads signing."""

    def read(self, clips: Sequence[Poses]) -> list[str]:
        """What is signed in normalised poses, as plain text."""
        ...


def load(folder: Path) -> Reader:
    """The recogniser of letters or the back-translator in a checkpoint folder. Raises InputError if it holds neither."""
    kind = checkpoint.read_card(folder, recogniser.KIND, translator.KIND).kind
    return (recogniser if kind == recogniser.KIND else translation_task).load(folder)
