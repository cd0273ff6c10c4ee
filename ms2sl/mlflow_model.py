"""A checkpoint as an MLflow model: texts in, poses out. This file is the code that MLflow runs when it loads one:

model = mlflow.pyfunc.load_model("models:/ms2sl@champion")
model.predict(["hello"], params={"steps": 20, "seed": 1})
"""

import functools
import importlib.metadata
import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ms2sl.data.types import Utterance
from ms2sl.errors import InputError
from ms2sl.extras import extra
from ms2sl.io.tables import as_text
from ms2sl.training.checkpoint import publish

with extra("tracking"):
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import Model, ModelSignature, set_model
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

SEED = "seed"  # a parameter of every model of ours
REQUIREMENTS = ("torch", "numpy", "pandas", "pyarrow", "transformers", "safetensors", "pydantic", "pydantic-settings")
REQUIREMENTS += ("PyYAML", "av", "soundfile", "soxr", "pose-format", "cachetools")  # of the package, as far as it produces poses; no Ray


class SignModel(mlflow.pyfunc.PythonModel):
    """A model that signs, of whichever system, behind MLflow's interface for models."""

    def load_context(self, context: Any) -> None:
        from ms2sl.systems.registry import load_producer, read_producer_card, system

        _refuse_unknown_params()
        checkpoint = Path(context.artifacts["checkpoint"])
        self.system = system(read_producer_card(checkpoint).kind)
        self.producer = load_producer(checkpoint)

    # With the hint list[str], MLflow would take the first column of any table for the texts.
    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None):
        """Signs a list of texts, or the column ``text`` of a table.

        Returns a dict for each: ``text``, ``fps``, ``n_frames``, ``joints`` (frames, joints, dims) and ``confidence`` (frames, joints).

        params: the options of the system (``steps``, ``guidance`` and ``sampler`` of MS2SL), and the ``seed``: the same seed gives the same
        poses.
        Raises InputError for a table without the column, what is no text, a text that the model cannot sign, and other parameters.
        """
        known = params_of(self.system)
        check_params(params or {}, known)
        chosen, texts = known | (params or {}), texts_of(model_input)
        utterances = [Utterance(str(number), text=text) for number, text in enumerate(texts)]
        seed = chosen.pop(SEED)
        produced = self.producer.produce(utterances, self.system.options(chosen), seed=seed)
        return [
            {"text": text, "fps": poses.fps, "n_frames": poses.n_frames, "joints": poses.joints, "confidence": poses.confidence}
            for text, poses in zip(texts, produced, strict=True)
        ]


def texts_of(given: Any) -> list[str]:
    """The texts in what a model is given; one that is missing is empty. Raises InputError if there are none."""
    if isinstance(given, pd.DataFrame):
        columns = list(given.columns)
        found = [i for i, column in enumerate(columns) if str(column).strip().casefold() == "text"]
        if len(found) != 1 and columns != [0]:  # which is how pandas calls the column of a list of texts
            raise InputError(f"the table must have one column text; its columns are: {', '.join(map(str, columns))}")
        given = given.iloc[:, found[0] if found else 0]
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable) or np.ndim(given) != 1:
        raise InputError(f"give a list of texts, or a table with a column text, not a {type(given).__name__}")
    values = (None if pd.isna(value) is True else value for value in given)  # pd.NA and pd.NaT too
    return [as_text(value, f"row {number}") or "" for number, value in enumerate(values, start=1)]


def params_of(system: Any) -> dict[str, Any]:
    """The parameters of ``predict`` with their defaults: the options of a call of the system, and the seed."""
    return system.Options().model_dump() | {SEED: 0}


def check_params(params: Mapping[str, Any], known: Collection[str]) -> None:
    """Raises InputError for a parameter of ``predict`` that it does not have."""
    if unknown := params.keys() - set(known):
        raise InputError(f"there is no parameter {', '.join(sorted(map(str, unknown)))}; there are: {', '.join(known)}")


def _refuse_unknown_params() -> None:
    """MLflow drops the parameters that a signature does not have before it calls ``predict``: here they are checked before."""
    enforce = mlflow.pyfunc._enforce_params_schema
    if hasattr(enforce, "checks_params_of_signs"):
        return

    @functools.wraps(enforce)
    def enforce_all(params: Any, schema: ParamSchema | None) -> Any:
        known = [param.name for param in schema.params] if schema is not None else []
        if SEED in known and isinstance(params, dict):
            check_params(params, known)
        return enforce(params, schema)

    enforce_all.checks_params_of_signs = True  # type: ignore[attr-defined]
    mlflow.pyfunc._enforce_params_schema = enforce_all


def save(checkpoint: Path, folder: Path, **identity: str) -> None:
    """Writes the MLflow model of a checkpoint: weights, this package and what it requires.

    identity: ``run_id`` and ``model_id`` that MLflow knows it by.
    """
    package = Path(__file__).parent
    model = Model(**identity)
    from ms2sl.systems.registry import distribution, read_producer_card, system

    kind = read_producer_card(checkpoint).kind
    types = {int: DataType.long, float: DataType.double, str: DataType.string, bool: DataType.boolean}
    params = ParamSchema([ParamSpec(name, types[type(value)], value) for name, value in params_of(system(kind)).items()])
    required = [*REQUIREMENTS, *filter(None, [distribution(kind)])]
    signature = ModelSignature(inputs=Schema([ColSpec(DataType.string)]), params=params)
    signature._is_signature_from_type_hint = True  # so that MLflow hands on what it is given: ``texts_of`` knows better what is a text
    with tempfile.TemporaryDirectory() as temporary:
        weights = Path(temporary) / "checkpoint"
        publish(checkpoint, weights)  # without the training state
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(package / "mlflow_model.py"),
            artifacts={"checkpoint": str(weights)},
            code_paths=[str(package)],
            pip_requirements=[f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in required],
            signature=signature,
            mlflow_model=model,
        )


set_model(SignModel())
