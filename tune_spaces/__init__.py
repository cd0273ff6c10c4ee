"""Search spaces as data, one module a sweep: ``SPACE`` is a recipe in which some values are ranges or choices.

``{"uniform": [low, high]}``, ``{"loguniform": [low, high]}``, ``{"integer": [low, high]}`` (both included) or ``{"choice": [...]}``; and,
at the top, ``{"variants": {name: recipe}}``, which are all tried. A YAML file of the same form is a space too.
"""

import importlib.util
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import numpy as np
from ray import tune

from ms2sl.config import read_yaml
from ms2sl.errors import InputError

RANGES = {
    "uniform": tune.uniform,
    "loguniform": tune.loguniform,
    "integer": lambda low, high: tune.randint(low, high + 1),
}
FORMS = (*RANGES, "choice")


@dataclass(frozen=True)
class Leaf:
    """What one value is drawn from. form: one of ``FORMS``; values: the ends of the range, or the choices."""

    form: str
    values: tuple

    @property
    def domain(self) -> tune.search.sample.Domain:
        """As Ray Tune knows it."""
        return tune.choice(list(self.values)) if self.form == "choice" else RANGES[self.form](*self.values)

    @property
    def size(self) -> float:
        """How many values it has."""
        if self.form == "integer":
            return self.values[1] - self.values[0] + 1
        return len(self.values) if self.form == "choice" else math.inf

    def holds(self, value: Any) -> bool:
        return value in self.values if self.form == "choice" else self.values[0] <= value <= self.values[1]


@dataclass(frozen=True)
class Space:
    """leaves: by dotted name, such as ``losses.cycle``. variants: recipes by name, one of which each trial begins with."""

    name: str
    leaves: Mapping[str, Leaf]
    variants: Mapping[str, dict]

    @property
    def logarithmic(self) -> set[str]:
        """Names of the values that live on a logarithmic scale."""
        return {name for name, leaf in self.leaves.items() if leaf.form == "loguniform"}

    @property
    def content(self) -> dict:
        """As plain data, of which ``parse`` makes the same space."""
        ranges = nested({name: {leaf.form: list(leaf.values)} for name, leaf in self.leaves.items()})
        return ranges | ({"variants": dict(self.variants)} if self.variants else {})

    @property
    def size(self) -> float:
        """How many combinations of values it has."""
        return math.prod(leaf.size for leaf in self.leaves.values())

    @property
    def parts(self) -> set[str]:
        """Of the recipe, in which it varies anything."""
        return {part for recipe in self.extremes() for part in recipe}

    def touches(self, part: str) -> bool:
        return part in self.parts

    def domains(self) -> dict:
        """The leaves as nested domains of Ray Tune."""
        return nested({name: leaf.domain for name, leaf in self.leaves.items()})

    def draw(self, seed: int, number: int) -> dict:
        """The recipe of a trial; the same for the same seed and number."""
        rng = np.random.default_rng((seed, number))
        return nested({name: _plain(leaf.domain.sample(random_state=rng)) for name, leaf in self.leaves.items()})

    def grid(self) -> list[dict]:
        """Every combination of choices. Raises InputError if a value has a range."""
        ranges = ", ".join(name for name, leaf in self.leaves.items() if leaf.form != "choice")
        if ranges:
            advice = "list values" if self.variants else "list values, or use --search random or optuna"
            raise InputError(f"space '{self.name}': a grid needs choices, and {ranges} has a range; {advice}")
        return [nested(dict(zip(self.leaves, values, strict=True))) for values in product(*(leaf.values for leaf in self.leaves.values()))]

    def extremes(self) -> Iterator[dict]:
        """Recipes that between them hold every value that can be wrong: ends of ranges, choices, variants."""
        yield from self.variants.values()
        for name, leaf in self.leaves.items():
            yield from (nested({name: value}) for value in leaf.values)


def load_space(name: str) -> Space:
    """A space of this package by its name, or a module or YAML file of the user by its path. Raises InputError."""
    known = sorted(module.name for module in iter_modules(__path__))
    path = Path(name)
    if name in known:
        return parse(name, import_module(f"{__name__}.{name}").SPACE)
    if path.suffix in (".yaml", ".yml"):
        return parse(path.stem, read_yaml(path, "search space"))
    if path.suffix == ".py" and path.is_file():
        return parse(path.stem, _space_of(path))
    raise InputError(f"there is no search space '{name}'; there are: {', '.join(known)}, or the path of a .py or .yaml file")


def _space_of(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"tune_space_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.SPACE
    except Exception as error:
        raise InputError(f"{path} gives no search space: {type(error).__name__}: {error}; it must define SPACE") from None


def parse(name: str, content: Any) -> Space:
    """Raises InputError for what is no space."""
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"space '{name}' is empty: there is nothing to search")
    content = dict(content)
    variants = content.pop("variants", {})
    if not isinstance(variants, Mapping) or not all(isinstance(recipe, Mapping) for recipe in variants.values()):
        raise InputError(f"space '{name}': variants must be recipes by name")
    leaves = {}
    for key, value in _flat(content):
        leaves[key] = _leaf(f"space '{name}': {key}", value)
    if not leaves and not variants:
        raise InputError(f"space '{name}' is empty: there is nothing to search")
    return Space(name, leaves, {str(key): recipe for key, recipe in variants.items()})


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, Mapping) or any(form in value for form in FORMS)


def _flat(content: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if _is_leaf(value):
            yield f"{prefix}{key}", value
        else:
            yield from _flat(value, f"{prefix}{key}.")


def _leaf(where: str, value: Any) -> Leaf:
    if isinstance(value, list | tuple):
        raise InputError(f"{where} is a list, and not one of {', '.join(FORMS)}: write {{'choice': {list(value)!r}}} to try each")
    if not isinstance(value, Mapping):
        raise InputError(f"{where} is the fixed value {value!r}; a space has only what varies, one of {', '.join(FORMS)}")
    if len(value) > 1:
        raise InputError(f"{where} must be a single one of {', '.join(FORMS)}, and not {', '.join(map(str, value))}")
    ((form, values),) = value.items()
    if not isinstance(values, list | tuple) or not values:
        raise InputError(f"{where}: {form} needs a list, not {values!r}")
    if form == "choice":
        return Leaf(form, tuple(values))
    kind: type[int] | tuple[type[int], type[float]] = int if form == "integer" else (int, float)
    if len(values) != 2 or not all(_is_end(end, kind) for end in values) or not values[0] < values[1]:
        raise InputError(f"{where}: {form} needs two numbers, the lower one first, not {list(values)!r}")
    if form == "loguniform" and values[0] <= 0:
        raise InputError(f"{where}: the lower end of loguniform must be above 0, not {values[0]!r}")
    return Leaf(form, tuple(values))


def _is_end(value: Any, kind: type[int] | tuple[type[int], type[float]]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)


def nested(flat: Mapping[str, Any]) -> dict:
    """``{"a.b": 1}`` → ``{"a": {"b": 1}}``."""
    result: dict = {}
    for key, value in flat.items():
        *parents, last = key.split(".")
        inside = result
        for parent in parents:
            inside = inside.setdefault(parent, {})
        inside[last] = value
    return result


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
