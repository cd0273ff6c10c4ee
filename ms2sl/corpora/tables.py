"""Tables of texts that come with corpora: CSV of any delimiter, and JSON lines."""

import csv
import json
from collections.abc import Iterable

from ms2sl.errors import InputError
from ms2sl.storage import Location

csv.field_size_limit(2**24)


def read_table(where: Location, delimiter: str, columns: Iterable[str], quoting: int = csv.QUOTE_MINIMAL) -> list[dict[str, str]]:
    """Rows by the names in the first line.

    Raises InputError if a column is missing, as it is when the delimiter is another, or a row has too many or too few fields.
    """
    lines = where.read_text().splitlines()
    rows = list(csv.reader(lines, delimiter=delimiter, quoting=quoting))
    if not rows:
        raise InputError(f"{where} is empty")
    header = rows[0]
    missing = [column for column in columns if column not in header]
    if missing:
        shown = {"\t": "tab"}.get(delimiter, f"'{delimiter}'")
        raise InputError(f"{where} has no column {', '.join(missing)} when it is split at {shown}; its first line is: {lines[0][:120]!r}")
    for number, row in enumerate(rows[1:], start=2):
        if row and len(row) != len(header):
            raise InputError(f"{where}, row {number} has {len(row)} fields, but the first line has {len(header)}: {row[0][:60]!r}")
    return [dict(zip(header, row, strict=True)) for row in rows[1:] if row]


def read_json_lines(where: Location) -> list[dict]:
    """One object a line. Raises InputError for a line that is none."""
    rows = []
    for number, line in enumerate(where.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}, line {number} is not JSON: {error.msg}") from None
        if not isinstance(row, dict):
            raise InputError(f"{where}, line {number} is not an object with names and values")
        rows.append(row)
    return rows
