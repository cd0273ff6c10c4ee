"""A folder that holds a file for each frame of a clip: the numbers in their names say which frame."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from ms2sl.errors import InputError

MOST = 1_000_000  # frames of a clip, nine hours


def frame_places(names: Sequence[str]) -> list[int]:
    """For each file its place in the clip, from 0 on; places that nobody has are frames without a file.

    The number of a frame is the last number in the names that is another in each of them, with or without leading zeros. It need not begin
    at 0, and may count in steps, such as milliseconds. Raises InputError if it is there twice, or the names are of several clips.
    """
    runs = [re.split(r"(\d+)", name) for name in names]
    if len(names) == 1:
        return [0]
    shapes = Counter(tuple(run[::2]) for run in runs)
    if len(shapes) > 1:
        usual = shapes.most_common(1)[0][0]
        stranger = next(name for name, run in zip(names, runs, strict=True) if tuple(run[::2]) != usual)
        other = next(name for name, run in zip(names, runs, strict=True) if tuple(run[::2]) == usual)
        raise InputError(f"{stranger} and {other} are no frames of one clip: give each clip a folder of its own, with nothing else in it")
    columns = [[int(number) for number in column] for column in zip(*(run[1::2] for run in runs), strict=True)]
    distinct = [column for column in columns if len(set(column)) == len(names)]
    if not distinct:
        twice = Counter(tuple(map(int, run[1::2])) for run in runs).most_common(1)[0][0]
        twins = [name for name, run in zip(names, runs, strict=True) if tuple(map(int, run[1::2])) == twice]
        told = " and ".join(twins) if len(twins) > 1 else f"{names[0]} and {names[1]}"
        raise InputError(f"no number in the names of its frames tells them apart: {told}")
    return _places(distinct[-1])


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
