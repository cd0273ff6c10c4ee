"""How many workers train: a number, or a range within which machines may come and go, as ``2:8``."""

import re
from typing import Annotated

from pydantic import BeforeValidator


def _checked(value: object) -> int | str:
    least, most = _ends(value)
    return most if least == most and ":" not in str(value) else f"{least}:{most}"


def _ends(value: object) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)(?::(\d+))?", str(value))
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 0 < least <= most:
        raise ValueError("say a number of workers, such as 4, or the fewest and the most of them, such as 2:8")
    return least, most


WorkerRange = Annotated[int | str, BeforeValidator(_checked)]


def fewest(workers: int | str) -> int:
    """With how many a training goes on where machines were lost."""
    return _ends(workers)[0]


def most(workers: int | str) -> int:
    """How many there are where there is room."""
    return _ends(workers)[1]


def for_ray(workers: int | str) -> int | tuple[int, int]:
    """As Ray Train's ``ScalingConfig`` takes it."""
    return workers if isinstance(workers, int) else _ends(workers)
