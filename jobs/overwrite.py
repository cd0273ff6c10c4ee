"""``--overwrite``: an earlier run of this name is forgotten, and nothing else that may lie in its place."""

import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath

RECIPE = "recipe.json"

KINDS = {"space": "sweep", "task": "training"}  # by a key of its recipe


class RunOptions(Protocol):
    """A command of a run.

    learns: options to record, in ``recipe.json``, which decide what is learned or found. changeable: the names of those that do not
    (``ms2sl.config.changeable``).
    """

    @property
    def name(self) -> str: ...
    @property
    def runs(self) -> str: ...
    @property
    def overwrite(self) -> bool: ...
    @property
    def changeable(self) -> Collection[str]: ...
    @property
    def folder(self) -> StoragePath: ...
    @property
    def learns(self) -> dict: ...
    @classmethod
    def model_construct(cls, *args: Any, **values: Any) -> Any: ...
    @classmethod
    def under_current_names(cls, recorded: dict) -> dict: ...


def forget(options: RunOptions) -> None:
    """Deletes the run's folder; there may be none. A local one is renamed first, so what is left where this is interrupted is no run; of
    one in a store the recipe is deleted last, so that the same command goes on.

    Raises InputError if the folder is a link, holds no run of this kind, or cannot be deleted.
    """
    where, kind = options.folder, _kind(options.learns)
    if where.is_local and Path(where).is_symlink():
        raise InputError(f"{where} is a link and is not deleted: delete it yourself, or choose another --name")
    if not where.exists():
        return
    found, inside = _kind(_read(where)), list(where.children(junk=True))
    if found != kind and (found or inside):
        what = f"a {found} and no {kind}" if found else f"no {kind}"
        raise InputError(f"{where} holds {what}, and is not deleted: delete it yourself, or choose another --name")
    if where.is_local:
        _forget_here(Path(where))
        return
    for each in sorted(inside, key=lambda each: each.name == RECIPE):
        each.delete()


def _forget_here(folder: Path) -> None:
    leaving = folder.with_name(f".{folder.name}.deleted")
    try:
        if leaving.exists():  # of a command that was interrupted
            shutil.rmtree(leaving)
        os.rename(folder, leaving)
        shutil.rmtree(leaving)
    except OSError as error:
        raise InputError(f"{error.filename or folder} cannot be deleted: {error.strerror}") from None


def _read(folder: StoragePath) -> object:
    """What the recipe of the run says; nothing, where there is none."""
    try:
        return json.loads((folder / RECIPE).read_text())
    except (InputError, ValueError):
        return {}


def _kind(recipe: object) -> str | None:
    return next((kind for key, kind in KINDS.items() if isinstance(recipe, dict) and key in recipe), None)
