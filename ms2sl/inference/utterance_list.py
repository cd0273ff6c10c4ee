"""Many utterances in little memory: columns of what was asked for, from which each is made when it is needed."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, overload

import numpy as np
import pyarrow as pa

from ms2sl.data.types import Utterance
from ms2sl.inference.numbering import ListPosition
from ms2sl.inference.recordings import Recording
from ms2sl.io.storage import StoragePath

PAGE = 1024  # utterances that are made at a time
COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("is_position", pa.bool_()),  # whether the id is a ``ListPosition``
        ("text", pa.string()),
        ("file", pa.binary()),  # of a recording: its name in the folder, as the file system has it
        ("stamp", pa.string()),
        ("signed_language", pa.string()),
        ("signer", pa.string()),
    ]
)


class UtteranceList(Sequence[Utterance | Recording]):
    """Utterances, in order. table: of ``COLUMNS``; folder: of the recordings; seconds: of all of them, as of an ``Utterance``."""

    def __init__(self, table: pa.Table, folder: StoragePath | None = None, seconds: float | None = None):
        self.table, self.folder, self.seconds = table, folder, seconds
        self._page = lru_cache(maxsize=1)(self._read)

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]], folder: StoragePath | None = None, seconds: float | None = None) -> "UtteranceList":
        """rows: with what they have of ``COLUMNS``; a page of them is in memory."""
        rows = iter(rows)
        pages = [pa.Table.from_pylist(page, COLUMNS) for page in iter(lambda: list(islice(rows, PAGE)), [])]
        return cls(pa.concat_tables([COLUMNS.empty_table(), *pages]), folder, seconds)

    def __len__(self) -> int:
        return len(self.table)

    @overload
    def __getitem__(self, index: int) -> Utterance | Recording: ...
    @overload
    def __getitem__(self, index: slice) -> "UtteranceList": ...
    def __getitem__(self, index: int | slice) -> "Utterance | Recording | UtteranceList":
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        page, row = divmod(range(len(self))[index], PAGE)
        return self._page(page)[row]

    def take(self, numbers: np.ndarray) -> "UtteranceList":
        return UtteranceList(self.table.take(numbers), self.folder, self.seconds)

    @property
    def ids(self) -> pa.ChunkedArray:
        return self.table["id"]

    @property
    def has_positions(self) -> bool:
        """Whether any has no id of its own yet."""
        return bool(np.any(self.table["is_position"].to_numpy()))

    def with_ids(self, ids: Iterable[str]) -> "UtteranceList":
        table = self.table.set_column(0, COLUMNS.field("id"), pa.array(ids, pa.string()))
        table = table.set_column(1, COLUMNS.field("is_position"), pa.array(np.zeros(len(table), bool)))
        return UtteranceList(table, self.folder, self.seconds)

    def _read(self, page: int) -> list[Utterance | Recording]:
        return list(self._made(self.table.slice(page * PAGE, PAGE).to_pylist()))

    def _made(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Utterance | Recording]:
        for row in rows:
            asked = {"seconds": self.seconds, "signed_language": row["signed_language"], "signer": row["signer"]}
            if row["file"] is None:
                yield Utterance(ListPosition(row["id"]) if row["is_position"] else row["id"], text=row["text"], **asked)
            else:
                yield Recording(row["id"], self._place(os.fsdecode(row["file"])), stamp=row["stamp"], **asked)

    def _place(self, name: str) -> StoragePath:
        """Of a recording; one whose name is no UTF-8 is found on this machine too."""
        assert self.folder is not None
        return StoragePath(self.folder.local_path() / name) if self.folder.is_local else self.folder / name
