from ms2sl.data.types import Utterance
from ms2sl.inference.numbering import ListPosition, numbered


def given(texts: list[str], named: dict[str, str] | None = None) -> list[Utterance]:
    places = [Utterance(ListPosition(f"{i:06d}"), text=text) for i, text in enumerate(texts)]
    return places + [Utterance(name, text=text) for name, text in (named or {}).items()]


def ids(texts, made=(), named=None, unreadable=()) -> tuple[list[str], list[str]]:
    found, reasons = numbered(given(texts, named), {ListPosition(place): "unknown" for place in unreadable}, dict(made).items())
    return found, list(reasons)


def test_at_first_the_places_are_the_numbers():
    assert ids(["a", "b"], unreadable=["000002"]) == (["000000", "000001"], ["000002"])


def test_what_was_made_keeps_its_number_and_new_texts_get_others():
    made = {"000000": "a", "000001": "b", "000002": "a", "x": "new"}
    assert ids(["new", "a", "b", "a", "a"], made) == (["000003", "000000", "000001", "000002", "000004"], [])
    assert ids(["b"], made, unreadable=["000000"]) == (["000001"], ["000003"])


def test_names_of_the_list_are_nobody_elses_numbers():
    assert ids(["a", "b"], {"000000": "a", "000001": "b"}, named={"000001": "c"}) == (["000000", "000002", "000001"], [])
