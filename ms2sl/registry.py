"""Models by where they lie: a checkpoint folder, or a registered model of MLflow (``models:/ms2sl@champion``, ``models:/ms2sl/3``)."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ms2sl.checkpoint import CONFIG, WEIGHTS, fingerprint, read_card
from ms2sl.errors import InputError
from ms2sl.mlflow_server import connect, default_uri
from ms2sl.uri import public

SCHEME = "models:/"
NAME, CHAMPION, CANDIDATE = "ms2sl", "champion", "candidate"  # the registered model; aliases: what is served, what was trained last


@dataclass(frozen=True, slots=True)
class Pinned:
    """A model that stays what it is. place: a folder or ``models:/name/version``; version: what to call it, without telling where it lies;
    tracking: URI of MLflow."""

    place: str
    version: str
    tracking: str | None = None

    @property
    def registered(self) -> bool:
        return self.place.startswith(SCHEME)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """The checkpoint folder, on this machine; a registered model is fetched, and its copy deleted at the end.

        Raises InputError if it cannot be had.
        """
        if not self.registered:
            yield Path(self.place)
            return
        from mlflow.artifacts import download_artifacts

        name, _, number = _parts(self.place)
        with tempfile.TemporaryDirectory(prefix="ms2sl-model-") as temporary:
            try:
                source = connect(self.tracking).get_model_version_download_uri(name, number)
                found = Path(download_artifacts(source, dst_path=temporary, tracking_uri=self.tracking))
            except Exception as error:  # of MLflow, of its store, of the network
                raise InputError(f"{self.place} cannot be fetched: {_reason(error)}") from None
            folders = [path.parent for path in found.rglob(WEIGHTS) if (path.parent / CONFIG).exists()]
            if len(folders) != 1:
                raise InputError(f"{self.place} is no model of this project: it has no {CONFIG} beside {WEIGHTS}")
            yield folders[0]


def pin(model: str, tracking: str | None = None) -> Pinned:
    """The version that an alias points to now, or a folder with its weights as they are now.

    tracking: URI of MLflow; by default the database in ``runs``. Raises InputError if there is no such model.
    """
    if not model.startswith(SCHEME):
        folder = Path(model).absolute()
        read_card(folder, "ms2sl")
        return Pinned(str(folder), fingerprint(folder))
    name, alias, number = _parts(model)
    uri = tracking or default_uri(Path("runs"))
    try:
        client = connect(uri)
        found = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
    except Exception as error:
        raise InputError(f"{model} is not registered at {public(uri)}: {_reason(error)}") from None
    return Pinned(f"{SCHEME}{name}/{found.version}", f"{name}/{found.version}", uri)


def _parts(model: str) -> tuple[str, str | None, str | None]:
    match = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", model)
    if match is None:
        raise InputError(f"'{model}' names no registered model: write models:/name@alias or models:/name/version")
    return match[1], match[2], match[3]


def _reason(error: Exception) -> str:
    return public((str(error) or repr(error)).splitlines()[0])
