import gc
import json
import os
import sys
import weakref
from dataclasses import asdict

import pytest

from ms2sl.data.types import Utterance
from ms2sl.inference.numbering import ListPosition
from ms2sl.inference.recordings import Recording
from ms2sl.inference.utterance_input import read_utterances
from ms2sl.inference.utterance_list import PAGE, UtteranceList
from ms2sl.io.storage import StoragePath


def alive() -> int:
    gc.collect()
    return sum(isinstance(each, Utterance) for each in gc.get_objects())


def test_no_more_than_a_page_of_utterances_is_made_at_a_time(tmp_path):
    n, before = 3 * PAGE + 5, alive()
    path = tmp_path / "many.txt"
    path.write_text("".join(f"text {i}\n" for i in range(n)))
    utterances = read_utterances(path).utterances
    assert alive() == before, "none is made before it is asked for"
    for i, utterance in enumerate(utterances):
        assert (utterance.id, utterance.text) == (f"{i:06d}", f"text {i}")
        if i % 1000 == 0:
            assert alive() - before <= PAGE + 1
    assert i == n - 1
    assert utterances.table.nbytes < 60 * n


class Row(dict):
    """A dict that can be watched."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def test_rows_are_taken_page_after_page():
    watched: weakref.WeakSet[Row] = weakref.WeakSet()

    def rows():
        for i in range(5 * PAGE):
            row = Row(id=str(i))
            watched.add(row)
            yield row
            assert len(watched) <= 2 * PAGE + 1, "the others are columns"

    assert len(UtteranceList.of(rows())) == 5 * PAGE


def test_utterances_come_back_as_they_were_given():
    rows = [{"id": "a", "text": "cab", "signer": "anna"}, {"id": "000001", "is_position": True, "text": "", "signed_language": "ase"}]
    found = UtteranceList.of(rows, seconds=2.0)
    assert [asdict(each) for each in found] == [
        asdict(Utterance("a", text="cab", seconds=2.0, signer="anna")),
        asdict(Utterance("000001", text="", seconds=2.0, signed_language="ase")),
    ]
    assert [isinstance(each.id, ListPosition) for each in found] == [False, True]
    assert found.has_positions
    named = found.with_ids(["a", "b"])
    assert ([each.id for each in named], named.has_positions) == (["a", "b"], False)
    assert [each.id for each in found[1:]] == ["000001"]
    assert found[-1].id == found[1].id == "000001"
    with pytest.raises(IndexError):
        found[2]
    assert list(UtteranceList.of([])) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such names")
def test_a_recording_whose_name_is_no_utf_8_is_found_again(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"x")
    with open(os.fsencode(tmp_path) + b"/\xe9.wav", "wb") as file:
        file.write(b"y")
    utterances = read_utterances(tmp_path, signer="ben").utterances
    assert [(type(each), each.signer) for each in utterances] == [(Recording, "ben")] * 2
    assert utterances[0].path == StoragePath(tmp_path / "a.wav")
    assert len({each.digest() for each in utterances} - {""}) == 2, "both are read"


def test_a_signer_that_is_no_text_costs_its_utterance_alone(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"id": "a", "text": "cab", "signer": "\ud800"}) + "\n" + json.dumps({"id": "b", "text": "bad"}) + "\n")
    utterances, unreadable, _ = read_utterances(path)
    assert [each.id for each in utterances] == ["b"]
    assert "surrogates not allowed" in unreadable["a"]
