"""PHOENIX14T (Camgoz et al. 2018): German Sign Language of weather forecasts, with German text and glosses.

Poses are the 50 joints × 3 of Progressive Transformers (Saunders et al. 2020), lines of ``.skels`` files; texts come beside them or from
the corpus's own tables. Without ``.skels`` the clips are texts alone, to be signed. CC BY-NC-SA 4.0.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from pydantic import Field

from ms2sl.config import Config
from ms2sl.corpora.records import Record, RecordCorpus, source
from ms2sl.data.detections import seen_without_zeros
from ms2sl.data.skeleton_registry import PHOENIX_50X3
from ms2sl.data.types import Poses, RawPoses
from ms2sl.errors import InputError
from ms2sl.io.file_names import nfc
from ms2sl.io.name_matching import by_name, match
from ms2sl.io.storage import StoragePath
from ms2sl.io.tables import BAR, read_lines, read_table
from ms2sl.io.uri import PathOrUri

SPLITS = ("train", "dev", "test")
NUMBERS = 151  # of a frame: 50 joints × 3 and a counter that runs from 0 to 1
NECK = PHOENIX_50X3.index("body/Neck")  # the origin of all poses
NARROWEST = 24  # numbers of a frame of any corpus
ROUNDED = 0.01  # of a counter in a file with two decimals
SCAN = 2**24  # bytes
# The corpus's own tables, and those of the copies that are passed around, call the same columns by different names.
COLUMNS = {"name": ("name", "id"), "text": ("translation",), "gloss": ("orth", "annotation"), "signer": ("speaker", "signer")}


class Phoenix14TConfig(Config):
    """Where PHOENIX14T lies. In patterns, {split} stands for train, dev and test."""

    source: PathOrUri = Field("", description="folder of the corpus, local or a URI")
    files: str = Field("{split}", description="files with the endings .skels, .text, .gloss and .files")
    tables: str = Field("", description="tables separated by |, such as PHOENIX-2014-T.{split}.corpus.csv, instead of .text and .gloss")
    fps: float = Field(25.0, gt=0, description="frames a second of the poses")


class Labels(NamedTuple):
    """What is said of a clip."""

    text: str | None = None
    gloss: str | None = None
    signer: str | None = None


class Phoenix14T(RecordCorpus):
    """Clips are the lines of the files; those that a table names and the files do not have are texts without poses."""

    name, Config = "phoenix14t", Phoenix14TConfig
    skeleton = PHOENIX_50X3
    spoken_language, signed_language = "de", "gsg"

    def records(self) -> list[Record]:
        folder = source(self.config, self.name)
        records = [record for split in SPLITS for record in self._split(folder, split)]
        if not records:
            raise InputError(
                f"{folder} has neither {self.config.files.format(split='train')}.skels nor a table: see --phoenix14t.files and "
                "--phoenix14t.tables"
            )
        return records

    def _split(self, folder: StoragePath, split: str) -> list[Record]:
        base = self.config.files.format(split=split)
        table = folder.resolve(self.config.tables.format(split=split)) if self.config.tables else None
        texts = _texts(table) if table and table.exists() else {}
        skels = folder.resolve(f"{base}.skels")
        if not skels.exists():
            return [_record(name, split, told) for name, told in texts.items()]
        lines = list(line_spans(skels))
        paths = [nfc(line) for line in _lines(folder.resolve(f"{base}.files"), len(lines))]
        if table and table.exists():
            names, twins = match(paths, texts)
            of_line = [texts.get(names.get(path)) for path in paths]
        else:
            names, twins = {}, {}
            each = zip(*(_lines(folder.resolve(f"{base}.{kind}"), len(lines)) for kind in ("text", "gloss")), strict=True)
            of_line = [Labels(text or None, gloss or None) for text, gloss in each]
        missing, records = f"it has no text in {table.name if table else base + '.text'}", []
        for path, span, told in zip(paths, lines, of_line, strict=True):
            found = _record(path.split("/")[-1], split, told or Labels(), missing)
            records.append(replace(found, poses=(skels, *span), path=path, problem=None if told else missing))
        there = set(names.values())  # the rest in the order of the table: that of a set is another in each process
        rest = [replace(_record(name, split, texts[name]), problem=twins.get(name)) for name in texts if name not in there]
        return records + rest

    def stamp(self, record: Record) -> str:
        return self.stamps.of(record.poses[0]) if record.poses else ""

    def read(self, record: Record) -> RawPoses:
        skels, start, stop = record.poses
        with skels.open() as file:
            file.seek(start)
            line = file.read(stop - start)
        try:
            numbers = np.array(line.split(), np.float32)
        except ValueError as error:
            raise InputError(f"its line in {skels.name} holds something that is no number: {error}") from None
        if not len(numbers) or len(numbers) % NUMBERS:
            other, rest = divmod(len(numbers), NUMBERS - 1)
            why = f"they would be {other} frames of {NUMBERS - 1}, without the counter" if other and not rest else "it was cut short"
            raise InputError(f"its line in {skels.name} has {len(numbers)} numbers, which are not frames of {NUMBERS}: {why}")
        frames = numbers.reshape(-1, NUMBERS)
        remarks = _check_counter(frames[:, -1], skels.name)
        joints = frames[:, :-1].reshape(-1, PHOENIX_50X3.n_joints, 3)
        parts = [PHOENIX_50X3.part(part.name) for part in PHOENIX_50X3.parts]
        confidence = seen_without_zeros(joints, np.ones(joints.shape[:2], np.float32), parts, NECK)
        return RawPoses(Poses(joints, confidence, self.config.fps), remarks=remarks)

    def card(self) -> dict:
        return super().card() | {"terms": "CC BY-NC-SA 4.0"}


def _check_counter(counter: np.ndarray, file: str) -> tuple[str, ...]:
    """A remark if it begins or ends within the sequence. Raises InputError if it does not count evenly: then frames have another number of
    numbers, whose lines divide by 151 by accident. They look like as many frames as that number then, or a multiple of it."""
    count = len(counter)
    inside = np.isfinite(counter).all() and counter.min() >= -ROUNDED and counter.max() <= 1 + ROUNDED
    line = np.linspace(counter[0], counter[-1], count)
    if not inside or (count > 1 and (counter[-1] <= counter[0] or np.abs(counter - line).max() > ROUNDED)):
        if count < NARROWEST:
            return (f"the last of the {NUMBERS} numbers of a frame in {file} is no counter that runs from 0 to 1",)
        raise InputError(
            f"its line in {file} is not frames of {NUMBERS} numbers: the last of each is no counter that runs from 0 to 1. "
            f"If its frames have {NUMBERS - 1}, append the counter to each"
        )
    step = float(counter[-1] - counter[0]) / (count - 1) if count > 1 else 1.0
    if counter[0] > step + ROUNDED or counter[-1] < 1 - step - ROUNDED:
        return (f"its counter runs from {counter[0]:.2f} to {counter[-1]:.2f}: a part of the sequence is not in {file}",)
    return ()


def line_spans(where: StoragePath) -> Iterator[tuple[int, int]]:
    """First byte and end of each line, read in pieces: the files are gigabytes."""
    start = offset = 0
    with where.open() as file:
        while piece := file.read(SCAN):
            ends = np.flatnonzero(np.frombuffer(piece, np.uint8) == ord("\n")) + offset
            for end in ends.tolist():
                yield start, end
                start = end + 1
            offset += len(piece)
    if start < offset:
        yield start, offset


def _lines(where: StoragePath, expected: int) -> list[str]:
    lines = [line.strip() for line in read_lines(where)]
    if len(lines) != expected:
        raise InputError(f"{where} has {len(lines)} lines, but there are {expected} sequences of poses: the files do not belong together")
    return lines


def _record(name: str, split: str, told: Labels, without_text: str | None = None) -> Record:
    """without_text: the reason if it has none."""
    return Record(name, split, told.text, told.gloss, signer=told.signer, no_text=None if told.text else without_text)


def _texts(table: StoragePath) -> dict[str, Labels]:
    rows = read_table(table, COLUMNS, required=("name", "text"), whole=("name",), kind=BAR)
    found, twins = by_name((row["name"], Labels(row.get("text"), row.get("gloss"), row.get("signer"))) for _, row in rows)
    if twins:
        raise InputError(f"{table}: rows of one name: {'; '.join(list(twins.values())[:10])}")
    return found
