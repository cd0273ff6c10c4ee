"""The book of a sweep: one JSON file a trial, written whole at every change, from which a sweep goes on after any end."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ms2sl.config import Config, flatten
from ms2sl.deprecated_names import current_name, rename_deprecated
from ms2sl.errors import InputError
from ms2sl.io.storage import AnyPath, StoragePath

SET = "set/"  # what a column of the history begins with that holds a value which changes during the run
Outcome = Literal["open", "finished", "stopped", "diverged", "failed"]


class Trial(Config):
    """A trial and what is known of it.

    recipe: what was drawn, nested as in a recipe. name: ``default`` or of a variant, or "". history: a row for each judgement, with
    ``step`` and every metric. outcome: ``open`` until it has ended: ``finished``, ``stopped`` by the scheduler, ``diverged`` or
    ``failed`` (``reason`` says why). checkpoint: folder of its last one, in a store below that of the sweep. run_id: its run in MLflow.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")  # a metric may be NaN, and null would be none on return

    number: int
    recipe: dict[str, Any]
    name: str = ""
    history: tuple[dict[str, float], ...] = ()
    outcome: Outcome = "open"
    reason: str = ""
    checkpoint: str | None = None
    run_id: str | None = None
    seconds: float = 0.0

    @property
    def label(self) -> str:
        return f"{self.number} ({self.name})" if self.name else str(self.number)

    @property
    def drawn(self) -> dict[str, Any]:
        """Values by dotted name, such as ``losses.cycle``."""
        return dict(flatten(self.recipe))

    @property
    def step(self) -> int:
        return int(self.history[-1]["step"]) if self.history else 0

    def until(self, step: int) -> "Trial":
        """As if it had been no further than this step."""
        return self.model_copy(update={"history": tuple(row for row in self.history if row["step"] <= step)})

    def value(self, metric: str) -> float:
        """The last one reported; NaN if it was never."""
        return next((row[metric] for row in reversed(self.history) if metric in row), float("nan"))


class TrialStore:
    """The trials of a sweep, in a folder of their own."""

    def __init__(self, folder: AnyPath, options: type[BaseModel] | None = None):
        """options: those of which recipes are parts; what was recorded under their former names is read under today's."""
        self.folder, self.options = StoragePath(folder), options

    def trials(self) -> list[Trial]:
        """In the order of their numbers. Raises InputError if one cannot be read."""
        found = (path for path in self.folder.children() if path.name.endswith(".json"))
        trials = sorted(map(_read, found), key=lambda trial: trial.number)
        if self.options is None:
            return trials
        return [self._under_current_names(trial) for trial in trials]

    def _under_current_names(self, trial: Trial) -> Trial:
        history = tuple({self._current_column(name): value for name, value in row.items()} for row in trial.history)
        return trial.model_copy(update={"recipe": rename_deprecated(trial.recipe, self.options)[0], "history": history})

    def _current_column(self, name: str) -> str:
        return f"{SET}{current_name(name.removeprefix(SET), self.options)}" if name.startswith(SET) else name

    def write(self, trial: Trial) -> None:
        (self.folder / f"{trial.number:05d}.json").write(trial.model_dump_json(indent=1).encode())


def _read(path: StoragePath) -> Trial:
    try:
        return Trial.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path} holds no whole trial ({where or 'JSON'}: {first['msg']}); delete it, and that trial is run again"
        ) from None
