"""Where the service finds what is named by a relative path: other processes, on other machines, were started in other folders."""

import os
from collections.abc import Sequence
from pathlib import Path

import ray

from ms2sl.errors import InputError
from ms2sl.io.uri import is_registered, is_uri
from ms2sl.model_uri import ResolvedModel, resolve_model
from ms2sl.tracking.mlflow_server import sqlite_file
from ms2sl.training.checkpoint import CONFIG

CHECKOUT = Path(__file__).absolute().parents[1]  # that holds this program
DATABASE = "sqlite:///runs/mlflow.db"


def bases() -> Sequence[Path]:
    """Folders that a relative path may start from, the first wins: that in which a user works, and the checkout.

    A process of Ray's own works in the folder in which its node was started, which says little: there the checkout comes first.
    """
    by_ray = ray.is_initialized() and ray.get_runtime_context().worker.mode == ray.WORKER_MODE
    return (CHECKOUT, Path.cwd()) if by_ray else (Path.cwd(), CHECKOUT)


def absolute(path: Path | str, proof: str = "") -> Path:
    """The first that is there, or else the first. proof: a file by which a folder is known."""
    places = [base / path for base in bases()]
    return next((place for place in places if (place / proof).exists()), places[0])


def find(model: str, tracking: str | None) -> ResolvedModel:
    """A checkpoint folder or registered model, from wherever it is asked for.

    tracking: MLflow's URI; by default ``MLFLOW_TRACKING_URI``, or else the database in ``runs``.
    Raises InputError if there is no such model.
    """
    if not is_registered(model):
        return resolve_model(model if is_uri(model) else str(absolute(model, CONFIG)))
    uri = tracking or os.environ.get("MLFLOW_TRACKING_URI") or DATABASE
    if (database := sqlite_file(uri)) is None:
        return resolve_model(model, uri)
    if not (found := absolute(database)).exists():
        looked = " and no ".join(map(str, dict.fromkeys(base / database for base in bases())))
        raise InputError(f"{model} cannot be looked up: there is no {looked}; give tracking, MLflow's URI, or a folder as the model")
    return resolve_model(model, f"sqlite:///{found}")
