import json
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath
from ms2sl.io.tables import BAR, kind_of, read_lines, read_table

COLUMNS = {"id": ("id", "name"), "text": ("text",)}


def rows(path: Path, content: str | bytes | pa.Table | None = None, **options) -> list[tuple[str, dict]]:
    """What is read of the file, with the places in it alone."""
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    elif content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(place.removeprefix(f"{path}, "), row) for place, row in read_table(StoragePath(path), COLUMNS, **options)]


def values(*arguments, **options) -> list[dict]:
    return [row for _, row in rows(*arguments, **options)]


HELLO = [{"id": "a", "text": "hello"}, {"id": "b", "text": "bye"}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("words.csv", "id,text\na,hello\nb,bye\n"),
        ("words.CSV", "id,text\r\na,hello\r\nb,bye"),
        ("words.csv", "id;text\na;hello\nb;bye\n"),
        ("words.csv", "\ufeffID, Text\na, hello\n  b  ,\tbye\n"),
        ("words.csv", "Name,other,TEXT\na,1,hello\nb,2,bye\n"),
        ("words.csv", ",id,text\n0,a,hello\n1,b,bye\n"),
        ("words.csv", 'id,text\n"a", "hello"\n"b","bye"\n'),
        ("words.csv", "id,text\r\na,hello\r\nb,bye\r\n".encode("utf-16")),
        ("words.csv", "id,text\r\na,hello\r\nb,bye\r\n".encode("utf-16-le")),
        ("words.csv", "id,text\r\na,hello\r\nb,bye\r\n".encode("utf-16-be")),
        ("words.csv", "sep=;\r\nid;text\r\na;hello\r\nb;bye\r\n"),
        ("words.csv", '"sep=,"\nid,text\na,hello\nb,bye\n'),
        ("words.tsv", "id\ttext\na\thello\nb\tbye\n"),
        ("words.TSV", "id\ttext\r\na\thello\r\nb\tbye\r\n".encode("utf-16-be").join([b"\xfe\xff", b""])),
        ("words.psv", "id|text\na|hello\nb|bye\n"),
        ("words.jsonl", '{"id": "a", "text": "hello"}\n\n{"text": "bye", "id": "b", "other": [1]}'),
        ("words.ndjson", '\ufeff{"ID": "a", "text": "hello"}\r\n{"id": "b", "text": "bye"}\r\n'),
        ("words.Parquet", pa.table({"id": ["a", "b"], "text": ["hello", "bye"], "vectors": [[1.0], [2.0]]})),
        ("words.parquet", pa.table({"id": ["a", "b"], "text": pa.array(["hello", "bye"]).dictionary_encode()})),
        ("words.parquet", pa.table({"id": ["a", "b"], "text": pa.array(["hello", "bye"], pa.large_string())})),
    ],
)
def test_each_kind_is_read_as_what_it_is(tmp_path, name, content):
    assert values(tmp_path / name, content) == HELLO


@pytest.mark.parametrize("name", ["words.json", "words.xlsx", "words", "words.csv.gz", "words.doc"])
def test_an_unknown_kind_is_refused(name):
    with pytest.raises(InputError, match=r"is of no kind that is read here: name it \.csv, \.tsv"):
        kind_of(StoragePath(f"/{name}"), texts=True)


def test_line_feeds_and_quotes_within_quotes_belong_to_the_text_and_lines_are_those_of_the_file(tmp_path):
    content = 'id,text\na,"good\nmorning"\n\nb,"one\r\n\r\n""two"""\nc,5" and he said "no"\n'
    assert rows(tmp_path / "a.csv", content) == [
        ("line 2", {"id": "a", "text": "good\nmorning"}),
        ("line 5", {"id": "b", "text": 'one\r\n\r\n"two"'}),
        ("line 8", {"id": "c", "text": '5" and he said "no"'}),
    ]


@pytest.mark.parametrize("space", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "psv", "jsonl", "txt"])
def test_rows_end_at_line_feeds_alone(tmp_path, kind, space):
    text, path = f"good{space}morning", tmp_path / f"a.{kind}"
    delimiter = {"csv": ",", "tsv": "\t", "psv": "|"}.get(kind)
    if kind == "txt":
        path.write_text(f"{text}\nbye\n", encoding="utf-8")
        assert list(read_lines(StoragePath(path))) == [text, "bye"]
        return
    header = f"id{delimiter}text\n" if delimiter else ""
    each = f"a{delimiter}{text}\n" if delimiter else json.dumps({"id": "a", "text": text}, ensure_ascii=False) + "\n"
    assert values(path, f"{header}{each}{each}") == [{"id": "a", "text": text}] * 2


