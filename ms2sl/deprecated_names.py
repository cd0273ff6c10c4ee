"""Former names of options: flags and recipes may use them for one version more, and what was stored under them is read for ever.

A field states the names that it had, ``mask: MaskConfig = Field(MaskConfig(), json_schema_extra=formerly("hide"))``, and those of its
values: ``form: Annotated[Form, FormerValues(ball="round")]``.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import core_schema

from ms2sl.config import group
from ms2sl.errors import InputError

UNTIL = "0.3"  # the version whose flags and recipes no longer accept them


class FormerValues:
    """Values that a field took, and today's. Its validation accepts them, since flags may give them."""

    def __init__(self, **values: str):
        self.values = values

    def __get_pydantic_core_schema__(self, kind: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(lambda value: current_value(value, self.values), handler(kind))


def formerly(*names: str) -> dict[str, Any]:
    """``json_schema_extra`` of a field that had these names; with that of a changeable field: ``CHANGEABLE | formerly("old")``."""
    return {"formerly": list(names)}


def before(value: Any) -> dict[str, Any]:
    """``json_schema_extra`` of a field that came later: the value of what was made before there was a choice."""
    return {"before": value}


def values_before(config: type[BaseModel]) -> dict[str, Any]:
    """Of fields that came later, those of nested configurations too: dotted names, and what was so before them."""
    found = {}
    for name in config.model_fields:
        if "before" in _extra(name, config):
            found[name] = _extra(name, config)["before"]
        elif inside := group(config, name):
            found |= {f"{name}.{nested}": value for nested, value in values_before(inside).items()}
    return found


def hint(former: str, name: str) -> str:
    return f"{former} is now {name}; the former name works until version {UNTIL}"


def both_given(former: str, name: str) -> InputError:
    return InputError(f"{former} is now {name}, and both are given: leave out {former}")


def rename_deprecated(values: Mapping[str, Any], config: type[BaseModel]) -> tuple[dict[str, Any], dict[str, str]]:
    """Nested values under today's names, and of each former name that was found today's, both dotted, with a value that has another name.

    Raises InputError if a value is given under both.
    """
    return _rename(values, config, "", "")


def _rename(values: Mapping[str, Any], config: type[BaseModel], before: str, after: str) -> tuple[dict[str, Any], dict[str, str]]:
    renamed, found = {}, {}
    for key, value in values.items():
        name = _current(key, config)
        if name != key and (name in values or name in renamed):
            raise both_given(f"{before}{key}", f"{after}{name}")
        today = current_value(value, _former_values(name, config))
        if today != value:
            found[f"{before}{key} {value}"], value = f"{after}{name} {today}", today
        elif name != key:
            found[f"{before}{key}"] = f"{after}{name}"
        inside = group(config, name)
        if inside and isinstance(value, Mapping):
            value, deeper = _rename(value, inside, f"{before}{key}.", f"{after}{name}.")
            found |= deeper
        renamed[name] = value
    return renamed, found


def current_name(dotted: str, config: type[BaseModel]) -> str:
    """Today's name of an option; what is no option stays as it is."""
    parts, inside = [], config
    for part in dotted.split("."):
        parts.append(_current(part, inside) if inside else part)
        inside = group(inside, parts[-1]) if inside else None
    return ".".join(parts)


def current_value(value: Any, former: Mapping[str, str]) -> Any:
    """Today's name of a value, or of each within: of the choices of a search space."""
    if isinstance(value, str):
        return former.get(value, value)
    if isinstance(value, list) and former:
        return [current_value(each, former) for each in value]
    if isinstance(value, Mapping) and former:
        return {key: current_value(each, former) for key, each in value.items()}
    return value


def _extra(name: str, config: type[BaseModel]) -> dict[str, Any]:
    extra = config.model_fields[name].json_schema_extra if name in config.model_fields else None
    return extra if isinstance(extra, dict) else {}


def _former_values(name: str, config: type[BaseModel]) -> dict[str, str]:
    marks = config.model_fields[name].metadata if name in config.model_fields else ()
    return next((mark.values for mark in marks if isinstance(mark, FormerValues)), {})


def _current(name: str, config: type[BaseModel]) -> str:
    if name in config.model_fields:
        return name
    for today in config.model_fields:
        if name in _extra(today, config).get("formerly", ()):
            return today
    return name
