"""``--from``: the model with whose weights a training begins, instead of random ones."""

from collections.abc import Sequence
from typing import TypeVar

from pydantic import Field, create_model

from jobs.cli import Command
from ms2sl.config import changeable
from ms2sl.errors import InputError
from ms2sl.io.file_names import FETCHED
from ms2sl.io.storage import AnyPath, StoragePath
from ms2sl.io.uri import PathOrModelUri
from ms2sl.training.checkpoint import fingerprint, read_card

T = TypeVar("T", bound=Command)


def _with_from(command: type[T]) -> type[T]:
    """The command with the option ``from``, a keyword of Python, which a class statement cannot name."""
    field = Field(None, description="folder of a trained model, or models:/name@alias of MLflow, to go on from instead of random weights")
    options = {"from": (PathOrModelUri | None, field)}
    return create_model(command.__name__, __base__=command, __module__=command.__module__, __doc__=command.__doc__, **options)


@_with_from
class TrainingCommand(Command):
    """Base of the commands that train."""

    @property
    def initial(self) -> str | None:
        """The folder of ``--from``, once a registered model is fetched (``jobs.models.with_folders``)."""
        return getattr(self, "from")

    @property
    def provenance(self) -> dict[str, dict]:
        """What a run records of the model that it began with, of which the weights alone decide. Raises InputError if it has none."""
        return {} if self.initial is None else {"from": origin(self.initial)}

    @property
    def changeable(self) -> set[str]:
        """Names of the options that may change within a run."""
        return changeable(type(self)) | {"from.model"}


def origin(place: AnyPath) -> dict[str, str]:
    """A checkpoint as a run and a card record it: how it is called, without telling where it lies, and a fingerprint of its weights."""
    folder = StoragePath(place)
    parts = 1 if folder.parent.name == FETCHED else 3 if "/" in read_card(folder).kind else 2  # a stage is named with its run
    names = [folder.name, folder.parent.name, folder.parent.parent.name][:parts]
    return {"model": "/".join(reversed(names)), "weights": fingerprint(folder)}


def check_kept(forgotten: StoragePath, *models: AnyPath | None) -> None:
    """Raises InputError if one of the models lies in the folder that ``--overwrite`` would forget."""
    for model in map(StoragePath, filter(None, models)):
        if model.is_within(forgotten):
            raise InputError(f"{model} is in the run that --overwrite would forget: choose another --name")


def tell_glosses(before: Sequence[str], now: Sequence[str]) -> None:
    """Says which glosses of the data the model cannot learn the order of."""
    if others := [gloss for gloss in now if gloss not in before]:
        some = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        print(f"the model does not know {len(others)} of {len(now)} glosses ({some}): clips with one do not teach it the order of signing")


def tell_fps(before: float, now: float) -> None:
    """Prints what it means if the data are of other frames a second than those of the model that a training begins with."""
    if before != now:
        print(f"the model of --from made {before:g} frames a second, and the data have {now:g}: it has to learn anew how fast signing is")
