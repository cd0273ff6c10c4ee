"""The one reader of tables (CSV, TSV, ``|``, JSON lines, Parquet) and of text files, row by row, so that memory does not grow with them.

Rows of text end at line feeds alone. A value that is missing (null, NaN, nothing but white space) is not in its row.
"""

import codecs
import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from pathlib import PurePath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath

LONGEST = 2**24  # characters of a line or a field
BUFFER = 2**20  # bytes read at once
BATCH = 1024  # rows of Parquet read at once
SHOWN = 60  # characters of a value in an error
COMMA, SEMICOLON, TAB, BAR = ",", ";", "\t", "|"
KINDS = {".csv": COMMA, ".tsv": TAB, ".tab": TAB, ".psv": BAR, ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet"}
TEXTS = (".txt", ".text")  # one text a line
SEPARATOR = re.compile(r'"?sep=([,;|\t])"?\s*', re.IGNORECASE)  # the first line of some tables of Excel
csv.field_size_limit(LONGEST)


def kind_of(where: StoragePath | PurePath, texts: bool = False) -> str:
    """How a file is read, by its suffix in any case: a delimiter, ``json``, ``parquet``, or with ``texts`` also ``text``.

    Raises InputError for any other suffix.
    """
    suffix = PurePath(where.name).suffix.lower()
    kinds = KINDS | (dict.fromkeys(TEXTS, "text") if texts else {})
    if suffix not in kinds:
        raise InputError(f"{where} is of no kind that is read here: name it {', '.join(kinds)}, and make it so")
    return kinds[suffix]


def read_lines(where: StoragePath) -> Iterator[str]:
    """Lines without their ends. UTF-8, or UTF-16, with or without a byte order mark.

    Raises InputError for other encodings, and for carriage returns that end no line.
    """
    for number, line in _lines(where):
        text = line.rstrip("\r\n")
        if "\r" in text:
            raise InputError(f"{where}, line {number} has a carriage return in it: save the file with line feeds at the ends of its lines")
        yield text


def read_table(
    where: StoragePath,
    columns: Mapping[str, Sequence[str]],
    *,
    required: Sequence[str] = (),
    whole: Sequence[str] = (),
    others: bool = True,
    kind: str | None = None,
) -> Iterator[tuple[str, dict[str, str]]]:
    """The place of each row, for messages (``clips.csv, line 3``), and its values, without white space around them.

    columns: for each name in the rows, the names that the column may have in the table, in any case. required: which of them the
    table must have; whole: which of them each row. others: whether there may be columns besides. kind: as ``kind_of`` returns it.
    Tables of commas or semicolons (whichever the first line has) may have quotes as RFC 4180 has them, and line feeds within these; in
    those of tabs and ``|`` a quote is a character like others. Rows of them that are empty are left out.
    Raises InputError, with the line of the file, for a row of more or fewer fields than the first line has, a quote that is not closed, a
    value that is no text or number, a column that is required and missing.
    """
    kind = kind or kind_of(where)
    names = _Names(where, columns, required, others, kind)
    if kind == "json":
        rows = _json_rows(where, names)
    elif kind == "parquet":
        rows = _parquet_rows(where, names)
    else:
        rows = _delimited_rows(where, names, kind)
    for place, row in rows:
        values = {name: text for name, value in row.items() if (text := as_text(value, f"{place}: its {name}"))}
        if lacking := [name for name in whole if name not in values]:
            raise InputError(f"{place} has no {' and no '.join(' or '.join(columns[name]) for name in lacking)}")
        yield place, values


class _Names:
    """Which columns of a table are which; ``json`` tables say it row by row."""

    def __init__(self, where: StoragePath, columns: Mapping[str, Sequence[str]], required: Sequence[str], others: bool, kind: str):
        self.where, self.columns, self.required, self.others, self.kind = where, columns, required, others, kind

    def find(self, header: Sequence[str], place: str) -> dict[str, str]:
        """For each name in the rows, the column in the table. Raises InputError for one that stands there twice or may not be there."""
        found = {}
        there: dict[str, str] = {}
        for column in header:
            key = column.strip().casefold()
            if key and key in there:
                raise InputError(f"{place} has two columns of the name {_quoted(column.strip())}")
            there[key] = column
        for name, known in self.columns.items():
            column = next((there[key] for key in map(str.casefold, known) if key in there), None)
            if column is not None:
                found[name] = column
        strangers = [_quoted(column) for column in header if column not in found.values() and column.strip()]
        if strangers and not self.others:
            allowed = ", ".join(sorted(known for each in self.columns.values() for known in each))
            raise InputError(f"{place} has the columns {', '.join(strangers)}; it may have {allowed}")
        return found

    def check(self, found: Mapping[str, str], header: Sequence[str]) -> None:
        """Raises InputError if a column that is required was not found."""
        missing = [" or ".join(self.columns[name]) for name in self.required if name not in found]
        if missing:
            split = f", when it is split at {_quoted(self.kind)}," if len(self.kind) == 1 else ""
            there = ", ".join(map(_quoted, header))
            raise InputError(f"{self.where} has no column {', '.join(missing)}; its columns{split} are: {there[: 4 * SHOWN]}")


def _delimited_rows(where: StoragePath, names: _Names, delimiter: str) -> Iterator[tuple[str, dict[str, str]]]:
    rows = _csv_rows(where) if delimiter == COMMA else _unquoted_rows(where, delimiter)
    _, header = next(rows, (0, None))
    if header is None:
        raise InputError(f"{where} is empty")
    named = len(header)
    while named and not header[named - 1].strip():  # the empty columns at the right of a spreadsheet
        named -= 1
    found = names.find(header[:named], str(where))
    names.check(found, header[:named])
    places = {name: header.index(column) for name, column in found.items()}
    for number, row in rows:
        if len(row) in (0, 1, len(header)) and not any(field.strip() for field in row):
            continue  # a blank line, or an empty row of a spreadsheet; with more delimiters than the first line, one of them is a value
        place = f"{where}, line {number}"
        if len(row) != len(header):
            advice = "" if delimiter in (TAB, BAR) else "; a text with the delimiter in it must stand in quotes"
            raise InputError(f"{place} has {len(row)} fields, but the first line has {len(header)}{advice}: {_quoted(delimiter.join(row))}")
        if extra := next((field for field in row[named:] if field.strip()), None):
            raise InputError(f"{place} has {_quoted(extra)} in a column without a name")
        yield place, {name: row[i] for name, i in places.items()}


def _csv_rows(where: StoragePath) -> Iterator[tuple[int, list[str]]]:
    """The line in which each row begins, and its fields."""
    record: list[str] = []  # lines of the row that is read

    def lines() -> Iterator[str]:
        for _, line in _lines(where):
            record.append(line)
            yield line

    source = lines()
    first = next(source, None)
    skipped = 0
    if first and (said := SEPARATOR.fullmatch(first)):
        first, skipped = next(source, None), 1
        record.pop(0)
    else:
        said = None
    if first is None:
        return
    delimiter = said[1] if said else SEMICOLON if SEMICOLON in first and COMMA not in first else COMMA
    reader = csv.reader(_with_first(first, source), delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        number = reader.line_num + 1 + skipped
        try:
            row = next(reader, None)
        except csv.Error:
            raise InputError(_fault(where, number, "".join(record), delimiter)) from None
        if row is None:
            return
        record.clear()
        yield number, row


def _with_first(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _fault(where: StoragePath, number: int, record: str, delimiter: str) -> str:
    """What is wrong with a row that ``csv`` refuses, and in which line of the file."""
    field = re.compile(rf' *+(?:"[^"]*(?:""[^"]*)*+"|(?!")[^{delimiter}\r\n]*+)(?:{delimiter}|\r*+\n)')
    at = 0
    while match := field.match(record, at):
        at = match.end()
    line = number + record.count("\n", 0, at)
    if spaced := re.match(rf' *+"[^"]*(?:""[^"]*)*+"[ \t]+(?:{delimiter}|\r*+\n|$)', record[at:]):
        line += spaced[0].rstrip("\r\n").count("\n")
        return f"{where}, line {line} has white space between a closing quote and the delimiter or the end of the line: take it out"
    if record[at:].lstrip(" ").startswith('"'):
        return f'{where}, line {line} opens a quote that is not closed before a delimiter or the end of a line; write "" for a " in it'
    return f"{where}, line {line} has a carriage return in it: save the file with line feeds at the ends of its lines"


def _unquoted_rows(where: StoragePath, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(read_lines(where), start=1):
        yield number, line.split(delimiter)


def _json_rows(where: StoragePath, names: _Names) -> Iterator[tuple[str, dict[str, object]]]:
    ever: dict[tuple[str, ...], dict[str, str]] = {}  # for the keys of a row, in which of them each value is: rows mostly have the same
    for number, line in _lines(where):
        if not line.strip():
            continue
        place = f"{where}, line {number}"
        try:
            row = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place} is not JSON: {getattr(error, 'msg', error)}") from None
        if not isinstance(row, dict):
            raise InputError(f"{place} is not an object with names and values")
        keys = tuple(row)
        if keys not in ever:
            ever[keys] = names.find(keys, place)
        yield place, {name: row[key] for name, key in ever[keys].items()}
    if ever:
        names.check({name: key for found in ever.values() for name, key in found.items()}, list(dict.fromkeys(chain(*ever))))


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a name stands in it twice")
    return row


def _parquet_rows(where: StoragePath, names: _Names) -> Iterator[tuple[str, dict[str, object]]]:
    number = 0
    with where.open() as file:
        try:
            table = pq.ParquetFile(file)
            header = table.schema_arrow.names
            found = names.find(header, str(where))
            names.check(found, header)
            for batch in table.iter_batches(BATCH, columns=list(found.values())):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{where}, row {number}", {name: row[column] for name, column in found.items()}
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{where} cannot be read as Parquet: {str(error).splitlines()[0]}") from None


def as_text(value: object, what: str) -> str | None:
    """A text or a number as text, None if it is missing. Raises InputError, which says of what, for anything else."""
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or (isinstance(value, float | Decimal) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or value in (math.inf, -math.inf):
        raise InputError(f"{what} is no text: {_quoted(str(value))}")
    if isinstance(value, Decimal) and value != int(value):
        return f"{value:f}"
    return str(int(value) if value == int(value) else value)  # a whole number is a float where others of its column are missing


def _lines(where: StoragePath) -> Iterator[tuple[int, str]]:
    """Numbers from 1, and lines with their ends."""
    with where.open() as opened:
        file = io.BufferedReader(opened, BUFFER)
        try:
            start = file.peek(4)[:4]
            wide = _wide(start)
            if start.startswith(codecs.BOM_UTF8):
                file.read(3)
            lines = io.TextIOWrapper(file, wide, newline="\n") if wide else file
            for number, line in enumerate(iter(lambda: lines.readline(LONGEST + 1), lines.read(0)), start=1):
                if len(line) > LONGEST:
                    raise InputError(f"{where}, line {number} has more than {LONGEST} characters: rows end at line feeds")
                try:
                    yield number, line if wide else line.decode()  # type: ignore[union-attr]
                except UnicodeDecodeError:
                    raise InputError(f"{where}, line {number} is not UTF-8 text: save the file as UTF-8") from None
        except UnicodeDecodeError:
            raise InputError(f"{where} is not UTF-16 text, as its first bytes say: save the file as UTF-8") from None
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{where} cannot be read: {error}") from None


def _wide(start: bytes) -> str | None:
    """Which UTF-16 a file is that begins so; without its mark it has zero bytes beside its first letters, which are ASCII."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    zeros = [byte == 0 for byte in start]
    return "utf-16-le" if zeros == [False, True] * 2 else "utf-16-be" if zeros == [True, False] * 2 else None


def _quoted(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
