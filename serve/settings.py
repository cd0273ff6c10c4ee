"""What an operator can choose. Limits stand between the service and whoever sends it something."""

import sys
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError, create_model, model_validator

from ms2sl.config import Config, explain
from ms2sl.deprecated_names import formerly, hint, rename_deprecated
from ms2sl.errors import InputError
from ms2sl.inference.sliding_window import LONGEST_SECONDS
from ms2sl.io.storage import StoragePath
from ms2sl.io.tables import read_lines
from ms2sl.io.uri import LocalPath, PathOrModelUri, Uri
from ms2sl.precision import Precision
from ms2sl.systems.options import CallOptions, limits


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class _Limits(Config):
    """What one request may ask for."""

    text_characters: int = Field(5000, gt=0, description="characters of a text")
    upload_bytes: int = Field(25 * 2**20, gt=0, description="bytes of a recording, with the form around it")
    audio_seconds: float = Field(600, gt=0, description="seconds that a recording may unpack to")
    duration: float = Field(600, gt=0, le=LONGEST_SECONDS, description="seconds of signing that may be asked for")
    fps: float = Field(60, ge=1, description="frames a second that may be asked for")
    rendered_frames: int = Field(1500, gt=0, description="frames of a GIF or MP4")


Limits = create_model("Limits", __base__=_Limits, __module__=__name__, __doc__=_Limits.__doc__, **limits())


class Service(Config):
    """The application's arguments: of ``serve run serve.app:build key=value …``, and ``args`` of a config file."""

    model: PathOrModelUri | None = Field(None, description="a checkpoint folder, models:/name@alias or models:/name/version")
    tracking: Uri | None = Field(None, description="MLflow's URI, for models:/…; by default MLFLOW_TRACKING_URI, or else runs/mlflow.db")
    sampling: CallOptions = Field(CallOptions(), description="of requests that do not say")
    limits: Limits = Limits()
    api_keys_file: LocalPath | None = Field(
        None, description="file of API keys, one a line; without it everybody may ask", json_schema_extra=formerly("keys")
    )
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(_split)] = Field(
        (), description="other web sites whose pages may ask, such as https://example.org", json_schema_extra=formerly("origins")
    )
    min_replicas: int = Field(1, gt=0, description="replicas that sample, at least", json_schema_extra=formerly("samplers"))
    max_replicas: int | None = Field(
        None, gt=0, description="replicas that sample under load; by default as many as ever", json_schema_extra=formerly("most_samplers")
    )
    cpus: float = Field(1, gt=0, description="CPUs of each, and threads")
    gpus: float = Field(0, ge=0, description="GPUs of each, or a share of one")
    precision: Precision = Field("auto", description="auto is bf16 where the processor has it")
    max_batch_size: int = Field(16, gt=0, description="windows that are sampled together, at most", json_schema_extra=formerly("batch"))
    frontends: int | None = Field(None, gt=0, description="replicas that speak HTTP; by default two where there are two nodes")
    max_concurrent_requests: int = Field(
        64,
        gt=0,
        description="requests that each of them works on at once; more are told to come back later",
        json_schema_extra=formerly("at_once"),
    )
    request_timeout_s: float = Field(
        120, gt=0, description="seconds after which a request is given up, unless it is streamed", json_schema_extra=formerly("seconds")
    )
    stream_timeout_s: float = Field(
        1800, gt=0, description="seconds after which a stream is given up", json_schema_extra=formerly("stream_seconds")
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Service":
        for name in CallOptions.model_fields:
            if name in Limits.model_fields and (getattr(self.sampling, name) or 0) > getattr(self.limits, name):
                raise ValueError(f"sampling.{name} is beyond limits.{name}")
        if self.max_replicas is not None and self.max_replicas < self.min_replicas:
            raise ValueError("max_replicas is below min_replicas")
        return self

    @property
    def sampler_limit(self) -> int:
        """Samplers there may be."""
        return self.max_replicas or self.min_replicas

    @classmethod
    def parse(cls, arguments: dict) -> "Service":
        """From keys that may be dotted, as in ``limits.steps=20``. Raises InputError for what is unknown or impossible."""
        nested: dict = {}
        for key, value in arguments.items():
            *parents, name = str(key).split(".")
            place = nested
            for parent in parents:
                place = place.setdefault(parent, {})
                if not isinstance(place, dict):
                    raise InputError(f"{parent} is given twice, as a whole and as {key}")
            place[name] = dict(value) if isinstance(value, dict) else value
        values, former = rename_deprecated(nested, cls)
        for name, today in former.items():
            print(hint(name, today), file=sys.stderr)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InputError(explain(error, cls)) from None

    def api_keys(self) -> tuple[str, ...]:
        """Raises InputError if the file cannot be read or holds no key."""
        if self.api_keys_file is None:
            return ()
        try:
            keys = tuple(key for line in read_lines(StoragePath(self.api_keys_file)) if (key := line.strip()))
        except InputError as error:
            raise InputError(f"the API keys cannot be read: {error}") from None
        if not all(map(str.isascii, keys)):
            raise InputError(f"an API key in {self.api_keys_file} has letters that a header cannot hold: use ASCII")
        if not keys:
            raise InputError(f"{self.api_keys_file} holds no API key: write one a line")
        return keys
