"""Configuration: one vocabulary of validated models, each beside the component that it configures."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.config import JsonDict

from ms2sl.errors import InputError
from ms2sl.io.uri import public


class Config(BaseModel):
    """Base of all configurations: an unknown or ill-typed key is an error, and nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __repr__(self) -> str:
        return public(super().__repr__())

    __str__ = __repr__


# ``json_schema_extra`` of a field: it may change within a run, since it does not decide what is learned; it says nothing of what the
# weights of a model mean, so that a training may begin with those of another value.
CHANGEABLE: JsonDict = {"identity": False}
TRAINING_ONLY: JsonDict = {"training_only": True}


def group(config: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The configuration that a field holds; None for a field of another kind, or no field."""
    annotation = config.model_fields[name].annotation if name in config.model_fields else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def changeable(config: type[BaseModel]) -> set[str]:
    """Dotted names of the fields that may change within a run."""
    return marked(config, CHANGEABLE)


def marked(config: type[BaseModel], mark: JsonDict) -> set[str]:
    """Dotted names of the fields with this mark, those of nested configurations too."""
    names = set()
    for name, field in config.model_fields.items():
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.items() >= mark.items():
            names.add(name)
        elif inside := group(config, name):
            names |= {f"{name}.{nested}" for nested in marked(inside, mark)}
    return names


class _Loader(yaml.SafeLoader):
    """YAML without numbers to the base of 60: ``2:8`` is a range of workers, and not 128."""


_BASE_60 = "tag:yaml.org,2002:str", re.compile(r"[-+]?[0-9][0-9_]*(:[0-9_.]+)+$")
_Loader.yaml_implicit_resolvers = {letter: [_BASE_60, *kinds] for letter, kinds in yaml.SafeLoader.yaml_implicit_resolvers.items()}


def read_yaml(path: Path, what: str = "recipe") -> dict:
    """The mapping in a file. Raises InputError if the file is missing, broken or no mapping."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{what} {path} is not YAML: {error}") from None
    if not isinstance(content or {}, dict):
        raise InputError(f"{what} {path} must hold keys and values, not a {type(content).__name__}")
    return content or {}


def explain(error: ValidationError, config: type[BaseModel]) -> str:
    """A validation error in the user's words: the key, what was wrong with it, what is allowed."""
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        said = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            lines.append(f"unknown key '{key}'; allowed here: {', '.join(_siblings(config, problem['loc']))}")
        elif problem["type"] == "value_error":  # of a validator of ours, which says what is wrong with what
            lines.append(f"{key}: {said}".removeprefix(": "))
        else:
            lines.append(f"{key}: {said} (got {problem['input']!r})")
    return public("; ".join(lines))


def _siblings(config: type[BaseModel], location: tuple) -> Iterator[str]:
    for part in location[:-1]:
        inside = group(config, str(part))
        if inside is None:
            return iter(())
        config = inside
    return iter(config.model_fields)


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as dotted names and values."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
