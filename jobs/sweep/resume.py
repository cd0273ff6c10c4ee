"""What of a sweep is left to run: interrupted trials go on, those that are known beforehand begin, and a searcher suggests the rest.

A trial that goes on begins at its last checkpoint (``jobs.sweep.trainables``).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.sweep.command import TuneCommand
from ms2sl.config import flatten
from ms2sl.sweep.trial_store import Trial
from tune_spaces import Space

DEFAULT = "default"  # name of the trial with the recipe's own settings


def key(recipe: Mapping) -> str:
    """By which a recipe is known again: 2 and 2.0 are the same."""
    whole = {name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in flatten(recipe)}
    return json.dumps(whole, sort_keys=True)


def listed(options: TuneCommand, space: Space) -> list[Trial]:
    """All trials of a search that chooses beforehand, the recipe's own settings first. Raises InputError if one is no training."""
    own = options.own(space.leaves)
    if options.search == "grid":
        variants = space.variants or {"": {}}
        recipes = [(name, merged(variant, drawn)) for name, variant in variants.items() for drawn in space.grid()]
        if not space.variants:
            recipes = [(DEFAULT, own)] + [(name, recipe) for name, recipe in recipes if key(recipe) != key(own)]
    else:
        recipes = [(DEFAULT, own)] + [("", space.draw(options.seed, number)) for number in range(1, options.trials)]
    for name, recipe in recipes:
        options.with_recipe(recipe, f"space '{space.name}', {name or recipe}: ")
    return [Trial(number=number, name=name, recipe=recipe) for number, (name, recipe) in enumerate(recipes)]


def merged(first: Mapping, second: Mapping) -> dict:
    return {part: {**first.get(part, {}), **second.get(part, {})} for part in [*first, *(part for part in second if part not in first)]}


@dataclass(frozen=True)
class Pending:
    """What is left to run: trials that are known beforehand or were interrupted, and how many more a searcher may suggest."""

    trials: Sequence[Trial]
    more: int = 0

    def __bool__(self) -> bool:
        return bool(self.trials or self.more)


def pending(options: TuneCommand, space: Space, known: Sequence[Trial]) -> Pending:
    """known: the trials in the ledger."""
    interrupted = [trial for trial in known if trial.outcome == "open"]
    if options.search != "optuna":
        numbers = {trial.number for trial in known}
        return Pending(interrupted + [trial for trial in listed(options, space) if trial.number not in numbers])
    own = options.own(space.leaves)
    first = [] if known or not held(space, own) else [Trial(number=0, name=DEFAULT, recipe=own)]
    return Pending(interrupted + first, max(0, int(min(options.trials, space.size)) - len(known) - len(first)))


def held(space: Space, recipe: Mapping) -> bool:
    return all(space.leaves[name].holds(value) for name, value in flatten(recipe))
