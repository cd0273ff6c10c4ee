"""Where a job keeps what MLflow is still to be told: in its folder of results, or on this machine if that is in a store, since a store lets
nobody add to a file; what is left at the end is then kept in the store, for the next command."""

import hashlib
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath, make_folder
from ms2sl.io.user_cache import user_cache
from ms2sl.tracking.outbox import Outbox

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
    _fetch(folder, here)
    try:
        yield
    finally:
        try:
            for each in _kept(folder):
                if not (here / each.name).exists():
                    each.delete()
            folder.upload(here)
            shutil.rmtree(here, ignore_errors=True)
        except InputError as error:  # which must not hide how the work ended
            print(f"what MLflow has not been told waits in {here}, for the next command on this machine: {error}")


def _fetch(folder: StoragePath, here: Path) -> None:
    """Brings what the store has, and adds what a command of this machine that was killed has left untold."""
    make_folder(here.parent)
    fetched = here.with_name(f".{here.name}-{secrets.token_hex(4)}")
    make_folder(fetched)
    for each in _kept(folder):
        each.download(fetched / each.name)
    for left in here.rglob("*.jsonl"):
        untold = left.read_bytes()[Outbox(left).sent :]
        make_folder((fetched / left.relative_to(here)).parent)
        with open(fetched / left.relative_to(here), "ab") as file:
            file.write(untold)
    shutil.rmtree(here, ignore_errors=True)
    fetched.rename(here)


def _kept(folder: StoragePath) -> list[StoragePath]:
    return [each for each in folder.children() if each.name.startswith(NAMES) or each.name == OF_TRIALS]
