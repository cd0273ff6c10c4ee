"""The clips that are judged: where they are is in memory, and each is read when it is asked for."""

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ms2sl.data.dataset import Dataset
from ms2sl.data.shards import read_shard, to_clip
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.skeleton_reduction import read_reduced
from ms2sl.data.types import Clip
from ms2sl.io.storage import StoragePath
from ms2sl.systems.back_translation import Reading

PLACES = pa.schema([("id", pa.string()), ("shard", pa.int32()), ("row", pa.int32()), ("spoken", pa.bool_())])


class JudgedClips(Sequence[Clip]):
    """Clips of a dataset, in order.

    shards: files of the dataset. places: of each clip its ``id``, the number of its shard among these, its row there, and whether it is
    spoken (``PLACES``). skeleton: to which poses are reduced. A slice is a list of clips. Reading raises InputError as ``read_reduced``
    does.
    """

    def __init__(self, shards: Sequence[StoragePath], places: pa.Table, skeleton: Skeleton):
        self.shards, self.places, self.skeleton = shards, places, skeleton

    def __len__(self) -> int:
        return len(self.places)

    @property
    def spoken(self) -> bool:
        """Whether all have speech."""
        return all(self.places["spoken"].to_numpy())

    def ids(self, start: int, stop: int) -> list[str]:
        return self.places["id"].slice(start, stop - start).to_pylist()

    def find(self, id: str) -> int:
        """The number of a clip among these."""
        return pc.index(self.places["id"], id).as_py()

    @overload
    def __getitem__(self, index: int) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> list[Clip]: ...
    def __getitem__(self, index: int | slice) -> Clip | list[Clip]:
        numbers = np.arange(len(self))[index]
        if isinstance(index, slice):
            return list(self._read(self.places.take(numbers)))
        return next(self._read(self.places.take([numbers])))

    def __iter__(self) -> Iterator[Clip]:
        return self._read(self.places)

    def _read(self, places: pa.Table) -> Iterator[Clip]:
        """One shard after the other, of which one is in memory."""
        shards, rows = (places[name].to_numpy() for name in ("shard", "row"))
        for own in np.split(np.arange(len(places)), np.flatnonzero(np.diff(shards)) + 1):
            if len(own):
                table = read_reduced(self.shards[shards[own[0]]], self.skeleton)
                yield from (to_clip(row, self.skeleton) for row in table.take(rows[own]).to_pylist())


def judged_clips(dataset: Dataset, split: str, limit: int, reads: Reading = "letters") -> JudgedClips:
    """The first clips of the split that have text and poses, and a gloss if that is read; if at least half as many as are wanted also
    have speech, those."""
    shards = [path for path, _ in dataset.shards(split)]
    parts = [PLACES.empty_table()]
    for number, path in enumerate(shards):
        table = read_shard(path, ["id", "text", "gloss", "n_frames", "n_speech"])
        said = [table["text"], *([table["gloss"]] if reads == "glosses" else [])]
        good = np.logical_and.reduce([_filled(column) for column in said] + [table["n_frames"].to_numpy() > 0])
        rows = np.flatnonzero(good)
        columns = [table["id"].take(rows), np.full(len(rows), number), rows, table["n_speech"].to_numpy()[rows] > 0]
        parts.append(pa.table(columns, PLACES.names).cast(PLACES))
    found = pa.concat_tables(parts)
    spoken = found.filter(found["spoken"])
    chosen = spoken if len(spoken) and 2 * len(spoken) >= min(limit, len(found)) else found
    return JudgedClips(shards, chosen.slice(0, limit).combine_chunks(), dataset.skeleton)


def chosen_clips(dataset: Dataset, split: str, limit: int, reads: Reading = "letters") -> list[Clip]:
    """Likewise, all in memory."""
    return list(judged_clips(dataset, split, limit, reads))


def _filled(column: pa.ChunkedArray) -> np.ndarray:
    """Where there is a text ``(rows,)``."""
    return pc.fill_null(pc.greater(pc.utf8_length(column), 0), False).to_numpy()
