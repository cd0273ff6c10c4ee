"""Which is which: files, lines and rows of tables are matched by names that are unique, and clips keep what makes theirs so.

All names are compared in NFC.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from ms2sl.io.file_names import nfc

Thing = TypeVar("Thing")


def by_name(things: Iterable[tuple[str, Thing]]) -> tuple[dict[str, Thing], dict[str, str]]:
    """Things by their names, and for each name that several have, a reason that lists them (by ``str``)."""
    found: dict[str, list[Thing]] = defaultdict(list)
    for name, thing in things:
        found[nfc(name)].append(thing)
    twins = {name: f"{len(all_)} have the name {name}: {', '.join(map(str, all_))}" for name, all_ in found.items() if len(all_) > 1}
    return {name: all_[0] for name, all_ in found.items() if name not in twins}, twins


def match(paths: Sequence[str], names: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """For each path the name that it, or its longest end (``signer/0001`` of ``train/signer/0001``), has among ``names``; and for each name
    that several paths end with, a reason that lists them, instead of a match."""
    known, owners = set(names), defaultdict(dict)
    for path in paths:
        parts = path.split("/")
        name = next((end for start in range(len(parts)) if (end := "/".join(parts[start:])) in known), None)
        if name is not None:
            owners[name][path] = None
    twins = {name: f"{' and '.join(own)} could both be {name}" for name, own in owners.items() if len(own) > 1}
    return {next(iter(own)): name for name, own in owners.items() if name not in twins}, twins


def unique_ids(ids: Sequence[str], splits: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Of each clip, its id if no other clip has it, else with what makes it unique: its folders or its split.

    paths: of what the clips come from, with their folders; "" where there are none. The rest, twins in all of these, keep one id.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(ids):
        groups[name].append(i)
    taken, unique = Counter(ids), list(ids)
    for name, members in groups.items():
        keys = {(splits[i], paths[i] or name) for i in members}
        if len(keys) == 1:
            continue
        for qualify in QUALIFIED:
            longer = {key: qualify(name, *key) for key in keys}
            if len(set(longer.values())) == len(keys) and not any(each in taken and each != name for each in longer.values()):
                break
        else:
            continue
        taken.update(longer.values())
        for i in members:
            unique[i] = longer[splits[i], paths[i] or name]
    return unique


QUALIFIED: tuple[Callable[[str, str, str], str], ...] = (
    lambda name, split, path: path.replace("/", "-"),
    lambda name, split, path: path.replace("/", "--"),
    lambda name, split, path: f"{split}-{name}",
    lambda name, split, path: f"{split}-{path.replace('/', '-')}",
    lambda name, split, path: f"{split}-{path.replace('/', '-')}-{hashlib.blake2b(path.encode(), digest_size=8).hexdigest()}",
)
