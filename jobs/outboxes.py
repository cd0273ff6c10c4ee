"""Where a job keeps what MLflow is still to be told: in its folder of results, or on this machine if that is in a store, since a store lets
nobody add to a file; what is left at the end is then kept in the store, for the next command."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ms2sl.io.storage import StoragePath
from ms2sl.io.user_cache import user_cache

NAMES = ("mlflow.", "mlflow-")  # what the names of outboxes begin with; those of the trials of a sweep are in a folder
OF_TRIALS = "mlflow"


def outboxes(folder: StoragePath) -> Path:
    """The folder on this machine that has the outboxes of a folder of results."""
    if folder.is_local:
        return Path(folder)
    return user_cache() / "outboxes" / hashlib.blake2b(str(folder).encode(), digest_size=8).hexdigest()


@contextmanager
def kept_outboxes(folder: StoragePath) -> Iterator[None]:
    """What an earlier command has left to be told is there while the context lasts, and what is left then is kept."""
    if folder.is_local:
        yield
        return
    here = outboxes(folder)
    if not here.exists():  # else a command of this machine was killed, whose outboxes are newer
        here.mkdir(parents=True)
        for each in _kept(folder):
            each.download(here / each.name)
    try:
        yield
    finally:
        for each in _kept(folder):
            if not (here / each.name).exists():
                each.delete()
        folder.upload(here)
        shutil.rmtree(here)


def _kept(folder: StoragePath) -> list[StoragePath]:
    return [each for each in folder.children() if each.name.startswith(NAMES) or each.name == OF_TRIALS]
