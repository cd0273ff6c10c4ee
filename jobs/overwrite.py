"""``--overwrite``: an earlier run of this name is forgotten, and nothing else that may lie in its place."""

import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

from ms2sl.errors import InputError

KINDS = {"space": "sweep", "task": "training"}  # by a key of its recipe


class RunOptions(Protocol):
    """A command of a run.

    learns: options to record, in ``recipe.json``, which decide what is learned or found. changeable: the names of those that do not
    (``ms2sl.config.changeable``).
    """

    @property
    def name(self) -> str: ...
    @property
    def runs(self) -> Path: ...
    @property
    def overwrite(self) -> bool: ...
    @property
    def changeable(self) -> Collection[str]: ...
    @property
    def folder(self) -> Path: ...
    @property
    def learns(self) -> dict: ...
    @classmethod
    def model_construct(cls, *args: Any, **values: Any) -> Any: ...
    @classmethod
    def under_current_names(cls, recorded: dict) -> dict: ...


def forget(options: RunOptions) -> None:
    """Deletes the run's folder; there may be none. It is renamed first, so what is left where this is interrupted is no run.

    Raises InputError if the folder is a link, holds no run of this kind, or cannot be deleted.
    """
    folder, kind = options.folder, _kind(options.learns)
    if folder.is_symlink():
        raise InputError(f"{folder} is a link and is not deleted: delete it yourself, or choose another --name")
    if not folder.exists():
        return
    found = _kind(_read(folder))
    if found != kind and (found or any(folder.iterdir())):
        what = f"a {found} and no {kind}" if found else f"no {kind}"
        raise InputError(f"{folder} holds {what}, and is not deleted: delete it yourself, or choose another --name")
    leaving = folder.with_name(f".{folder.name}.deleted")
    try:
        if leaving.exists():  # of a command that was interrupted
            shutil.rmtree(leaving)
        os.rename(folder, leaving)
        shutil.rmtree(leaving)
    except OSError as error:
        raise InputError(f"{error.filename or folder} cannot be deleted: {error.strerror}") from None


def _read(folder: Path) -> object:
    """What the recipe of the run says; nothing, where there is none."""
    try:
        return json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _kind(recipe: object) -> str | None:
    return next((kind for key, kind in KINDS.items() if isinstance(recipe, dict) and key in recipe), None)
