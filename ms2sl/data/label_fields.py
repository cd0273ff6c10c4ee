"""Fields of a batch for what is said of a clip: its glosses and their times, its languages, its signer.

A system that learns from them names them beside poses, text and speech:
``Collate(skeleton, text, speech, [*STANDARD, gloss_ids(card.glosses), category("signed_language", card.signed_languages)])``.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ms2sl.data.collate import BatchField, Collate, FieldSpec, padded
from ms2sl.data.signed_language import UNDETERMINED

NULL = 0  # the id of what is not known, or not there


def category(column: str, known: Sequence[str]) -> FieldSpec:
    """The field of a column that has one value a clip (``signed_language``, ``spoken_language``, ``signer``), under its name.

    Values int64 ``(batch, 1)``: 1 + the value's place in ``known``, or ``NULL``, with length 0, where the clip has none (``und`` of a
    language) or another.
    """

    def make(table: pa.Table, collate: Collate) -> BatchField:
        return category_field(table[column].to_pylist(), known)

    return FieldSpec(column, (column,), make)


def category_field(values: Sequence[str | None], known: Sequence[str]) -> BatchField:
    """The field of one value a clip, as ``category`` makes it."""
    ids = {value: i for i, value in enumerate(known, start=NULL + 1) if value != UNDETERMINED}
    return padded([np.array([ids[value]]) if value in ids else None for value in values], ids=True)


def gloss_ids(known: Sequence[str]) -> FieldSpec:
    """The field ``gloss``: int64 ``(batch, signs)``, 1 + the place of each sign in ``known``, or ``NULL`` for another."""
    ids = {gloss: i for i, gloss in enumerate(known, start=NULL + 1)}

    def make(table: pa.Table, collate: Collate) -> BatchField:
        rows = [
            None if gloss is None else np.array([ids.get(sign, NULL) for sign in gloss.split()]) for gloss in table["gloss"].to_pylist()
        ]
        return padded(rows, ids=True)

    return FieldSpec("gloss", ("gloss",), make)


def _times(table: pa.Table, collate: Collate) -> BatchField:
    rows = table["gloss_times"].to_pylist()
    return padded([None if row is None else np.array(row, np.float32).reshape(-1, 2) for row in rows], (2,))


GLOSS_TIMES = FieldSpec("gloss_times", ("gloss_times",), _times)  # float32 (batch, signs, 2): seconds at which each sign begins and ends
