"""What is written to a table comes out of it, normalised as documented, or is refused: any text, in every kind, by every usual writer.

FUZZ_CASES=10000 python -m pytest tests/io/test_tables_fuzz.py
"""

import csv
import io
import json
import os
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ms2sl.errors import InputError
from ms2sl.inference.utterance_input import read_utterances
from ms2sl.io.file_names import nfc
from ms2sl.io.storage import StoragePath
from ms2sl.io.tables import read_lines, read_table
from ms2sl.text_normalization import normalise

cases = settings(
    max_examples=int(os.environ.get("FUZZ_CASES", "100")),
    deadline=None,
    derandomize="FUZZ_CASES" not in os.environ,  # the suite tries the same each time
    suppress_health_check=list(HealthCheck),
)
SPACES, MARKS = " \t\n\r\x0b\x0c\x1c\x85\u2028\u2029", "\"'\\,;|{}[]:#="
NO_TEXT, LETTERS = "\0\ue000\ufffe\udcfc", "\ufeff\u200d\u0301🙂ßéあ"
ODD = [*SPACES, *MARKS, *NO_TEXT, *LETTERS, "\r\n", '""', "NaN", "null", "e\u0301", "5"]


def paired(text: str) -> str:
    """Two halves of a surrogate pair side by side are one character in any file."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


letters = st.one_of(st.sampled_from(ODD), st.characters(exclude_categories=()), st.sampled_from("abc "))
words = st.lists(letters, max_size=12).map("".join)
texts = st.one_of(words, st.builds(lambda word, times: word * times, words, st.integers(1, 300))).map(paired)
texts = st.builds(unicodedata.normalize, st.sampled_from(["NFC", "NFD"]), texts)
names = st.one_of(st.from_regex(r"\A[\w.-]{1,12}\Z"), st.integers(0, 99).map(str), texts)
rows = st.lists(st.tuples(names, texts), min_size=1, max_size=5)
encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])
ends = st.sampled_from(["\n", "\r\n"])


@st.composite
def tables(draw) -> tuple[str, bytes, list[tuple[str, str]]]:
    """Suffix and content of a file, and the ids and texts in it."""
    kind = draw(st.sampled_from(["csv", "tsv", "psv", "jsonl", "parquet"]))
    table, end, encoding = draw(rows), draw(ends), draw(encodings)
    if kind == "parquet":
        table = [tuple(field.encode("utf-8", "replace").decode() for field in row) for row in table]  # which holds nothing else
        ids, said = zip(*table, strict=True)
        kinds = draw(st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]))
        buffer = io.BytesIO()
        pq.write_table(pa.table({"id": ids, "text": pa.array(said, pa.string()).cast(kinds)}), buffer)
        return kind, buffer.getvalue(), table
    if kind == "jsonl":
        ascii_only = draw(st.booleans())
        lines = [json.dumps({"id": name, "text": text}, ensure_ascii=ascii_only) + end for name, text in table]
        return kind, "".join(lines).encode(encoding, "surrogatepass"), table
    header = [("ID", "Text"), ("id", "text")][draw(st.booleans())]
    if kind == "csv":
        buffer = io.StringIO()
        quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
        writer = csv.writer(buffer, delimiter=draw(st.sampled_from(",;")), lineterminator=end, quoting=quoting)
        extra = [""] * draw(st.integers(0, 2))  # empty columns and rows of a spreadsheet
        writer.writerows([*header, *extra] for _ in range(1))
        writer.writerows([*row, *extra] for row in table)
        writer.writerows([["", "", *extra]] * draw(st.integers(0, 2)))
        return kind, buffer.getvalue().encode(encoding, "surrogatepass"), table
    table = [tuple(field.replace("\n", " ") for field in row) for row in table]  # these kinds have no line feeds in their fields
    delimiter = {"tsv": "\t", "psv": "|"}[kind]
    content = "".join(delimiter.join(row) + end for row in [header, *table])
    return kind, content.encode(encoding, "surrogatepass"), table


@contextmanager
def written(kind: str, content: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"table.{kind}"
        path.write_bytes(content)
        yield path


@cases
@given(tables())
def test_every_table_comes_out_as_it_was_written_or_is_refused(table):
    kind, content, expected = table
    with written(kind, content) as path:
        try:
            found = [row for _, row in read_table(StoragePath(path), {"id": ("id",), "text": ("text",)}, required=("text",))]
        except InputError as error:
            check_refused(kind, expected, str(error))
            return
    fields = [{name: value.strip() for name, value in zip(("id", "text"), row, strict=True) if value.strip()} for row in expected]
    assert found == [row for row in fields if row or kind in ("jsonl", "parquet")]


def check_refused(kind: str, table: list[tuple[str, ...]], reason: str) -> None:
    """Fails unless the file could not hold these fields, and the reason says so."""
    everything = "".join(map("".join, table))
    undecodable = any(unicodedata.category(character) == "Cs" for character in everything)
    delimiter = {"tsv": "\t", "psv": "|"}.get(kind, "\0\0")
    assert (
        ("is not UTF-" in reason and undecodable)
        or ("carriage return" in reason and "\r" in everything)  # Python's own writer does not quote it where lines end otherwise
        or ("fields, but the first line has" in reason and delimiter in everything)
    ), reason


@cases
@given(tables())
def test_every_utterance_has_its_text_or_a_reason(table):
    kind, content, expected = table
    with written(kind, content) as path:
        try:
            utterances, unreadable, _ = read_utterances(path)
        except InputError as error:
            if not any(known in str(error) for known in ("cannot name a file", "stands there twice", "holds no utterance")):
                check_refused(kind, expected, str(error))
            return
    found = {utterance.id: utterance.text for utterance in utterances} | unreadable
    rows = [(name.strip(), text) for name, text in expected if kind in ("jsonl", "parquet") or name.strip() or text.strip()]
    assert len(found) == len(rows)
    for number, (name, text) in enumerate(rows):
        assert found[nfc(name) or f"{number:06d}"] == said_of(text)


def said_of(text: str) -> str:
    """The normalised text, or why there is none."""
    try:
        return normalise(text)
    except InputError as error:
        return str(error)


@cases
@given(st.lists(texts, min_size=1, max_size=6), ends, encodings)
def test_every_line_of_a_text_file_is_one_text(said, end, encoding):
    said = [text.replace("\n", " ").rstrip("\r") for text in said]
    assume("\0" not in said[0][:4])  # which UTF-16 without a mark begins with
    with written("txt", "".join(text + end for text in said).encode(encoding, "surrogatepass")) as path:
        try:
            found = list(read_lines(StoragePath(path)))
        except InputError as error:
            check_refused("txt", [tuple(said)], str(error))
            return
    assert found == [
        said[0].removeprefix("\ufeff") if encoding == "utf-8" else said[0],
        *said[1:],
    ]


@cases
@given(
    st.lists(st.one_of(st.none(), texts, st.integers(-(2**62), 2**62)), min_size=1, max_size=5),
    st.sampled_from(["csv", "jsonl", "parquet"]),
)
def test_what_pandas_writes_is_read(column, kind):
    column = [value.encode("utf-8", "replace").decode() if isinstance(value, str) else value for value in column]
    numbers = all(value is None or isinstance(value, int) for value in column)
    if kind == "parquet" and not numbers:
        column = [None if value is None else str(value) for value in column]
    frame = pd.DataFrame({"id": [f"u{i}" for i in range(len(column))], "text": pd.Series(column, dtype="Int64" if numbers else "object")})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"table.{kind}"
        if kind == "csv":
            frame.to_csv(path, index=False)
        elif kind == "jsonl":
            frame.to_json(path, orient="records", lines=True)
        else:
            frame.to_parquet(path)
        try:
            found = [row.get("text") for _, row in read_table(StoragePath(path), {"id": ("id",), "text": ("text",)}, required=("text",))]
        except InputError as error:
            check_refused(kind, [tuple(map(str, column))], str(error))
            return
    assert found == [None if value is None else str(value).strip() or None for value in column]


@pytest.mark.parametrize("text", ODD)
def test_each_odd_character_is_tried(text):
    """Whatever else is drawn."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([("id", "text"), ("a", f"x{text}y")])
    for kind, content in (("csv", buffer.getvalue()), ("jsonl", json.dumps({"id": "a", "text": f"x{text}y"}))):
        with written(kind, content.encode("utf-8", "replace")) as path:
            utterances, unreadable, _ = read_utterances(path)
        said = f"x{text}y".encode("utf-8", "replace").decode() if kind == "csv" else f"x{text}y"
        assert [*(u.text for u in utterances), *unreadable.values()] == [said_of(said)]
