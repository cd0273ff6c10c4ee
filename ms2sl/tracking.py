"""MLflow: one run, its artifacts, and the registered models that come out of it.

MLflow serves training and never the other way round: whatever goes wrong in it is logged once, and training goes on.
"""

import functools
import logging
import math
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ms2sl.uri import public

log = logging.getLogger(__name__)

PACKAGE = Path(__file__).parent

PATIENCE = 3  # failures in a row after which MLflow is left alone ...
PAUSE = 300.0  # ... for so many seconds
LONGEST_VALUE = 6000  # characters of a parameter that MLflow accepts
PARENT = "mlflow.parentRunId"  # tag of a run under another
WEIGHTS = "ms2sl.weights"  # tag of a registered model: fingerprint of its checkpoint
BATCH = 100  # parameters that MLflow accepts at once
ENVIRONMENT = {  # defaults of ours; what the user has set stands
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def default_uri(folder: Path) -> str:
    """The tracking URI of a folder of runs on this machine: absolute, since workers run in other directories."""
    return f"sqlite:///{Path(folder).resolve() / 'mlflow.db'}"


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


def _guarded(method: Callable) -> Callable:
    """Nothing without a run, nothing in a pause, and an exception becomes a warning and None."""

    @functools.wraps(method)
    def call(self: "Tracker", *args: Any, **kwargs: Any) -> Any:
        if self.run_id is None or time.time() < self._paused_until:
            return None
        try:
            result = method(self, *args, **kwargs)
        except Exception as error:
            self._failed(method.__name__, error)
            return None
        self._failures = 0
        return result

    return call


class Tracker:
    """A handle on one MLflow run. Without a run (``Tracker()``) it does nothing.

    No method raises. The first failure is logged as a warning; after ``PATIENCE`` failures in a row MLflow is left alone
    for ``PAUSE`` seconds, so that a dead server does not cost its time-out again and again. Pickling keeps the run and
    drops the connection.
    """

    def __init__(self, uri: str | None = None, run_id: str | None = None) -> None:
        self.uri = uri
        self._run_id = run_id
        self._connection = None
        self._failures = 0
        self._paused_until = 0.0
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
    ) -> "Tracker":
        """Starts a run, or goes on with ``run_id``. Should MLflow fail, the tracker does nothing.

        params: nested mappings become dotted names. Those of a resumed run stay as they were logged first, and what
        differs now is kept in tags ``resumed.<name>``. tags: those that are None are left out.
        """
        tracker = cls(uri)
        try:
            tracker.uri = _absolute(uri)
            tracker._run_id = tracker._start(experiment, run_name, run_id, _labels(tags or {}))
        except Exception as error:
            tracker._failed("open", error)
        tracker._describe(params or {}, tags or {})
        return tracker

    @property
    def run_id(self) -> str | None:
        return self._run_id

    @_guarded
    def metrics(self, values: Mapping[str, Any], step: int) -> None:
        """Those of the values that are finite numbers (scalar arrays and tensors too)."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        numbers = {_name(key): _number(value) for key, value in flatten(values)}
        found = [Metric(key, number, now, int(step)) for key, number in numbers.items() if number is not None]
        if found:
            self._client.log_batch(self.run_id, metrics=found)

    @_guarded
    def tags(self, values: Mapping[str, Any]) -> None:
        """Those that are not None."""
        for key, value in _labels(values).items():
            self._client.set_tag(self.run_id, key, value)

    @_guarded
    def running(self) -> bool:
        return self._client.get_run(self.run_id).info.status == "RUNNING"

    @_guarded
    def child(self, tag: str, value: Any) -> str | None:
        """Id of the run under this one that has this tag, if there is one."""
        experiment = self._client.get_run(self.run_id).info.experiment_id
        found = self._client.search_runs([experiment], f"tags.{PARENT} = '{self.run_id}' and tags.{tag} = '{value}'")
        return found[0].info.run_id if found else None

    @_guarded
    def artifact(self, path: Path, folder: str | None = None) -> None:
        """A file, or a folder under its own name."""
        self._client.log_artifact(self.run_id, str(path), folder)

    @_guarded
    def text(self, content: str, path: str) -> None:
        self._client.log_text(self.run_id, public(content), path)

    @_guarded
    def dictionary(self, values: Mapping[str, Any], path: str) -> None:
        """As YAML where the path ends so, and as JSON otherwise."""
        self._client.log_dict(self.run_id, _public(values), path)

    @_guarded
    def register(self, checkpoint: Path, name: str, alias: str, tags: Mapping[str, str] | None = None) -> str | None:
        """Makes a checkpoint folder the next version of ``models:/name``, with these tags, and points ``models:/name@alias`` to it.

        It loads with ``mlflow.pyfunc`` and holds the weights, this package, and neither Ray nor a pickle. Returns the version.
        """
        from mlflow.entities import LoggedModelOutput

        from ms2sl.checkpoint import fingerprint
        from ms2sl.mlflow_model import save

        client = self._client
        model = client.create_logged_model(client.get_run(self.run_id).info.experiment_id, name=name, source_run_id=self.run_id)
        with tempfile.TemporaryDirectory() as folder:
            save(Path(checkpoint), Path(folder) / name, run_id=self.run_id, model_id=model.model_id)
            client.log_model_artifacts(model.model_id, f"{folder}/{name}")
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, step=0)])
        _create_unless_there(client.create_registered_model, name)
        # The place and not models:/<id>, which MLflow would look up at its global tracking URI.
        version = client.create_model_version(
            name,
            model.artifact_location,
            self.run_id,
            tags={**(tags or {}), WEIGHTS: fingerprint(Path(checkpoint))},
            model_id=model.model_id,
        ).version
        client.set_registered_model_alias(name, alias, version)
        return str(version)

    def finish(self, status: str = "FINISHED") -> None:
        """Ends the run (``FINISHED``, ``FAILED`` or ``KILLED``); tries even in a pause, or the run would seem to go on for ever."""
        self._paused_until = 0.0
        self._finish(status)

    @_guarded
    def _finish(self, status: str) -> None:
        self._client.set_terminated(self.run_id, status)

    def _start(self, experiment: str, run_name: str, run_id: str | None, labels: dict[str, str]) -> str:
        from mlflow.exceptions import MlflowException

        if run_id is not None:
            try:
                self._client.update_run(run_id, status="RUNNING", name=run_name)
                return run_id
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                log.warning("MLflow at %s has no run %s to resume; a new run begins", public(self.uri), run_id)
        return self._client.create_run(self._experiment(experiment), tags=labels, run_name=run_name).info.run_id

    def _experiment(self, name: str) -> str:
        """Id of the experiment; beside an sqlite file its artifacts lie in ``mlartifacts``, and a server knows where to put them."""
        database = _sqlite_file(self.uri)
        location = str(database.parent / "mlartifacts") if database else None
        if self._client.get_experiment_by_name(name) is None:
            _create_unless_there(self._client.create_experiment, name, location)
        return self._client.get_experiment_by_name(name).experiment_id

    @_guarded
    def _describe(self, params: Mapping[str, Any], tags: Mapping[str, Any]) -> None:
        from mlflow.entities import Param, RunTag

        now = {_name(key): public(value)[:LONGEST_VALUE] for key, value in flatten(params)}
        before = self._client.get_run(self.run_id).data.params
        changed = {f"resumed.{key}": value for key, value in now.items() if before.get(key, value) != value}
        labels = [RunTag(key, value) for key, value in _labels({**tags, **changed}).items()]
        new = [Param(key, value) for key, value in now.items() if key not in before]
        for start in range(0, max(len(new), len(labels)), BATCH):
            self._client.log_batch(self.run_id, params=new[start : start + BATCH], tags=labels[start : start + BATCH])

    @property
    def _client(self) -> Any:
        if self._connection is None:
            self._connection = connect(self.uri)
        return self._connection

    def _failed(self, what: str, error: Exception) -> None:
        """One warning per outage, and no more than one for each thing that fails."""
        level = logging.DEBUG if self._failures or what in self._warned else logging.WARNING
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        advice = "work goes on without it; check the tracking URI, the server and its disk"
        log.log(level, "MLflow at %s failed in %s: %s (%s)", public(self.uri), what, public(reason), advice)
        self._warned.add(what)
        self._failures += 1
        if self._failures >= PATIENCE:
            self._paused_until = time.time() + PAUSE

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connection": None}


def connect(uri: str) -> Any:
    """A client of MLflow; a database is tried first, because MLflow itself tries for minutes before it gives up on one."""
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient

    if database := _sqlite_file(uri):
        database.parent.mkdir(parents=True, exist_ok=True)
    if re.match(r"(sqlite|postgresql|mysql|mssql)\b", uri):
        _try_database(uri)
    return MlflowClient(uri, registry_uri=uri)


def _try_database(uri: str) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    try:
        sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def _sqlite_file(uri: str) -> Path | None:
    """The file of an sqlite URI (``sqlite:///relative`` or ``sqlite:////absolute``), None for any other."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _absolute(uri: str) -> str:
    database = _sqlite_file(uri)
    return f"sqlite:///{database.resolve()}" if database else uri


def _create_unless_there(create: Callable, *args: Any) -> None:
    from mlflow.exceptions import MlflowException

    try:
        create(*args)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as dotted names and values."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _public(value: Any) -> Any:
    """Nested data with every text in it without credentials: what an earlier version wrote may have some."""
    if isinstance(value, Mapping):
        return {key: _public(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_public(inner) for inner in value]
    return public(value) if isinstance(value, str) else value


def _labels(tags: Mapping[str, Any]) -> dict[str, str]:
    return {key: public(value) for key, value in tags.items() if value is not None}


def _name(key: str) -> str:
    """A name that MLflow accepts (``R@5`` becomes ``R_5``), since one that it refuses would take the whole batch with it; to MLflow it is a
    path, of which no part may be empty or dots alone."""
    return "/".join(part if part.strip(".") else "_" for part in re.sub(r"[^\w./: -]", "_", key)[:250].split("/"))


def _number(value: Any) -> float | None:
    if isinstance(value, str | bytes):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None
    return number if math.isfinite(number) else None
