"""What was measured of each clip, kept in parts while an evaluation goes on and as one table at its end."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ms2sl.data.shards import write_parquet
from ms2sl.evaluation.evaluator import SystemUnderTest
from ms2sl.evaluation.judged_clips import JudgedClips
from ms2sl.io.storage import AnyPath, StoragePath
from ms2sl.training import checkpoint

MEASURING = 1  # how clips are measured: another where the same signing is measured otherwise than before
TOGETHER = 64  # clips of a part
WHOSE = ("label", "steps", "seed")  # columns that say of which system and seed a row is
ROW_GROUP = 2**16  # rows of the whole table that are in memory at a time
STATES = pa.list_(pa.float32())  # as readers compute them
WIDER = {pa.float32(): pa.float64(), pa.list_(pa.float32()): pa.list_(pa.float64())}


def part_table(rows: Sequence[dict[str, Any]], part: str) -> pa.Table:
    """Rows of ``Evaluator.rows`` with the name of their part: states as float32, all other numbers as int64 or float64."""
    table = pa.Table.from_pylist([{"part": part, **row} for row in rows])
    types = {field.name: STATES if field.name == "state" else WIDER.get(field.type, field.type) for field in table.schema}
    return table.cast(pa.schema(types.items()))


class Part(NamedTuple):
    """Some clips of a system: the number of the first of them, and the name of their file."""

    system: SystemUnderTest
    start: int
    name: str


class Measurements:
    """Of systems on the same clips, in a folder of files; each file is a part: ``TOGETHER`` clips of a system with all its seeds.

    A part is written whole or not at all. It is named after all that decides what is in it, so that the same evaluation finds it again and
    another does not. made_of: what decides it beside the system, its files and the clips.
    """

    def __init__(self, folder: AnyPath, systems: Sequence[SystemUnderTest], clips: JudgedClips, made_of: Mapping[str, Any]):
        self.folder = StoragePath(folder)
        self._clips = len(clips)
        starts = range(0, len(clips), TOGETHER)
        self._ids = [hashlib.blake2b(repr(clips.ids(start, start + TOGETHER)).encode(), digest_size=8).hexdigest() for start in starts]
        self._prefixes = {system: _digest([MEASURING, made_of, _deciding(system)]) for system in systems}
        self._there = {path.name for path in self.folder.children()}

    def missing(self) -> list[Part]:
        """The parts that are not there; those of the same clips follow one another."""
        parts = (Part(system, TOGETHER * i, self._name(system, i)) for i in range(len(self._ids)) for system in self._prefixes)
        return [part for part in parts if part.name not in self._there]

    def _name(self, system: SystemUnderTest, number: int) -> str:
        return f"{self._prefixes[system]}-{self._ids[number]}.parquet"

    def add(self, rows: pa.Table) -> None:
        """Writes parts, of one or several ``part_table``."""
        for name in pc.unique(rows["part"]).to_pylist():
            write_parquet(self.folder / name, rows.filter(pc.equal(rows["part"], name)).drop_columns(["part"]))

    def columns(self, system: SystemUnderTest, texts: bool = True) -> Iterator[dict[str, np.ndarray]]:
        """For each seed what was measured of a system by name, in the order of the clips: numbers as they are, lists of them as rows of a
        matrix, texts, if asked for, as objects. Not more than a seed is in memory."""
        return (self._columns(system, seed, texts) for seed in system.seeds)

    def _columns(self, system: SystemUnderTest, seed: int, texts: bool) -> dict[str, np.ndarray]:
        columns: dict[str, np.ndarray] = {}
        start = 0
        for part in self._parts(system, seed):
            for name in (name for name in part.column_names if name not in WHOSE):
                values = _values(part[name].combine_chunks())
                if values.dtype != object or texts:
                    found = columns.setdefault(name, np.empty((self._clips, *values.shape[1:]), values.dtype))
                    if (wider := np.result_type(found, values)) != found.dtype:  # numbers that were whole so far
                        columns[name] = found = found.astype(wider)
                    found[start : start + len(part)] = values
            start += len(part)
        return columns

    def first(self, system: SystemUnderTest, clip: int, name: str) -> Any:
        """One value that was measured of a clip, by its number, with the first seed."""
        rows = self._read(self._name(system, clip // TOGETHER))
        return rows.filter(pc.equal(rows["seed"], system.seeds[0]))[name][clip % TOGETHER].as_py()

    def write_table(self, where: StoragePath) -> None:
        """One Parquet file of all rows, without the states."""
        groups = self._row_groups()
        first = next(groups)
        with where.writing() as temporary, pq.ParquetWriter(temporary, first.schema, compression="zstd", use_dictionary=False) as writer:
            for group in chain([first], groups):
                writer.write_table(group.cast(first.schema))

    def _row_groups(self) -> Iterator[pa.Table]:
        waiting: list[pa.Table] = []
        for part in (part for system in self._prefixes for part in self._parts(system)):
            waiting.append(part.drop_columns(["state"]))
            if sum(map(len, waiting)) >= ROW_GROUP:
                yield pa.concat_tables(waiting, promote_options="permissive")
                waiting = []
        if waiting:
            yield pa.concat_tables(waiting, promote_options="permissive")

    def delete(self) -> None:
        """Its parts; those of another evaluation that was interrupted stay."""
        own = {self._name(system, number) for number in range(len(self._ids)) for system in self._prefixes}
        for name in own:
            (self.folder / name).delete()
        if all(path.name in own for path in self.folder.children()):
            self.folder.delete()

    def _parts(self, system: SystemUnderTest, seed: int | None = None) -> Iterator[pa.Table]:
        for number in range(len(self._ids)):
            rows = self._read(self._name(system, number))
            yield rows if seed is None else rows.filter(pc.equal(rows["seed"], seed))

    def _read(self, part: str) -> pa.Table:
        with (self.folder / part).open() as file:
            return pq.read_table(file)


def _deciding(system: SystemUnderTest) -> list[Any]:
    """What a system is: of a model its weights, wherever they lie; of other files their place and their stamp."""
    said = system.model_dump(mode="json", serialize_as_any=True, exclude={"source", "asr"})
    return [said, *(_identity(StoragePath(place)) for place in (system.source, system.asr) if place)]


def _identity(place: StoragePath) -> list[str]:
    if not (place / checkpoint.WEIGHTS).exists():
        return [place.uri, place.stamp()]
    return [checkpoint.fingerprint(place), _digest((place / checkpoint.CONFIG).read_text())]


def _digest(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def _values(column: pa.Array) -> np.ndarray:
    if pa.types.is_list(column.type):
        return column.flatten().to_numpy().reshape(len(column), -1)
    return column.to_numpy(zero_copy_only=False)
