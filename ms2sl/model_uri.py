"""Models by where they lie: a checkpoint folder, here or in a store, or a registered model of MLflow (``models:/ms2sl@champion``,
``models:/ms2sl/3``)."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms2sl.errors import InputError
from ms2sl.extras import extra
from ms2sl.io.storage import StoragePath
from ms2sl.io.uri import REGISTERED, is_registered, model_parts, public
from ms2sl.systems.registry import read_producer_card
from ms2sl.tracking.mlflow_server import absolute_uri, connect, sqlite_file
from ms2sl.training.checkpoint import CONFIG, WEIGHTS, fingerprint, publish

CHAMPION, CANDIDATE = "champion", "candidate"  # aliases of a registered model: what is served, what was trained last


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model that stays what it is. place: a folder, its URI, or ``models:/name/version``; version: what to call it, without telling where
    it lies; tracking: URI of MLflow."""

    place: str
    version: str
    tracking: str | None = None

    @property
    def registered(self) -> bool:
        return is_registered(self.place)

    @contextmanager
    def folder(self) -> Iterator[StoragePath]:
        """The checkpoint folder; a registered model is fetched to this machine, and its copy deleted at the end.

        Raises InputError if it cannot be had.
        """
        if not self.registered:
            yield StoragePath(self.place)
            return
        with extra("tracking"):
            from mlflow.artifacts import download_artifacts

        name, _, number = model_parts(self.place)
        with tempfile.TemporaryDirectory(prefix="ms2sl-model-") as temporary:
            try:
                source = connect(self.tracking).get_model_version_download_uri(name, number)
                found = Path(download_artifacts(source, dst_path=temporary, tracking_uri=self.tracking))
            except Exception as error:  # of MLflow, of its store, of the network
                raise InputError(f"{self.place} cannot be fetched: {_reason(error)}") from None
            folders = [path.parent for path in found.rglob(WEIGHTS) if (path.parent / CONFIG).exists()]
            if len(folders) != 1:
                raise InputError(f"{self.place} is no model of this project: it has no {CONFIG} beside {WEIGHTS}")
            yield StoragePath(folders[0])


def resolve_model(model: str, tracking: str | None = None) -> ResolvedModel:
    """The version that an alias points to now, or a folder with its weights as they are now.

    tracking: URI of MLflow, which a registered model needs. Raises InputError if there is no such model.
    """
    if not is_registered(model):
        folder = StoragePath(model)
        read_producer_card(folder)
        return ResolvedModel(folder.uri, fingerprint(folder))
    uri, found = _look_up(model, tracking)
    return ResolvedModel(f"{REGISTERED}{found.name}/{found.version}", f"{found.name}/{found.version}", uri)


def fetch(model: str, tracking: str, folder: StoragePath) -> tuple[str, StoragePath]:
    """The version of a registered model, and its checkpoint, which is fetched into ``folder`` unless it is there.

    The name of the checkpoint has the version, and a hash that tells it from the same version in another registry. Raises InputError.
    """
    uri, found = _look_up(model, tracking)
    identity = hashlib.blake2b(f"{found.source} {found.creation_timestamp}".encode(), digest_size=4).hexdigest()
    checkpoint = folder / f"{found.name}-{found.version}-{identity}"
    if not (checkpoint / CONFIG).exists():
        with ResolvedModel(f"{REGISTERED}{found.name}/{found.version}", "", uri).folder() as source:
            _copy(Path(source), checkpoint)
    return str(found.version), checkpoint


def _copy(source: Path, place: StoragePath) -> None:
    if not place.is_local:  # whose name says its version: another command may have put the same there, and read it
        place.upload(source, last=CONFIG)
        return
    target = Path(place)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as temporary:
            publish(source, Path(temporary) / target.name)
            try:
                os.rename(Path(temporary) / target.name, target)
            except OSError:
                if not target.exists():  # else another command has fetched it in the meantime
                    raise
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror or error}; free space there or choose another folder") from None


def _look_up(model: str, tracking: str | None) -> tuple[str, Any]:
    """The tracking URI, absolute, and what MLflow knows of the version."""
    try:
        name, alias, number = model_parts(model)
    except ValueError as error:
        raise InputError(str(error)) from None
    if tracking is None:
        raise InputError(f"{model} is looked up in MLflow: give tracking, its URI")
    uri = absolute_uri(tracking)
    if (database := sqlite_file(uri)) and not database.exists():  # MLflow would make it
        raise InputError(f"{model} cannot be looked up: there is no MLflow database at {database}; give tracking, MLflow's URI")
    try:
        client = connect(uri)
        return uri, client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
    except Exception as error:  # of MLflow, of its store, of the network
        raise InputError(f"{model} is not registered at {public(uri)}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return public((str(error) or repr(error)).splitlines()[0])
