"""Packages that come with an extra of the installation (``pip install "ms2sl[tracking]"``), and what is said where one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from ms2sl.errors import InputError


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports of packages that the extra ``name`` installs. Raises InputError with the command that installs a missing one."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(f'{error.name} is not installed: pip install "ms2sl[{name}]"') from None


def require(name: str, *distributions: str) -> None:
    """Ends the process with one line where a distribution of the extra ``name`` is missing; none is imported.

    For packages of commands, which are of no use without it, before any of their modules is loaded.
    """
    try:
        with extra(name):
            for distribution in distributions:
                version(distribution)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
