"""Ids for utterances that have none of their own: numbers, which they keep when the list in which they stand is edited."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeVar

Thing = TypeVar("Thing", bound=Any)  # with id and text


class ListPosition(str):
    """The place of an utterance in its list, which is its id until ``numbered`` gives it one."""


def numbered(
    utterances: Sequence[Thing], unreadable: Mapping[str, str], made: Iterable[tuple[str, str | None]]
) -> tuple[list[str], dict[str, str]]:
    """The ids of the utterances, and the reasons by id of others, with a number where the id is a ``ListPosition``.

    It is the number under which the text was made before, else the place, else the next number that nobody has.
    made: ids and texts. Texts that stand in the list several times keep several numbers, in order.
    """
    named = {name for name in (*(each.id for each in utterances), *unreadable) if not isinstance(name, ListPosition)}
    before: dict[str | None, list[str]] = {}
    taken = set(named)
    for name, text in sorted(made, key=itemgetter(0)):
        taken.add(name)
        if name.isdecimal() and name not in named:
            before.setdefault(text, []).append(name)
    following = map("{:06d}".format, itertools.count(max((int(name) + 1 for name in taken if name.isdecimal()), default=0)))

    def number(place: str) -> str:
        name = next(name for name in itertools.chain([str(place)], following) if name not in taken)
        taken.add(name)
        return name

    kept = [before[each.text].pop(0) if isinstance(each.id, ListPosition) and before.get(each.text) else None for each in utterances]
    ids = [name or (number(each.id) if isinstance(each.id, ListPosition) else each.id) for name, each in zip(kept, utterances, strict=True)]
    return ids, {number(name) if isinstance(name, ListPosition) else name: reason for name, reason in unreadable.items()}
