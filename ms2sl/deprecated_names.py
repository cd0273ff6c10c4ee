"""Former names of options: flags and recipes may use them for one version more, and what was stored under them is read for ever.

A field states the names that it had: ``mask: MaskConfig = Field(MaskConfig(), json_schema_extra=formerly("hide"))``.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from ms2sl.config import group
from ms2sl.errors import InputError

UNTIL = "0.3"  # the version whose flags and recipes no longer accept them


def formerly(*names: str) -> dict[str, Any]:
    """``json_schema_extra`` of a field that had these names; with that of a changeable field: ``CHANGEABLE | formerly("old")``."""
    return {"formerly": list(names)}


def hint(former: str, name: str) -> str:
    return f"{former} is now {name}; the former name works until version {UNTIL}"


def both_given(former: str, name: str) -> InputError:
    return InputError(f"{former} is now {name}, and both are given: leave out {former}")


def rename_deprecated(values: Mapping[str, Any], config: type[BaseModel]) -> tuple[dict[str, Any], dict[str, str]]:
    """Nested values under today's names, and of each former name that was found today's, both dotted.

    Raises InputError if a value is given under both.
    """
    return _rename(values, config, "", "")


def _rename(values: Mapping[str, Any], config: type[BaseModel], before: str, after: str) -> tuple[dict[str, Any], dict[str, str]]:
    renamed, found = {}, {}
    for key, value in values.items():
        name = _current(key, config)
        if name != key:
            found[f"{before}{key}"] = f"{after}{name}"
            if name in values or name in renamed:
                raise both_given(f"{before}{key}", f"{after}{name}")
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


def _current(name: str, config: type[BaseModel]) -> str:
    if name in config.model_fields:
        return name
    for today, field in config.model_fields.items():
        if isinstance(field.json_schema_extra, dict) and name in field.json_schema_extra.get("formerly", ()):
            return today
    return name
