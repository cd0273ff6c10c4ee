"""Models that a job's options name: folders, or registered models of MLflow, which are fetched once, to where all machines see them."""

from functools import cache
from typing import TypeVar

from jobs.cli import Command
from ms2sl.io.file_names import FETCHED
from ms2sl.io.storage import StoragePath
from ms2sl.io.uri import is_registered
from ms2sl.model_uri import fetch
from ms2sl.tracking.tracker import default_uri

T = TypeVar("T", bound=Command)


def with_folders(options: T, *names: str, within: str, runs: str = "runs") -> T:
    """The options of these names as absolute folders, or URIs of them. What an alias means is decided here, once, and printed.

    within: the job's folder of results, which all machines share; registered models are fetched into it.
    runs: has the database that is asked unless ``options.tracking`` says another. Raises InputError.
    """

    @cache
    def folder(model: str) -> str:
        if not is_registered(model):
            return StoragePath(model).uri
        tracking = options.tracking or default_uri(runs if StoragePath(within).is_local else within)  # type: ignore[attr-defined]
        version, checkpoint = fetch(model, tracking, StoragePath(within) / FETCHED)
        if "@" in model:
            print(f"{model} is version {version}")
        return checkpoint.uri

    found = {}
    for name in names:
        value = getattr(options, name)
        if isinstance(value, dict):
            found[name] = {key: folder(model) for key, model in value.items()}
        elif value is not None:
            found[name] = folder(value)
    return options.model_copy(update=found)