@pytest.mark.parametrize(("kind", "delimiter"), [("tsv", "\t"), ("psv", "|")])
def test_tables_of_tabs_and_bars_have_no_quotes(tmp_path, kind, delimiter):
    content = f'id{delimiter}text\na{delimiter}"he says\nb{delimiter}"hello"\n'
    assert values(tmp_path / f"a.{kind}", content) == [{"id": "a", "text": '"he says'}, {"id": "b", "text": '"hello"'}]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('id,text\na,one\nb,"two he says\nc,three\nd,four\n', 3),
        ('id,text\na,"one\n\n two"\nb,"two he says', 5),
        ('id,text\na,"one\ntwo","x\n\n\n', 3),
        ('id,text\na,one\nb,"two" he says\nc,three\n', 3),
        ('id,text\nb,"two he says\nc,three\nd,"four\ne,five\n', 2),
        ('id,"text\na,one\n', 1),
        ('id;text\na; "one\n', 2),
    ],
)
def test_a_quote_that_is_not_closed_is_an_error_that_names_the_line_in_which_it_opens(tmp_path, content, line):
    with pytest.raises(InputError, match=rf"a\.csv, line {line} opens a quote that is not closed"):
        rows(tmp_path / "a.csv", content)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "id,text\na,hello, world\n", r"line 2 has 3 fields, but the first line has 2; .* in quotes: 'a,hello,world'"),
        ("a.csv", 'id,text\nx,"a\nb"\na,hello,\n', "line 4 has 3 fields"),
        ("a.csv", "id,text,\na,hello, world\n", "line 2 has 'world' in a column without a name"),
        ("a.csv", "id,text\na\n", "line 2 has 1 fields"),
        ("a.csv", "id,text\n,,\n", "line 2 has 3 fields"),
        ("a.tsv", "id\ttext\na\tb\tc\n", "line 2 has 3 fields, but the first line has 2: "),
        ("a.csv", "id,text,Text\n", "a.csv has two columns of the name 'Text'"),
        ("a.csv", "id,word\na,b\n", "a.csv has no column text; its columns, when it is split at ',', are: 'id', 'word'"),
        ("a.csv", "", "is empty"),
        ("a.csv", "id,text\ra,hello\rb,bye\r", "line 1 has a carriage return in it: save the file with line feeds"),
        ("a.csv", "id,text\na,b\rc\n", "line 2 has a carriage return"),
        ("a.tsv", "id\ttext\na\tb\rc\n", "line 2 has a carriage return"),
        ("a.csv", "id,text\na,grüße\n".encode("latin-1"), "line 2 is not UTF-8 text"),
        ("a.csv", "id,text\n".encode("utf-16") + b"\0\xd8", "is not UTF-16 text"),
        ("a.jsonl", '{"text": "a"}\n{"text": "b', "line 2 is not JSON"),
        ("a.jsonl", "[1]", "line 1 is not an object"),
        ("a.jsonl", '{"text": "a", "text": "b"}', "line 1 is not JSON: a name stands in it twice"),
        ("a.jsonl", '{"text": ' + "1" * 5000 + "}", "line 1 is not JSON"),
        ("a.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("a.jsonl", '{"id": "a"}\n{"id": "b", "word": "c"}\n', "has no column text; its columns are: 'id', 'word'"),
        ("a.jsonl", '{"text": ["a"]}\n', r"line 1: its text is no text: \"\['a'\]\""),
        ("a.jsonl", '{"text": true}\n', "line 1: its text is no text: 'True'"),
        ("a.jsonl", '{"text": Infinity}\n', "line 1: its text is no text: 'inf'"),
        ("a.parquet", pa.table({"id": ["a"]}), "has no column text"),
        ("a.parquet", pa.table({"text": ["a", "b"], "id": [b"\xff", None]}), "row 1: its id is no text"),
        ("a.parquet", b"no parquet", "cannot be read as Parquet"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_the_line(tmp_path, name, content, reason):
    with pytest.raises(InputError, match=reason):
        rows(tmp_path / name, content, required=("text",))


def test_a_row_must_have_what_it_must_have(tmp_path):
    with pytest.raises(InputError, match="line 3 has no id or name"):
        rows(tmp_path / "a.csv", "id,text\na,b\n,c\n", whole=("id",))


def test_other_columns_are_refused_where_there_may_be_none(tmp_path):
    with pytest.raises(InputError, match="has the columns 'word'; it may have id, name, text"):
        rows(tmp_path / "a.csv", "id,word\na,b\n", others=False)
    with pytest.raises(InputError, match="line 2 has the columns 'word'; it may have id, name, text"):
        rows(tmp_path / "a.jsonl", '{"id": "a"}\n{"word": "b"}\n', others=False)


@pytest.mark.parametrize(
    "content",
    ["id,text,\na,hello,\nb,bye,\n,,\n", "id,text,,\na,hello,,\nb,bye,,\n,,,\n , ,,\n", "id,text\n\na,hello\n  \nb,bye\n,\n\n"],
)
def test_the_empty_columns_and_rows_of_a_spreadsheet_are_left_out(tmp_path, content):
    assert values(tmp_path / "a.csv", content, others=False) == HELLO
    assert values(tmp_path / "a.psv", content.replace(",", "|"), others=False) == HELLO


def test_what_is_missing_is_missing_and_numbers_are_texts(tmp_path):
    frame = pd.DataFrame({"id": [0, 1, 2, 3], "text": ["hello", float("nan"), None, "nan"], "name": [1.0, None, 2.5, 5.0]})
    frame = frame.drop(columns="name")
    expected = [{"id": "0", "text": "hello"}, {"id": "1"}, {"id": "2"}, {"id": "3", "text": "nan"}]
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    lines = "".join(json.dumps(row) + "\n" for row in frame.astype(object).to_dict("records"))
    assert "NaN" in lines
    (tmp_path / "nan.jsonl").write_text(lines)
    for name in ("a.csv", "a.parquet", "a.jsonl", "nan.jsonl"):
        assert values(tmp_path / name) == expected, name


def test_decimals_are_texts(tmp_path):
    decimals = [Decimal("7.00"), Decimal("0.0000001"), Decimal("-2.5"), None]
    found = values(tmp_path / "a.parquet", pa.table({"text": pa.array(decimals, pa.decimal128(12, 7))}))
    assert found == [{"text": "7"}, {"text": "0.0000001"}, {"text": "-2.5000000"}, {}]


def test_lines_are_those_of_the_file_where_the_first_says_the_separator(tmp_path):
    assert [place for place, _ in rows(tmp_path / "a.csv", "sep=;\nid;text\na;b\n")] == ["line 3"]
    with pytest.raises(InputError, match="line 4 opens a quote"):
        rows(tmp_path / "a.csv", 'sep=;\nid;text\na;b\nc;"d\n')


@pytest.mark.parametrize("row", ['"a" ,b', 'a,"b" ', '"a"\t,b', '"a","b\nc" '])
def test_white_space_behind_a_quote_is_said(tmp_path, row):
    line = 2 + row.count("\n")
    with pytest.raises(InputError, match=f"line {line} has white space between a closing quote and the delimiter or the end"):
        rows(tmp_path / "a.csv", f"id,text\n{row}\nc,d\n")


@pytest.mark.parametrize("numbers", [[7, None], [7.0, float("nan")], ["7", "  "]])
def test_a_number_is_the_text_of_it(tmp_path, numbers):
    assert values(tmp_path / "a.parquet", pa.table({"text": numbers})) == [{"text": "7"}, {}]
    assert values(tmp_path / "a.jsonl", "".join(json.dumps({"text": number}) + "\n" for number in numbers)) == [{"text": "7"}, {}]
    assert values(tmp_path / "b.jsonl", '{"text": 2.5}\n{"text": -1e3}\n{"text": 12345678901234567890}') == [
        {"text": "2.5"},
        {"text": "-1000"},
        {"text": "12345678901234567890"},
    ]


def test_a_kind_may_be_told(tmp_path):
    assert values(tmp_path / "corpus.csv", 'id|text\na|"hello, you\n', kind=BAR) == [{"id": "a", "text": '"hello, you'}]


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ms2sl.io.tables.LONGEST", 1000)
    with pytest.raises(InputError, match="line 2 has more than 1000 characters"):
        rows(tmp_path / "a.csv", "id,text\n" + "a" * 2000)


def test_tables_of_a_store_are_read_alike(s3):
    place = StoragePath(s3.replace("/folder", "/tables")) / "a.csv"
    place.write('\ufeffid,text\na,"good\nmorning"\n'.encode())
    assert [row for _, row in read_table(place, COLUMNS)] == [{"id": "a", "text": "good\nmorning"}]
