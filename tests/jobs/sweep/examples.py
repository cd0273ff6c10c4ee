"""A small space, and trials of it."""

from jobs.sweep.command import TuneCommand
from tune_spaces import parse

CYCLE = parse("cycle", {"losses": {"cycle": {"loguniform": [0.01, 1.0]}, "cross_modal": {"uniform": [0.0, 1.0]}}})
OWN = {"losses": {"cycle": 0.1, "cross_modal": 0.5}}


def settled(space, **options) -> TuneCommand:
    return TuneCommand(**options).settled(space)


def recipe(cycle: float, cross_modal: float = 0.25) -> dict:
    return {"losses": {"cycle": cycle, "cross_modal": cross_modal}}


def history(*losses: float, **more: float) -> tuple[dict, ...]:
    """A row at every tenth step."""
    return tuple({"step": 10.0 * number, "quality_loss": loss} | more for number, loss in enumerate(losses, 1))
