"""A folder that holds a file for each frame of a clip: the numbers in their names say which frame."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from ms2sl.errors import InputError

MOST = 1_000_000  # frames of a clip, nine hours


def frame_places(names: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    """For each file its place in the clip, from 0 on, and remarks; places that nobody has are frames without a file.

    The number of a frame is the one number that differs between the names, with or without leading zeros. It need not begin at 0, and may
    count in steps, such as milliseconds. Where several numbers differ (hours, minutes and seconds; a part and a frame), frames are in the
    order of all of them from left to right, and none is taken as missing. Raises InputError if two files have the same numbers, or the
    names are of several clips.
    """
    runs = [re.split(r"(\d+)", name) for name in names]
    if len(names) == 1:
        return [0], ()
    shapes = Counter(tuple(run[::2]) for run in runs)
    if len(shapes) > 1:
        usual = shapes.most_common(1)[0][0]
        stranger = next(name for name, run in zip(names, runs, strict=True) if tuple(run[::2]) != usual)
        other = next(name for name, run in zip(names, runs, strict=True) if tuple(run[::2]) == usual)
        raise InputError(f"{stranger} and {other} are no frames of one clip: give each clip a folder of its own, with nothing else in it")
    between = runs[0][2:-1:2]
    columns = zip(*(run[1::2] for run in runs), strict=True)
    numbers = [_numbers(column, before == ".") for column, before in zip(columns, ["", *between], strict=True)]
    differing = [column for column in numbers if len(set(column)) > 1]
    keys = list(zip(*differing, strict=True)) or [()] * len(names)
    if len(set(keys)) < len(names):
        twice = Counter(keys).most_common(1)[0][0]
        twins = [name for name, key in zip(names, keys, strict=True) if key == twice]
        raise InputError(f"no number in the names of its frames tells them apart: {' and '.join(twins[:2])}")
    if len(differing) == 1:
        return _places(differing[0]), ()
    order = {key: place for place, key in enumerate(sorted(keys))}
    told = f"{len(differing)} numbers differ in the names of its frames: they are in the order of all of them, and none is taken as missing"
    return [order[key] for key in keys], (told,)


def _numbers(digits: Sequence[str], after_point: bool) -> list[int]:
    """As numbers; after a point a decimal fraction if one of the longest begins with 0 (0.04, 0.2), and else a count (1.9, 1.10)."""
    width = max(map(len, digits))
    if after_point and any(each.startswith("0") for each in digits if len(each) == width):
        return [int(each.ljust(width, "0")) for each in digits]
    return [int(each) for each in digits]


def _places(numbers: list[int]) -> list[int]:
    ordered = sorted(numbers)
    gaps = Counter(after - before for before, after in pairwise(ordered))
    step = min(gaps, key=lambda gap: (-gaps[gap], gap))
    places, place = {ordered[0]: 0}, 0
    for before, after in pairwise(ordered):
        place += max(1, round((after - before) / step))
        places[after] = place
    if place >= MOST:
        raise InputError(f"its frames are numbered from {ordered[0]} to {ordered[-1]}, which is no clip")
    return [places[number] for number in numbers]
