"""What there is to produce: utterances from a file of texts or a folder of recordings, by columns and not all as objects."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ms2sl.data.signed_language import check_signed_language
from ms2sl.errors import InputError
from ms2sl.inference.numbering import ListPosition, numbered
from ms2sl.inference.recordings import find_recordings
from ms2sl.inference.utterance_list import UtteranceList
from ms2sl.io.file_names import check_name, nfc
from ms2sl.io.storage import AnyPath, StoragePath
from ms2sl.io.tables import kind_of, read_lines, read_table
from ms2sl.text_normalization import normalise

COLUMNS = {name: (name,) for name in ("id", "text", "signed_language", "signer")}  # of a table of utterances
LISTED = 5  # faults in an error


class Given(NamedTuple):
    """What there is to produce; ids and reasons of what cannot be read; and how many of what else is in the folder, by suffix."""

    utterances: UtteranceList
    unreadable: dict[str, str]
    others: Counter[str]


def with_numbers(given: Given, made: Iterable[tuple[str, str | None]]) -> Given:
    """With ids for what has none of its own (``ms2sl.inference.numbering``). made: ids and texts of what is finished."""
    if not given.utterances.has_positions and not any(isinstance(name, ListPosition) for name in given.unreadable):
        return given
    ids, unreadable = numbered(given.utterances, given.unreadable, made)
    return Given(given.utterances.with_ids(ids), unreadable, given.others)


def read_utterances(place: AnyPath, seconds: float | None = None, signed_language: str | None = None, signer: str | None = None) -> Given:
    """Utterances of a folder of recordings, which are not read yet, or of a file of texts.

    A text file (.txt) has one utterance a line; a table (.csv, .tsv, .jsonl, .parquet) has a column ``text`` and perhaps ``id``,
    ``signed_language`` and ``signer``. signed_language, signer: of those that have none of their own.
    Raises InputError if there is nothing to read, a column is missing or an id is not unique.
    """
    path = StoragePath(place)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    unreadable: dict[str, str] = {}
    others: Counter[str] = Counter()
    if path.is_folder():
        rows, others = find_recordings(path)
        _check_ids((row["id"], str(path)) for row in rows)
        asked = ({**row, "signed_language": signed_language, "signer": signer} for row in rows)
        utterances = UtteranceList.of(asked, path, seconds)
    else:
        utterances = UtteranceList.of(_read_texts(path, signed_language, signer, unreadable), seconds=seconds)
    if not len(utterances) and not unreadable:
        raise InputError(f"{path} holds no {'recording, but ' + counted(others) if others else 'utterance'}")
    return Given(utterances, unreadable, others)


def counted(kinds: Counter[str]) -> str:
    """``2 .txt, 1 folder``."""
    return ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items(), key=lambda item: (-item[1], item[0])))


def _read_texts(path: StoragePath, signed_language: str | None, signer: str | None, unreadable: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Rows of an ``UtteranceList``; why others are none goes to ``unreadable``, by id. Raises InputError at the end for a wrong id."""
    seen, suspicious = array("q"), False  # hashes of ids: the file is read again to say which of them are at fault
    for _, name, row in _texts(path):
        seen.append(hash(name))
        try:
            check_name(name)
        except InputError:
            suspicious = True
            continue
        language = row.get("signed_language")
        try:
            language = language and check_signed_language(language)
            text, own = normalise(row.get("text", "")), row.get("signer") or signer
            (own or "").encode()
            yield {
                "id": name,
                "is_position": isinstance(name, ListPosition),
                "text": text,
                "signed_language": language or signed_language,
                "signer": own,
            }
        except (InputError, UnicodeEncodeError) as error:
            unreadable[name] = str(error)
    if suspicious or len(np.unique(seen)) < len(seen):
        _check_ids((name, place) for place, name, _ in _texts(path))


def _check_ids(places: Iterable[tuple[str, str]]) -> None:
    """Raises InputError that lists the ids that cannot name a file, or were seen before, with their places."""
    faults, seen = [], {}
    for name, place in places:
        try:
            check_name(name, f"{place}: the id")
        except InputError as error:
            faults.append(str(error))
        if name in seen:
            faults.append(f"{place}: the id '{name}' stands there twice, first in {seen[name].rpartition(', ')[2]}")
        seen.setdefault(name, place)
    if faults:
        raise InputError("; ".join(faults[:LISTED]) + f"; and {len(faults) - LISTED} more like that" * (len(faults) > LISTED))


def _texts(where: StoragePath) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """Line, id and row of each; those without an id are numbered from 0."""
    if kind_of(where, texts=True) == "text":
        texts = ((f"{where}, line {number}", {"text": line}) for number, line in enumerate(read_lines(where), start=1) if line.strip())
    else:
        texts = read_table(where, COLUMNS, required=("text",))
    for number, (place, row) in enumerate(texts):
        yield place, nfc(row["id"]) if "id" in row else ListPosition(f"{number:06d}"), row
