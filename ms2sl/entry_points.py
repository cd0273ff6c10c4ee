"""What packages from outside add to the project, by the entry points of their metadata."""

from importlib import metadata
from typing import Any

from ms2sl.errors import InputError


def entry_points(group: str) -> metadata.EntryPoints:
    """What the installed packages name in a group."""
    return metadata.entry_points(group=group)


def load_all(group: str) -> list[Any]:
    """Raises InputError for one that cannot be loaded."""
    return [load(point) for point in entry_points(group)]


def load(point: metadata.EntryPoint) -> Any:
    """Raises InputError if it cannot be loaded."""
    try:
        return point.load()
    except Exception as error:  # of somebody else's code
        raise InputError(
            f"'{point.name}' ({point.value}), an entry point {point.group}, cannot be loaded: {type(error).__name__}: {error}"
        ) from None
