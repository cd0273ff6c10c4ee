"""A checkpoint as an MLflow model: texts in, poses out. This file is the code that MLflow runs when it loads one:

model = mlflow.pyfunc.load_model("models:/ms2sl@champion")
model.predict(["hello"], params={"steps": 20, "seed": 1})
"""

import importlib.metadata
import tempfile
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow.models import Model, set_model
from mlflow.types import ParamSchema, ParamSpec

from ms2sl.checkpoint import publish
from ms2sl.clip import Utterance

PARAMS = {"steps": 8, "guidance": 1.0, "sampler": "ddim", "seed": 0}  # of ``predict``, with their defaults
REQUIREMENTS = ("torch", "numpy", "pandas", "pyarrow", "transformers", "safetensors", "pydantic", "pydantic-settings")
REQUIREMENTS += ("PyYAML", "av", "soundfile", "soxr", "pose-format", "cachetools")  # of the package, as far as it produces poses; no Ray


class SignModel(mlflow.pyfunc.PythonModel):
    """MS2SL behind MLflow's interface for models."""

    def load_context(self, context: Any) -> None:
        self.checkpoint = Path(context.artifacts["checkpoint"])
        self.settings = None
        self.producer(PARAMS["steps"], PARAMS["guidance"], PARAMS["sampler"])

    def producer(self, steps: int, guidance: float, sampler: str) -> Any:
        """The producer with these settings; the latest one is kept."""
        from ms2sl.producers.ms2sl import MS2SLProducer

        if self.settings != (steps, guidance, sampler):
            self.loaded = MS2SLProducer.load(self.checkpoint, steps=steps, guidance=guidance, sampler=sampler)
            self.settings = (steps, guidance, sampler)
        return self.loaded

    def predict(self, context: Any, model_input: list[str], params: dict[str, Any] | None = None):
        """One dict a text: ``text``, ``fps``, ``n_frames``, ``joints`` (frames, joints, dims) and ``confidence`` (frames, joints).

        params: ``steps`` of the ``sampler``, strength of the ``guidance``, and the ``seed``: the same seed gives the same poses.
        """
        chosen = PARAMS | (params or {})
        utterances = [Utterance(str(number), text=text) for number, text in enumerate(model_input)]
        produced = self.producer(chosen["steps"], chosen["guidance"], chosen["sampler"]).produce(utterances, seed=chosen["seed"])
        return [
            {"text": text, "fps": poses.fps, "n_frames": poses.n_frames, "joints": poses.joints, "confidence": poses.confidence}
            for text, poses in zip(model_input, produced, strict=True)
        ]


def save(checkpoint: Path, folder: Path, **identity: str) -> None:
    """Writes the MLflow model of a checkpoint: weights, this package and what it requires.

    identity: ``run_id`` and ``model_id`` that MLflow knows it by.
    """
    package = Path(__file__).parent
    model = Model(**identity)
    with tempfile.TemporaryDirectory() as temporary:
        weights = Path(temporary) / "checkpoint"
        publish(checkpoint, weights)  # without the training state
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(package / "mlflow_model.py"),
            artifacts={"checkpoint": str(weights)},
            code_paths=[str(package)],
            pip_requirements=[f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in REQUIREMENTS],
            mlflow_model=model,
        )
    # MLflow infers the signature from the type hints of ``predict``, which cannot tell what is in ``params``.
    types = {int: "long", float: "double", str: "string"}
    model.signature.params = ParamSchema([ParamSpec(name, types[type(value)], value) for name, value in PARAMS.items()])
    model.save(Path(folder) / "MLmodel")


set_model(SignModel())
