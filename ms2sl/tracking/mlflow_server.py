"""The connection of this process to an MLflow server or database: whether it answers, and when to try again."""

import fcntl
import functools
import logging
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from ms2sl.extras import extra
from ms2sl.io.storage import AnyPath, StoragePath
from ms2sl.io.uri import public

log = logging.getLogger(__name__)

T = TypeVar("T")
RETRY = 10.0  # seconds after which a server that did not answer is tried again ...
AT_ONCE = 1.0  # ... and those after which somebody tries it who cannot wait so long
ENVIRONMENT = {  # defaults of ours; what the user has set stands
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class Away(Exception):
    """The server does not answer, or did not a moment ago."""


class Server:
    """One for each tracking URI of a process, so that an outage costs its time-out once and is told once."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.away_since: float | None = None
        self._failed = 0.0
        self._client: Any = None
        self._lock = threading.RLock()

    def ask(self, function: Callable[[Any], T], *, at_once: bool = False) -> T:
        """``function`` of MLflow's client. Raises Away, or what the function raises though the server is there.

        at_once: try sooner than after ``RETRY``, though not once more for everybody who waits to end.
        """
        with self._lock:
            if self.away_since is not None and time.monotonic() - self._failed < (AT_ONCE if at_once else RETRY):
                raise Away
            try:
                self._client = self._client or connect(self.uri)
                result = function(self._client)
            except Exception as error:
                if self._answers():
                    raise
                self._lost(error)
                raise Away from None
            self._found()
            return result

    def _answers(self) -> bool:
        try:
            self._client.search_experiments(max_results=1)
        except Exception:  # whatever MLflow, its database or the network raise; AttributeError where there is no connection yet
            return False
        return True

    def _lost(self, error: Exception) -> None:
        self._failed = time.monotonic()
        if self.away_since is None:
            self.away_since = time.monotonic()
            log.warning(
                "MLflow at %s does not answer (%s): work goes on, and what MLflow is to be told is sent when it is back; "
                "check the tracking URI, the server and its disk",
                public(self.uri),
                reason(error),
            )

    def _found(self) -> None:
        if self.away_since is not None:
            log.warning("MLflow at %s is back after %.0f s", public(self.uri), time.monotonic() - self.away_since)
            self.away_since = None


@functools.cache
def server(uri: str) -> Server:
    return Server(uri)


def connect(uri: str) -> Any:
    """A client of MLflow. A database is tried first, because MLflow itself tries for minutes before it gives up on one."""
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it warns of each try
    with extra("tracking"):
        from mlflow import MlflowClient

    if not re.match(r"(sqlite|postgresql|mysql|mssql)\b", uri):
        return MlflowClient(uri, registry_uri=uri)
    with _migrating(uri):
        _try_database(uri)
        client = MlflowClient(uri, registry_uri=uri)  # makes the tables where they are not there yet
        client.search_registered_models(max_results=1)  # opens the registry's store too, which may do the same
    return client


@contextmanager
def _migrating(uri: str) -> Iterator[None]:
    """One process at a time makes the tables of a database: two would spoil each other's migrations, which MLflow does not prevent.

    Where nothing can be locked (another user's file, a file system without locks) they are made all the same.
    """
    lock = Path(tempfile.gettempdir()) / f"ms2sl-mlflow-{os.getuid()}-{blake2b(uri.encode(), digest_size=8).hexdigest()}.lock"
    if database := sqlite_file(uri):
        database.parent.mkdir(parents=True, exist_ok=True)
        if os.access(database.parent, os.W_OK):  # else the tables are there
            lock = database.with_name(f".{database.name}.lock")
    with ExitStack() as held:
        try:
            fcntl.flock(held.enter_context(lock.open("a")), fcntl.LOCK_EX)
        except OSError as error:
            log.debug("%s cannot be locked: %s", lock, error)
        yield


def _try_database(uri: str) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    try:
        sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def default_uri(folder: AnyPath) -> str:
    """The tracking URI of a folder of runs: a database in it, absolute, since workers run in other directories. A store holds no database:
    of a folder in one, ``MLFLOW_TRACKING_URI``, or else the database in ``runs`` of this machine."""
    runs = StoragePath(folder)
    if not runs.is_local and (server := os.environ.get("MLFLOW_TRACKING_URI")):
        return server
    return f"sqlite:///{Path(runs if runs.is_local else 'runs').resolve() / 'mlflow.db'}"


def sqlite_file(uri: str) -> Path | None:
    """The file of an sqlite URI (``sqlite:///relative`` or ``sqlite:////absolute``), None for any other."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def absolute_uri(uri: str) -> str:
    database = sqlite_file(uri)
    return f"sqlite:///{database.resolve()}" if database else uri


def reason(error: Exception) -> str:
    """In one line and without passwords."""
    return public(" ".join(f"{type(error).__name__}: {error}".split())[:500])
