"""Which settings are tried, and which trials are stopped: Ray Tune's searchers and schedulers, told what the ledger knows."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace

import optuna
from ray import tune
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from jobs.sweep.command import TuneCommand
from jobs.sweep.resume import Pending, key
from ms2sl.config import flatten
from ms2sl.sweep.trial_store import Trial
from tune_spaces import Space

REDUCTION = 3  # of how many trials ASHA lets one go on
STUDY = "sweep"
ATTEMPTS = 10  # suggestions in a row that were tried already, after which something else is drawn at random ...
DRAWS = 10_000  # ... so often, before there is taken to be nothing else


def searcher(options: TuneCommand, space: Space, known: Sequence[Trial], todo: Pending) -> tuple[Searcher | None, dict, int]:
    """The searcher (None where all is known beforehand), its space of configurations ``{"recipe": …}``, and how many samples to ask for."""
    if options.search != "optuna":
        return None, {"recipe": tune.grid_search([trial.recipe for trial in todo.trials])}, 1
    domains = {"recipe": space.domains()}
    storage, directions = optuna.storages.InMemoryStorage(), ["minimize"] * len(options.metrics)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=storage, study_name=STUDY, directions=directions)
    distributions = OptunaSearch.convert_search_space(domains)
    for trial in known:
        if trial.outcome == "open":
            continue
        values = [trial.value(metric) for metric in options.metrics]
        judged = is_judged(trial) and all(math.isfinite(value) for value in values)
        study.add_trial(
            optuna.trial.create_trial(
                params=slashed(trial.recipe),
                distributions=distributions,
                values=values if judged else None,
                state=optuna.trial.TrialState.COMPLETE if judged else optuna.trial.TrialState.FAIL,
            )
        )
    several = len(options.metrics) > 1
    search = Unrepeated(
        metric=options.metrics if several else options.metrics[0],
        mode=["min"] * len(options.metrics) if several else "min",
        sampler=optuna.samplers.TPESampler(seed=options.seed + len(known)),  # a resumed search must not draw the same again
        storage=storage,
        study_name=STUDY,
        points_to_evaluate=[slashed(trial.recipe) for trial in todo.trials] or None,
    ).remember(known, study, partial(space.draw, options.seed))
    return search, domains, len(todo.trials) + todo.more


def is_judged(trial: Trial) -> bool:
    """Whether its last row says how good its settings are."""
    return trial.outcome in ("finished", "stopped")


def slashed(recipe: Mapping) -> dict:
    """As ``OptunaSearch`` names its parameters."""
    return {name.replace(".", "/"): value for name, value in flatten({"recipe": recipe})}


class Unrepeated(OptunaSearch):
    """Optuna's search without settings that were tried before, whose result is known: trials with the same seeds end alike."""

    def remember(self, known: Sequence[Trial], study: optuna.Study, draw: Callable[[int], dict]) -> "Unrepeated":
        """draw: numbers → recipes."""
        ended = [trial for trial in known if trial.outcome != "open"]
        self.tried: dict[str, dict | None] = {key(trial.recipe): trial.history[-1] if is_judged(trial) else None for trial in ended}
        self.drafts: dict[str, tuple[str, str]] = {}  # by Tune's id that by which Optuna knows a trial, and the key of its recipe
        self.study, self.draw = study, draw
        return self

    def suggest(self, trial_id: str) -> dict | None:
        """Searcher.FINISHED if all was tried."""
        for attempt in range(ATTEMPTS):
            if suggested := self._suggest_new(trial_id, f"{trial_id}-{attempt}"):
                return suggested
        other = next((recipe for recipe in map(self.draw, range(DRAWS)) if key(recipe) not in self.tried), None)
        if other is None:
            return Searcher.FINISHED
        self.study.enqueue_trial(slashed(other))
        return self._suggest_new(trial_id, f"{trial_id}-other")

    def _suggest_new(self, trial_id: str, draft: str) -> dict | None:
        """None if that was tried, of which Optuna is then told again."""
        suggested = super().suggest(draft)
        known = key(suggested["recipe"])
        if known in self.tried:
            super().on_trial_complete(draft, self.tried[known], error=self.tried[known] is None)
            return None
        self.tried[known], self.drafts[trial_id] = None, (draft, known)
        return suggested

    def on_trial_result(self, trial_id: str, result: dict) -> None:
        super().on_trial_result(self.drafts[trial_id][0], result)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        draft, known = self.drafts[trial_id]
        self.tried[known] = None if error else result
        super().on_trial_complete(draft, result, error)


class Asha(ASHAScheduler):
    """ASHA (Li et al. 2018) that never stops the recipe's own settings, with which all others are compared, and nobody at the last step.

    stopped: Tune's ids of the trials that it stopped.
    """

    def __init__(self, options: TuneCommand, known: Sequence[Trial]):
        grace = max(1, options.interval)
        super().__init__("step", options.metrics[0], "min", max_t=options.steps, grace_period=grace, reduction_factor=REDUCTION)
        self.options, self.stopped = options.without_credentials(), set()  # Tune writes it to disk, pickled
        self.interrupted = {key(trial.recipe): trial for trial in known if trial.outcome == "open"}
        for trial in known:
            if trial.outcome != "open":
                past = SimpleNamespace(trial_id=f"earlier-{trial.number}")
                super().on_trial_add(None, past)
                self._remember(past, trial)

    def _remember(self, trial, before: Trial) -> None:
        """What was reached under an earlier command counts in the comparison."""
        for row in before.history:
            super().on_trial_result(None, trial, row)

    def on_trial_add(self, tune_controller, trial) -> None:
        super().on_trial_add(tune_controller, trial)
        if before := self.interrupted.get(key(trial.config["recipe"])):
            self._remember(trial, before)

    def on_trial_result(self, tune_controller, trial, result: dict) -> str:
        decision = super().on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP and result["step"] < self._max_t and not self.options.is_own(trial.config["recipe"]):
            self.stopped.add(trial.trial_id)
            return decision
        return TrialScheduler.CONTINUE


def scheduler(options: TuneCommand, space: Space, known: Sequence[Trial]) -> TrialScheduler | None:
    if options.scheduler == "asha":
        return Asha(options, known)
    if options.scheduler == "pbt":
        return PopulationBasedTraining(
            time_attr="step",
            metric=options.metrics[0],
            mode="min",
            perturbation_interval=2 * options.interval,
            hyperparam_mutations={"recipe": space.domains()},
            quantile_fraction=0.25,
            require_attrs=False,
        )
    return None
