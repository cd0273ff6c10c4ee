"""What a tracker does with MLflow's client: functions of the client, an id of a run, and plain arguments. They raise what MLflow raises."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ms2sl.io.storage import StoragePath
from ms2sl.tracking import heartbeat
from ms2sl.tracking.mlflow_server import sqlite_file
from ms2sl.training.checkpoint import fingerprint

PARENT = "mlflow.parentRunId"  # tag of a run under another
WEIGHTS = "ms2sl.weights"  # tag of a registered model: fingerprint of its checkpoint
BATCH = 100  # parameters and tags that MLflow accepts at once
MOST_METRICS = 1000  # that MLflow accepts at once


def go_on(client: Any, run_id: str, name: str) -> bool:
    """Makes a run RUNNING again; False if it is gone."""
    from mlflow.exceptions import MlflowException

    try:
        client.update_run(run_id, name=name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    heartbeat.drive(client, run_id)
    return True


def create(client: Any, uri: str, experiment: str, name: str, tags: Mapping[str, str]) -> str:
    """Id of a new run."""
    labels = {**tags, **heartbeat.signs_of_life()}
    return client.create_run(experiment_id(client, uri, experiment), tags=labels, run_name=name).info.run_id


def experiment_id(client: Any, uri: str, name: str) -> str:
    """Of the experiment of this name; beside an sqlite file its artifacts lie in ``mlartifacts``, and a server knows where to put them."""
    database = sqlite_file(uri)
    location = str(database.parent / "mlartifacts") if database else None
    if client.get_experiment_by_name(name) is None:
        _create_unless_there(client.create_experiment, name, location)
    return client.get_experiment_by_name(name).experiment_id


def child(client: Any, parent: str, tag: str, value: str) -> str | None:
    """Id of the run under another that has this tag, if there is one."""
    experiment = client.get_run(parent).info.experiment_id
    found = client.search_runs([experiment], f"tags.{PARENT} = '{parent}' and tags.{tag} = '{value}'")
    return found[0].info.run_id if found else None


def describe(client: Any, run_id: str, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
    """Parameters stay as they were logged first; a tag ``resumed.<name>`` tells what differs now."""
    from mlflow.entities import Param, RunTag

    before = client.get_run(run_id).data.params
    changed = {f"resumed.{key}": value for key, value in params.items() if before.get(key, value) != value}
    labels = [RunTag(key, value) for key, value in {**tags, **changed}.items()]
    new = [Param(key, value) for key, value in params.items() if key not in before]
    for start in range(0, max(len(new), len(labels)), BATCH):
        client.log_batch(run_id, params=new[start : start + BATCH], tags=labels[start : start + BATCH])


def metrics(client: Any, run_id: str, reports: Sequence[Mapping[str, Any]]) -> None:
    """Each report: ``values``, ``step``, ``milliseconds``. What MLflow knows already is no second value."""
    from mlflow.entities import Metric

    found = [Metric(key, value, each["milliseconds"], each["step"]) for each in reports for key, value in each["values"].items()]
    for start in range(0, len(found), MOST_METRICS):
        client.log_batch(run_id, metrics=found[start : start + MOST_METRICS])


def tags(client: Any, run_id: str, values: Mapping[str, str]) -> None:
    for key, value in values.items():
        client.set_tag(run_id, key, value)


def artifact(client: Any, run_id: str, path: str, folder: str | None) -> None:
    with StoragePath(path).reading() as here:
        client.log_artifact(run_id, str(here), folder)


def text(client: Any, run_id: str, content: str, path: str) -> None:
    client.log_text(run_id, content, path)


def dictionary(client: Any, run_id: str, values: Mapping[str, Any], path: str) -> None:
    client.log_dict(run_id, dict(values), path)


def register(client: Any, run_id: str, checkpoint: StoragePath, name: str, alias: str, tags: Mapping[str, str]) -> str:
    """The version of ``models:/name`` that this checkpoint is, a new one unless the run has registered these weights; moves the alias."""
    with checkpoint.reading() as folder:
        weights = fingerprint(folder)
        known = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
        versions = [version.version for version in known if version.tags.get(WEIGHTS) == weights]
        version = versions[0] if versions else _new_version(client, run_id, folder, name, {**tags, WEIGHTS: weights})
    client.set_registered_model_alias(name, alias, version)
    return str(version)


def _new_version(client: Any, run_id: str, checkpoint: Path, name: str, tags: Mapping[str, str]) -> str:
    from mlflow.entities import LoggedModelOutput

    from ms2sl.mlflow_model import save

    model = client.create_logged_model(client.get_run(run_id).info.experiment_id, name=name, source_run_id=run_id)
    beside = checkpoint.parent if os.access(checkpoint.parent, os.W_OK) else None  # on the same disk the weights need not be copied
    with tempfile.TemporaryDirectory(dir=beside, prefix=".mlflow-") as folder:
        save(checkpoint, Path(folder) / name, run_id=run_id, model_id=model.model_id)
        client.log_model_artifacts(model.model_id, f"{folder}/{name}")
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    _create_unless_there(client.create_registered_model, name)
    # The place and not models:/<id>, which MLflow would look up at its global tracking URI.
    return client.create_model_version(name, model.artifact_location, run_id, tags=dict(tags), model_id=model.model_id).version


def _create_unless_there(create: Callable, *args: Any) -> None:
    from mlflow.exceptions import MlflowException

    try:
        create(*args)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


REPORTS = {function.__name__: function for function in (describe, metrics, tags, artifact, text, dictionary)}
