"""A checkpoint as an MLflow model: texts in, poses out. This file is the code that MLflow runs when it loads one:

model = mlflow.pyfunc.load_model("models:/ms2sl@champion")
model.predict(["hello"], params={"steps": 20, "seed": 1})
"""

import functools
import importlib.metadata
import shutil
import tempfile
import warnings
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ms2sl.data.signed_language import check_signed_language
from ms2sl.data.types import Utterance
from ms2sl.errors import InputError
from ms2sl.extras import extra
from ms2sl.io.tables import as_text
from ms2sl.training.checkpoint import CONFIG, WEIGHTS, link

with extra("tracking"):
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import Model, ModelSignature, set_model
    from mlflow.models.model import MLMODEL_FILE_NAME
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

SEED = "seed"  # a parameter of every model of ours
LANGUAGE, SIGNER = "signed_language", "signer"  # columns that a table may have
REQUIREMENTS = ("torch", "numpy", "pandas", "pyarrow", "transformers", "safetensors", "pydantic", "pydantic-settings")
REQUIREMENTS += ("PyYAML", "av", "soundfile", "soxr", "pose-format", "cachetools")  # of the package, as far as it produces poses; no Ray


class SignModel(mlflow.pyfunc.PythonModel):
    """A model that signs, of whichever system, behind MLflow's interface for models."""

    def load_context(self, context: Any) -> None:
        from ms2sl.systems.registry import load_producer, system

        _refuse_unknown_params()
        self.producer = load_producer(context.artifacts["checkpoint"])
        self.system = system(self.producer.card.kind)

    # With the hint list[str], MLflow would take the first column of any table for the texts.
    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None):
        """Signs a list of texts, or the column ``text`` of a table, which may have columns ``signed_language``, of ISO 639-3 codes,
        and ``signer``, of names that the model knows.

        Returns a dict for each: ``text``, ``fps``, ``n_frames``, ``joints`` (frames, joints, dims), ``confidence`` (frames, joints) and
        ``remarks``, a list of what was odd.

        params: the options of the system (``steps``, ``guidance`` and ``sampler`` of MS2SL), and the ``seed``: the same seed gives the same
        poses.
        Raises InputError for a table without the column, what is no text or code, a text that the model cannot sign, and other parameters.
        """
        known = params_of(self.system)
        check_params(params or {}, known)
        asked = zip(texts_of(model_input), languages_of(model_input), chosen_of(model_input, SIGNER), strict=True)
        utterances = [Utterance(str(i), text=text, signed_language=language, signer=who) for i, (text, language, who) in enumerate(asked)]
        chosen = known | (params or {})
        seed = chosen.pop(SEED)
        produced = self.producer.produce(utterances, self.system.options(chosen), seed=seed)
        return [
            {
                "text": utterance.text,
                "fps": poses.fps,
                "n_frames": poses.n_frames,
                "joints": poses.joints,
                "confidence": poses.confidence,
                "remarks": list(self.system.remarks(self.producer.card, utterance)),
            }
            for utterance, poses in zip(utterances, produced, strict=True)
        ]


def texts_of(given: Any) -> list[str]:
    """The texts in what a model is given; one that is missing is empty. Raises InputError if there are none."""
    if isinstance(given, pd.DataFrame):
        columns, found = list(given.columns), _places("text", given)
        if len(found) != 1 and columns != [0]:  # which is how pandas calls the column of a list of texts
            raise InputError(f"the table must have one column text; its columns are: {', '.join(map(str, columns))}")
        given = given.iloc[:, found[0] if found else 0]
    if np.ndim(given) != 1:
        raise InputError(f"give a list of texts, or a table with a column text, not a {type(given).__name__}")
    return [text or "" for text in _as_texts(given)]


def languages_of(given: Any) -> list[str | None]:
    """The signed languages that a model is asked for, a row each: of the column of a table, if it has one. Raises InputError for what is
    no code."""
    languages = chosen_of(given, LANGUAGE)
    for number, language in enumerate(languages, start=1):
        if language is not None:
            try:
                check_signed_language(language)
            except InputError as error:
                raise InputError(f"row {number}: {error}") from None
    return languages


def chosen_of(given: Any, name: str) -> list[str | None]:
    """What is chosen by a column of a table, a row each; nothing if it has no such column. Raises InputError if it has several."""
    found = _places(name, given) if isinstance(given, pd.DataFrame) else []
    if len(found) > 1:
        raise InputError(f"the table has {len(found)} columns {name}: leave one")
    return _as_texts(given.iloc[:, found[0]]) if found else [None] * len(given)


def _places(name: str, table: pd.DataFrame) -> list[int]:
    """Which of its columns have a name, in any case."""
    return [i for i, column in enumerate(table.columns) if str(column).strip().casefold() == name]


def _as_texts(values: Iterable) -> list[str | None]:
    """None for what is missing, pd.NA and pd.NaT too. Raises InputError for what is no text."""
    return [as_text(None if pd.isna(value) is True else value, f"row {number}") for number, value in enumerate(values, start=1)]


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
    """Writes the MLflow model of a checkpoint: weights (linked if they are on the same disk), this package and what it requires.

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
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*An input example was not provided")  # the signature says more than one would
        described = Path(temporary) / "checkpoint"
        described.mkdir()
        shutil.copyfile(checkpoint / CONFIG, described / CONFIG)
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(package / "mlflow_model.py"),
            artifacts={"checkpoint": str(described)},
            code_paths=[str(package)],
            pip_requirements=[f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in required],
            signature=signature,
            mlflow_model=model,
        )
    link(checkpoint / WEIGHTS, folder / "artifacts" / "checkpoint" / WEIGHTS)  # which save_model would copy
    model.model_size_bytes += (checkpoint / WEIGHTS).stat().st_size
    model.save(folder / MLMODEL_FILE_NAME)


set_model(SignModel())
