"""One command at a time works in a run: a lock of the file system, or in a store, which has none, a sign of life that is renewed."""

import fcntl
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jobs.overwrite import RunOptions
from jobs.repeating import every
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath

RENEWED = 10.0  # seconds between signs of life in a store
SILENCE = 40.0  # seconds without one, after which the command that gave them has ended
SETTLED = 3.0  # seconds after which one of two that began together sees the other


@contextmanager
def held(options: RunOptions) -> Iterator[None]:
    """Keeps the run for this process, however that ends; in a store for some seconds beyond it.

    Raises InputError if another command works on it, and says which, and if the lock cannot be written (another user's).
    """
    runs = StoragePath(options.runs)
    name = f".{options.name}.lock"
    with _locked(Path(runs) / name, options.folder) if runs.is_local else _alive((runs / name).hasty(), options.folder):
        yield


@contextmanager
def _locked(path: Path, folder: StoragePath) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}): choose another --name, or a folder of --runs in which you may write"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise _taken(folder, file.read()) from None
        except OSError as error:
            print(f"{path} cannot be locked ({error.strerror}): take care that no other command works in {folder}")
        file.truncate(0)
        file.write(_this_process())
        file.flush()
        yield


@contextmanager
def _alive(lock: StoragePath, folder: StoragePath) -> Iterator[None]:
    """Writes other words into the lock again and again; who sees them change sees that somebody works."""
    _wait_for_silence(lock, folder)
    sign = _Sign(lock)
    sign.renew()
    time.sleep(SETTLED)
    if not sign.stands():
        raise _taken(folder, _owner(_read(lock) or ""))

    def renew() -> None:
        with suppress(InputError):  # the store is away
            if not sign.stands():
                print(f"another command has taken {folder} over ({_owner(_read(lock) or '')}): this one ends at once", flush=True)
                os._exit(1)  # whatever would be written at an ordinary end, the run is the other's now
            sign.renew()

    try:
        with every(RENEWED, renew):
            yield
    finally:
        try:
            if sign.stands():
                lock.delete()
        except InputError as error:  # which must not hide how the work ended
            print(f"the next command waits {SILENCE:.0f} s for {folder}: {error}")


def _wait_for_silence(lock: StoragePath, folder: StoragePath) -> None:
    """Raises InputError if the command that has signed the lock still works."""
    if (found := _read(lock)) is None:
        return
    print(f"waiting {SILENCE:.0f} s to see whether another command still works in {folder} ({_owner(found)})", flush=True)
    until = time.monotonic() + SILENCE
    while time.monotonic() < until:
        time.sleep(RENEWED / 5)
        now = _read(lock)
        if now is None:  # it has ended in the meantime
            return
        if now != found:
            raise _taken(folder, _owner(now))


class _Sign:
    """The sign of life of this command, in a lock."""

    def __init__(self, lock: StoragePath):
        self.lock, self.token, self.number = lock, secrets.token_hex(8), 0
        self.who = _this_process()

    def renew(self) -> None:
        self.number += 1
        self.lock.write(f"{self.who}\n{self.token}\n{self.number}".encode())

    def stands(self) -> bool:
        """Whether nobody else has signed, or has taken the lock away."""
        return self.token in (_read(self.lock) or "")


def _read(lock: StoragePath) -> str | None:
    try:
        return lock.read_text() if lock.exists() else None
    except InputError:
        if lock.exists():
            raise
        return None  # it went in between


def _owner(found: str) -> str:
    return found.partition("\n")[0]


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}"


def _taken(folder: StoragePath, owner: str) -> InputError:
    return InputError(f"another command works in {folder} ({owner}): wait for it, or choose another --name")
