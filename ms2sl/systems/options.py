"""The options of all systems as one vocabulary: fields of commands, of requests and of the service's settings.

A system states them once, in its ``Options`` and the sections of its training. Two systems may share a name; it has one meaning then.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar, Union

from pydantic import BaseModel, Field, create_model

from ms2sl.config import Config
from ms2sl.deprecated_names import formerly
from ms2sl.errors import InputError
from ms2sl.systems.registry import System, producing, system, trainable

LIMIT = "service_limit"  # in the json_schema_extra of a numeric option: the most that a service allows, unless its settings say otherwise
Model = TypeVar("Model", bound=BaseModel)


def with_call_options(model: type[Model]) -> type[Model]:
    """The model with a field for every option of a call of a producing system; None leaves it to the system."""
    return _extended(model, {name: _optional(name, having) for name, having in _by_name().items() if name not in model.model_fields})


def with_sections(model: type[Model]) -> type[Model]:
    """The model with a field for every section of the training of all systems that learn."""
    return _with_sections(model, trainable())


def with_sections_of(*kinds: str) -> Callable[[type[Model]], type[Model]]:
    """Likewise, of these systems alone."""
    return lambda model: _with_sections(model, map(system, kinds))


def _with_sections(model: type[Model], systems: Iterable[System]) -> type[Model]:
    sections: dict[str, type[Config]] = {}
    former: dict[str, str] = {}
    for each in systems:
        former |= each.former
        for name, config in each.sections.items():
            assert sections.setdefault(name, config) is config, f"two systems have a section '{name}'"
            assert name not in model.model_fields, f"the section '{name}' of {each.kind} has the name of an option of {model.__name__}"
    extra = {name: {"json_schema_extra": formerly(before)} for name, before in former.items()}
    return _extended(model, {name: (config, Field(config(), **extra.get(name, {}))) for name, config in sections.items()})


def chosen(system: System, given: BaseModel) -> Config:
    """The options of a call that a command or a request has for a system. Raises InputError for those that are another system's alone."""
    return system.options({name: getattr(given, name) for name in _by_name()})


def applicable(systems: Iterable[System], given: BaseModel) -> dict[str, Config]:
    """The options of a call for each of several systems, by kind: of what is given, those that it has.

    Raises InputError for an option that none of them has.
    """
    systems, names = list(systems), [name for name in _by_name() if getattr(given, name) is not None]
    if unused := [name for name in names if not any(name in each.Options.model_fields for each in systems)]:
        raise InputError(f"none of {', '.join(each.kind for each in systems)} has an option {unused[0]}: leave it out")
    return {
        each.kind: each.options({name: getattr(given, name) for name in names if name in each.Options.model_fields}) for each in systems
    }


def limits() -> dict[str, tuple[Any, Any]]:
    """Fields for the most that a service allows of numeric options."""
    found = {}
    for name, having in _by_name().items():
        field = having[0].Options.model_fields[name]
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        if LIMIT in extra:
            constrained = Annotated[(field.annotation, *field.metadata)]  # type: ignore[name-defined]
            found[name] = (constrained, Field(extra[LIMIT], description=field.description))
    return found


def _by_name() -> dict[str, list[System]]:
    """The producing systems that have an option, by its name."""
    found: dict[str, list[System]] = {}
    for each in producing():
        for name in each.Options.model_fields:
            found.setdefault(name, []).append(each)
    return found


def _optional(name: str, having: list[System]) -> tuple[Any, Any]:
    fields = {each.kind: each.Options.model_fields[name] for each in having}
    defaults = ", ".join(f"{kind}: {field.default}" for kind, field in fields.items())
    types = [Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation for field in fields.values()]
    description = f"{next(iter(fields.values())).description} ({defaults})"
    return (Union[(*types, None)], Field(None, description=description))


def _extended(model: type[Model], fields: dict[str, tuple[Any, Any]]) -> type[Model]:
    return create_model(model.__name__, __base__=model, __module__=model.__module__, __doc__=model.__doc__, **fields)


@with_call_options
class CallOptions(Config):
    """Options of calls, of whichever system; what is not given is the system's default."""

    def of(self, system: System) -> dict[str, Any]:
        """Those that the system has."""
        return {name: value for name, value in self if value is not None and name in system.Options.model_fields}
