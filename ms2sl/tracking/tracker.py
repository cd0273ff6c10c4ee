"""MLflow: one run, its artifacts, and the registered models that come out of it.

MLflow serves training and never the other way round: nothing here raises, and nothing waits for a server that is away.
"""

import functools
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ms2sl.config import flatten
from ms2sl.io.storage import AnyPath, StoragePath
from ms2sl.io.uri import public
from ms2sl.tracking import heartbeat, mlflow_operations
from ms2sl.tracking.mlflow_operations import PARENT, REPORTS, WEIGHTS
from ms2sl.tracking.mlflow_server import Away, absolute_uri, default_uri, reason, server
from ms2sl.tracking.outbox import METRICS, Outbox, accepted

__all__ = ["PARENT", "WEIGHTS", "Tracker", "default_uri", "flatten", "git_commit"]

log = logging.getLogger(__name__)

T = TypeVar("T")
PACKAGE = Path(__file__).parent

INTERVAL = 1.0  # seconds between two looks for what is to be sent
REFUSED = 10.0  # seconds after which a run that MLflow would not start is asked for again
LONGEST_VALUE = 6000  # characters of a parameter that MLflow accepts
TOGETHER = 100  # reports that are sent at once


def git_commit() -> str | None:
    """Commit of the source tree of this package, ``+dirty`` if tracked files differ from it; None if it lies in no repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PACKAGE), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # a repository may merely hold the environment we are installed in
        return git("rev-parse", "HEAD") + ("+dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


class Tracker:
    """A handle on one MLflow run. Without a run (``Tracker()``) it does nothing.

    No method raises. What is reported goes into an outbox, and from there to MLflow: by a thread if ``open`` made the tracker, which also
    gives signs of life until ``finish``; else at once. While MLflow is away the outbox keeps what comes, with its time. Each outage is a
    warning at its begin and one at its end. What MLflow refuses is warned of once and left out. Pickling keeps the run alone.
    """

    def __init__(self, uri: str | None = None, run_id: str | None = None, outbox: Path | None = None) -> None:
        """outbox: file that keeps what could not be sent, for the next tracker of this run and this file; a temporary one by default."""
        self.uri = absolute_uri(uri) if uri else None
        self.outbox = Outbox(outbox)
        self.run_id = run_id  # None until there is one
        self._begin: Callable[[bool], None] | None = None
        self._end: str | None = None
        self._thread: threading.Thread | None = None
        self._tried, self._over = threading.Event(), threading.Event()
        self._not_before, self._next_beat = 0.0, 0.0
        self._warned: set[str] = set()

    @classmethod
    def open(
        cls,
        uri: str,
        experiment: str,
        run_name: str,
        *,
        run_id: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        parent: "Tracker | None" = None,
        key: str | None = None,
        outbox: Path | None = None,
        on_start: Callable[[str], Any] = lambda run_id: None,
    ) -> "Tracker":
        """Starts a run, or goes on with ``run_id``, after one try of which it returns; if MLflow is away, as soon as it is back.

        params: nested mappings become dotted names. Those of a resumed run stay as they were logged first, and what differs now is kept
        in tags ``resumed.<name>``. tags: those that are None are left out. parent: the run above it, whose child with the same tag
        ``key`` is this run, if there is one. on_start: is told the id of the run once there is one, maybe in another thread.
        """
        tracker, labels = cls(uri, run_id, outbox), _labels(tags or {})

        def begin(at_once: bool) -> None:
            if parent is not None and parent.run_id is None:
                raise Away
            above = {} if parent is None else {PARENT: parent.run_id}

            def start(client: Any) -> str:
                known = tracker.run_id
                if above and key and not known:
                    known = mlflow_operations.child(client, parent.run_id, key, labels[key])
                if known and mlflow_operations.go_on(client, known, run_name):
                    return known
                if known:
                    log.warning("MLflow at %s has no run %s to resume; a new run begins", public(tracker.uri), known)
                return mlflow_operations.create(client, tracker.uri, experiment, run_name, {**labels, **above})

            tracker.run_id = server(tracker.uri).ask(start, at_once=at_once)
            on_start(tracker.run_id)

        tracker._begin = begin
        plain = {accepted(key): public(value)[:LONGEST_VALUE] for key, value in flatten(params or {})}
        tracker._report(lambda: tracker.outbox.add("describe", params=plain, tags=labels))
        tracker._thread = threading.Thread(target=tracker._work, name=f"MLflow run {run_name}", daemon=True)
        tracker._thread.start()
        tracker._tried.wait()
        return tracker

    def metrics(self, values: Mapping[str, Any], step: int) -> None:
        """Those of the values that are finite numbers (scalar arrays and tensors too)."""
        self._report(lambda: self.outbox.add_metrics(values, step))

    def tags(self, values: Mapping[str, Any]) -> None:
        """Those that are not None."""
        self._report(lambda: self.outbox.add("tags", values=_labels(values)))

    def artifact(self, path: AnyPath, folder: str | None = None) -> None:
        """A file, or a folder under its own name, as it is when it is sent. In a store it is read then without credentials of a URI."""
        self._report(lambda: self.outbox.add("artifact", path=StoragePath(path).uri, folder=folder))

    def text(self, content: str, path: str) -> None:
        self._report(lambda: self.outbox.add("text", content=content, path=path))

    def dictionary(self, values: Mapping[str, Any], path: str) -> None:
        """As YAML where the path ends so, and as JSON otherwise."""
        self._report(lambda: self.outbox.add("dictionary", values=dict(values), path=path))

    def running(self) -> bool | None:
        """Whether MLflow says so; None if it says nothing."""
        return self._now("running", lambda client: client.get_run(self.run_id).info.status == "RUNNING")

    def register(self, checkpoint: AnyPath, name: str, alias: str, tags: Mapping[str, str] | None = None) -> str | None:
        """Makes a checkpoint folder a version of ``models:/name``, with these tags, and points ``models:/name@alias`` to it.

        It loads with ``mlflow.pyfunc`` and holds the weights, this package, and neither Ray nor a pickle. Weights that this run has
        registered before become no second version. Returns the version, or None if that could not be done now.
        """

        def register(client: Any) -> str:
            return mlflow_operations.register(client, self.run_id, StoragePath(checkpoint), name, alias, tags or {})

        return self._now("register", register, at_once=True)

    def finish(self, status: str = "FINISHED") -> bool:
        """Sends what is left and ends the run (``FINISHED``, ``FAILED`` or ``KILLED``); tries that even in an outage.

        Returns whether MLflow knows all there is to know.
        """
        if self.uri is None:
            return True
        self._end = status
        if self._thread is None:
            self._send(at_once=True)
        else:
            self._over.set()
            self._thread.join()
        if self._end is None:
            return True
        how = f"the next command of this run tells it, from {self.outbox.path}" if self.outbox.kept else "that is lost"
        log.warning("MLflow at %s has not been told all of this run: %s", public(self.uri), how)
        return False

    def _now(self, what: str, function: Callable[[Any], T], at_once: bool = False) -> T | None:
        """The answer of MLflow, or None if it gives none."""
        if self.run_id is None:
            return None
        try:
            return server(self.uri).ask(function, at_once=at_once)
        except Away:
            return None
        except Exception as error:
            self._warn(what, error)
            return None

    def _report(self, add: Callable[[], None]) -> None:
        if self.uri is None:
            return
        try:
            add()
        except Exception as error:  # a full disk, or a report that is no JSON
            self._warn("a report", error)
        if self._begin is None and self._thread is None:
            self._send(at_once=False)

    def _work(self) -> None:
        """The thread of a run that goes on."""
        over = False
        while not over:
            over = self._over.wait(INTERVAL if self._tried.is_set() else 0)
            self._send(at_once=over)

    def _send(self, at_once: bool) -> None:
        """All that can be sent now."""
        try:
            if time.monotonic() >= self._not_before or at_once:
                self._send_all(at_once)
        except Away:
            pass
        except Exception as error:  # MLflow would not start or end the run, or the outbox cannot be read
            self._not_before = time.monotonic() + REFUSED
            self._warn("the run", error)
        finally:
            self._tried.set()

    def _send_all(self, at_once: bool) -> None:
        """Raises Away, and what MLflow raises where it refuses the run itself."""
        if self._begin is not None:
            self._begin(at_once)
            self._begin, self._next_beat = None, time.monotonic() + heartbeat.INTERVAL
            self._tried.set()
            self._now("end_abandoned", lambda client: heartbeat.end_abandoned(client, self.run_id))
        if self.run_id is None:
            return
        ask = functools.partial(server(self.uri).ask, at_once=at_once)
        while (found := self._unsent()) is not None:
            operation, arguments, end = found
            try:
                ask(functools.partial(REPORTS[operation], run_id=self.run_id, **arguments))
            except Away:
                raise
            except Exception as error:  # the server is there and refuses this
                self._warn(operation, error)
            self.outbox.sent = end
            self._beat(ask)
        self._beat(ask)
        if self._end is not None:
            ask(lambda client: client.set_terminated(self.run_id, self._end))
            self._end = None
        if self._thread is None and self.outbox.kept:
            self.outbox.delete()

    def _beat(self, ask: Callable) -> None:
        if self._thread is not None and time.monotonic() > self._next_beat:
            ask(lambda client: heartbeat.drive(client, self.run_id))
            self._next_beat = time.monotonic() + heartbeat.INTERVAL

    def _unsent(self) -> tuple[str, dict, int] | None:
        """The next operation, its arguments and where it ends; metrics that follow each other are one."""
        reports, end = [], None
        for entry, after in self.outbox.read(self.outbox.sent):
            operation = entry.pop("operation")
            if operation != METRICS:
                return (METRICS, {"reports": reports}, end) if reports else (operation, entry, after)
            reports, end = [*reports, entry], after
            if len(reports) == TOGETHER:
                break
        return (METRICS, {"reports": reports}, end) if reports else None

    def _warn(self, what: str, error: Exception) -> None:
        """Once for each thing that fails."""
        if what not in self._warned:
            self._warned.add(what)
            log.warning("MLflow at %s failed in %s: %s (work goes on without it)", public(self.uri), what, reason(error))

    def __reduce__(self):
        return Tracker, (self.uri, self.run_id)


def _labels(tags: Mapping[str, Any]) -> dict[str, str]:
    return {key: public(value) for key, value in tags.items() if value is not None}
