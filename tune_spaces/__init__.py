"""Search spaces as data, one module a sweep: ``SPACE`` is a recipe in which some values are Ray Tune domains."""

from importlib import import_module
from pkgutil import iter_modules

from ms2sl.errors import InputError


def load_space(name: str) -> dict:
    """Raises InputError if there is no space of this name."""
    known = sorted(module.name for module in iter_modules(__path__))
    if name not in known:
        raise InputError(f"there is no search space '{name}'; there are: {', '.join(known)}")
    return import_module(f"{__name__}.{name}").SPACE
