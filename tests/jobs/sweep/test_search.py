import math
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from jobs.sweep.command import TuneCommand
from jobs.sweep.resume import Pending, key, listed, pending
from jobs.sweep.search import searcher
from ms2sl.config import flatten
from ms2sl.errors import InputError
from ms2sl.sweep.trial_store import Trial
from tests.jobs.sweep.examples import CYCLE, OWN, history, recipe, settled
from tune_spaces import load_space, parse

SAMPLING = parse("sampling", {"sampling": {"steps": {"choice": [1, 2, 8]}, "guidance": {"uniform": [1.0, 3.0]}}})


# Choosing beforehand


def test_a_recipe_is_known_again_whatever_the_order_and_the_kind_of_its_numbers():
    assert key({"a": {"b": 1, "c": 0.5}, "d": {"e": None}}) == key({"d": {"e": None}, "a": {"c": 0.5, "b": 1.0}})
    others = [{"a": {"b": 2, "c": 0.5}}, {"a": {"b": "1", "c": 0.5}}, {"a": {"b": True, "c": 0.5}}, {"a": {"b": 1}}, {"b": 1, "c": 0.5}, {}]
    assert len({key(other) for other in [*others, {"a": {"b": 1, "c": 0.5}}]}) == 7


def test_the_recipes_own_settings_come_first():
    trials = listed(settled(CYCLE, losses={"cycle": 0.3}), CYCLE)
    assert (trials[0].number, trials[0].name, trials[0].recipe) == (0, "default", {"losses": {"cycle": 0.3, "cross_modal": 0.5}})
    assert [trial.name for trial in trials[1:]] == [""] * 11
    assert [trial.number for trial in trials] == list(range(12))


def test_more_trials_are_the_same_and_more():
    few, many = (listed(settled(CYCLE, trials=trials), CYCLE) for trials in (12, 20))
    assert many[:12] == few
    assert len({key(trial.recipe) for trial in many}) == len(many) == 20


def test_another_seed_draws_others():
    one, other = (listed(settled(CYCLE, seed=seed), CYCLE) for seed in (0, 1))
    assert one[0] == other[0]
    assert not {key(trial.recipe) for trial in one[1:]} & {key(trial.recipe) for trial in other[1:]}


@pytest.mark.parametrize("guidance", [[1, 2], [2.0, 1.0], [2, 3]])
def test_a_grid_has_every_combination_and_the_default_once(guidance):
    space = parse("grid", {"sampling": {"steps": {"choice": [4, 8]}, "guidance": {"choice": guidance}}})
    trials = listed(settled(space, search="grid", trained=Path("model"), trials=1), space)
    drawn = [(trial.recipe["sampling"]["steps"], trial.recipe["sampling"]["guidance"]) for trial in trials]
    assert sorted(drawn) == sorted({(8, 1), *((steps, each) for steps in (4, 8) for each in guidance)})
    assert drawn[0] == (8, 1)
    assert [trial.name for trial in trials] == ["default"] + [""] * (len(trials) - 1)


def test_every_variant_is_tried_by_its_name():
    variants = {"full": {}, "cosine": {"model": {"schedule": "cosine"}}, "half": {"mask": {"speech": 0.5}}}
    space = parse("variants", {"variants": variants})
    trials = listed(settled(space, trials=1), space)
    assert {trial.name: trial.recipe for trial in trials} == variants
    assert [trial.number for trial in trials] == [0, 1, 2]


def test_variants_are_crossed_with_choices():
    content = {"variants": {"full": {}, "no cycle": {"losses": {"cycle": 0.0}}}, "losses": {"cross_modal": {"choice": [0.5, 1.0]}}}
    space = parse("both", content)
    trials = listed(settled(space), space)
    assert [(trial.name, trial.recipe) for trial in trials] == [
        ("full", {"losses": {"cross_modal": 0.5}}),
        ("full", {"losses": {"cross_modal": 1.0}}),
        ("no cycle", {"losses": {"cycle": 0.0, "cross_modal": 0.5}}),
        ("no cycle", {"losses": {"cycle": 0.0, "cross_modal": 1.0}}),
    ]


@pytest.mark.parametrize("search", ["grid", "random"])
def test_a_combination_that_is_no_model_is_told_beforehand(search):
    space = parse("shape", {"model": {"width": {"choice": [40, 48]}, "heads": {"choice": [3, 4]}}})
    with pytest.raises(InputError, match=r"space 'shape', .*40.*: model: .*heads \(3\) must divide width \(40\)"):
        listed(settled(space, search=search, trials=40), space)


# What is left to run


def ended(trials: list[Trial], *numbers: int) -> list[Trial]:
    """These have finished; the others are open and have come half the way."""
    finished = {"outcome": "finished", "history": history(3, 2, 1)}
    going = {"checkpoint": "folder", "run_id": "run", "seconds": 5.0, "history": history(3)}
    return [trial.model_copy(update=finished if trial.number in numbers else going) for trial in trials]


def test_a_new_sweep_has_all_to_run():
    options = settled(CYCLE, trials=4)
    todo = pending(options, CYCLE, [])
    assert todo == Pending(listed(options, CYCLE), 0)
    assert todo


def test_what_was_interrupted_goes_on_first_and_what_has_ended_is_not_run_again():
    options = settled(CYCLE, trials=5)
    known = ended(listed(options, CYCLE)[:4], 0, 2)
    todo = pending(options, CYCLE, known)
    assert todo.trials == [known[1], known[3], listed(options, CYCLE)[4]]
    assert todo.more == 0
    assert (todo.trials[0].checkpoint, todo.trials[0].run_id, todo.trials[0].seconds, todo.trials[0].step) == ("folder", "run", 5.0, 10)


@pytest.mark.parametrize("outcome", ["finished", "stopped", "diverged", "failed"])
def test_a_trial_ends_in_any_way(outcome):
    options = settled(CYCLE, trials=1)
    (trial,) = listed(options, CYCLE)
    assert not pending(options, CYCLE, [trial.model_copy(update={"outcome": outcome})])


def test_more_trials_later_add_just_the_new_ones():
    known = ended(listed(settled(CYCLE, trials=3), CYCLE), 0, 1, 2)
    assert not pending(settled(CYCLE, trials=3), CYCLE, known)
    assert not pending(settled(CYCLE, trials=2), CYCLE, known)
    todo = pending(settled(CYCLE, trials=5), CYCLE, known)
    assert todo.trials == listed(settled(CYCLE, trials=5), CYCLE)[3:]


def test_a_searcher_begins_with_the_recipes_own_settings():
    assert pending(settled(CYCLE, search="optuna", trials=5), CYCLE, []) == Pending([Trial(number=0, name="default", recipe=OWN)], 4)


def test_a_searcher_cannot_begin_with_what_its_space_does_not_hold():
    options = settled(CYCLE, search="optuna", trials=5, losses={"cycle": 0.001})
    assert pending(options, CYCLE, []) == Pending([], 5)


def test_a_searcher_goes_on_with_the_interrupted_and_suggests_the_rest():
    options = settled(CYCLE, search="optuna", trials=5)
    known = ended([Trial(number=number, recipe=recipe(0.1 * (number + 1))) for number in range(3)], 1)
    assert pending(options, CYCLE, known) == Pending([known[0], known[2]], 2)
    all_ended = ended(known, 0, 1, 2)
    assert pending(options, CYCLE, all_ended) == Pending([], 2)
    assert pending(options.model_copy(update={"trials": 8}), CYCLE, all_ended) == Pending([], 5)
    assert not pending(options.model_copy(update={"trials": 2}), CYCLE, all_ended)


def test_a_searcher_is_not_asked_for_more_than_there_is():
    space = parse("few", {"sampling": {"steps": {"choice": [4, 8]}, "sampler": {"choice": ["ddim", "dpm++"]}}})
    options = settled(space, trained=Path("model"), trials=12)
    todo = pending(options, space, [])
    assert (len(todo.trials), todo.more) == (1, 3)
    every = [Trial(number=number, recipe=drawn, outcome="finished") for number, drawn in enumerate(space.grid())]
    assert not pending(options, space, every)
    assert pending(options, space, every[:3]) == Pending([], 1)


# Searching


def asked(options: TuneCommand, space, known: list[Trial] = (), draws: int = 1) -> tuple[list[dict], "optuna.Study"]:
    """What a searcher suggests first, and its study before that."""
    search, domains, samples = searcher(options, space, known, pending(options, space, known))
    search.set_search_properties(None, None, domains)
    before = search._ot_study.get_trials(deepcopy=True)
    assert samples == min(options.trials, space.size) - sum(trial.outcome != "open" for trial in known)
    return [search.suggest(str(number))["recipe"] for number in range(draws)], before


KNOWN = [
    Trial(number=0, name="default", recipe=OWN, outcome="finished", history=history(3.0, 2.0)),
    Trial(number=1, recipe=recipe(0.25), outcome="stopped", history=history(4.0)),
    Trial(number=2, recipe=recipe(0.5), outcome="diverged", history=history(0.5)),
    Trial(number=3, recipe=recipe(0.75), outcome="failed"),
    Trial(number=4, recipe=recipe(0.8), history=history(9.0), checkpoint="folder"),
    Trial(number=5, recipe=recipe(0.9)),
]


def test_what_is_known_beforehand_needs_no_searcher():
    options = settled(CYCLE, trials=3)
    todo = pending(options, CYCLE, [])
    algorithm, configurations, samples = searcher(options, CYCLE, [], todo)
    assert algorithm is None
    assert configurations == {"recipe": {"grid_search": [trial.recipe for trial in todo.trials]}}
    assert samples == 1


def test_a_searcher_suggests_the_recipes_own_settings_and_then_others_of_its_space():
    (first, *others), before = asked(settled(CYCLE, search="optuna"), CYCLE, draws=12)
    assert first == OWN
    assert len({key(other) for other in [first, *others]}) == 12
    for other in others:
        assert all(CYCLE.leaves[name].holds(value) for name, value in flatten(other))
    assert [trial.state for trial in before] == [TrialState.WAITING]


def test_a_searcher_learns_from_all_that_ended_and_goes_on_with_the_interrupted():
    drawn, before = asked(settled(CYCLE, search="optuna", trials=8), CYCLE, KNOWN, draws=4)
    done = before[:4]
    assert [trial.params for trial in done] == [
        {"recipe/losses/cycle": cycle, "recipe/losses/cross_modal": cross_modal}
        for cycle, cross_modal in ((0.1, 0.5), (0.25, 0.25), (0.5, 0.25), (0.75, 0.25))
    ]
    assert [trial.state for trial in done] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL]
    assert [trial.values for trial in done] == [[2.0], [4.0], None, None]
    assert [trial.state for trial in before[4:]] == [TrialState.WAITING] * 2
    assert drawn[:2] == [KNOWN[4].recipe, KNOWN[5].recipe]
    assert len({key(each) for each in [*drawn, *(trial.recipe for trial in KNOWN)]}) == 8


def test_what_was_suggested_is_known_again_by_its_recipe():
    """Also where YAML has whole numbers for what the recipe has as a fraction."""
    space = parse("mine", {"sampling": {"steps": {"choice": [1, 8]}, "guidance": {"choice": [1, 2]}}})
    options = settled(space, search="optuna", trained=Path("model"))
    (first,), _ = asked(options, space)
    assert key(first) == key(pending(options, space, []).trials[0].recipe)


FEW = parse("few", {"sampling": {"steps": {"choice": [1, 2, 4, 8]}, "sampler": {"choice": ["ddim", "dpm++"]}}})


def search_in(space, known: list[Trial] = (), **options) -> Searcher:
    sweep = settled(space, trained=Path("model"), **options)
    search, domains, _ = searcher(sweep, space, known, pending(sweep, space, known))
    search.set_search_properties(None, None, domains)
    return search


def finish(search: Searcher, name: str, loss: float) -> None:
    search.on_trial_complete(name, {"quality_loss": loss, "latency": 0.1, "training_iteration": 1})


@pytest.mark.parametrize("objectives", [("quality",), ("quality", "latency")])
@pytest.mark.parametrize("end", [True, False], ids=["one by one", "all at once"])
def test_a_searcher_finds_every_combination_once_and_then_nothing(objectives, end):
    search, found = search_in(FEW, search="optuna", objectives=objectives, trials=20), []
    for number in range(8):
        suggested = search.suggest(str(number))
        found.append(key(suggested["recipe"]))
        if end:
            finish(search, str(number), 1.0 if suggested["recipe"]["sampling"] == {"steps": 8, "sampler": "ddim"} else 9.0)
    assert sorted(found) == sorted(key(recipe) for recipe in FEW.grid())
    assert search.suggest("more") == Searcher.FINISHED


@pytest.mark.parametrize("outcome", ["finished", "stopped", "diverged", "failed"])
def test_a_searcher_does_not_suggest_what_an_earlier_command_tried(outcome):
    known = [
        Trial(number=number, recipe=drawn, outcome=outcome, history=({"step": 1.0, "quality_loss": 1.0, "latency": 0.1},))
        for number, drawn in enumerate(FEW.grid()[:6])
    ]
    search = search_in(FEW, known, trials=8)
    assert {key(search.suggest(name)["recipe"]) for name in "ab"} == {key(recipe) for recipe in FEW.grid()[6:]}
    assert search.suggest("c") == Searcher.FINISHED


def test_the_last_of_very_many_is_found():
    space = load_space("sampling")
    *most, last = space.grid()
    rows = ({"step": 1.0, "quality_loss": 1.0, "latency": 0.1},)
    known = [Trial(number=number, recipe=drawn, outcome="finished", history=rows) for number, drawn in enumerate(most)]
    assert key(search_in(space, known, trials=len(most) + 1).suggest("a")["recipe"]) == key(last)


def test_a_searcher_is_told_of_the_trial_that_was_run():
    search = search_in(FEW, objectives=("quality",), search="optuna", trials=8)
    for number in range(8):
        search.suggest(str(number))
        finish(search, str(number), float(number))
    results = {}
    for trial in search._ot_study.get_trials():
        results.setdefault(key(trial.params), set()).add(trial.value)
    assert sorted(results.values(), key=min) == [{float(number)} for number in range(8)], "each combination has the result of its own"


def test_a_trial_that_failed_has_no_result_in_the_study():
    search = search_in(FEW, objectives=("quality",), search="optuna", trials=8)
    search.suggest("a")
    search.on_trial_complete("a", None, error=True)
    assert search._ot_study.get_trials()[0].state == TrialState.FAIL


@pytest.mark.parametrize("outcome", ["finished", "open"])
def test_a_searcher_does_not_draw_the_same_again_when_it_goes_on(outcome):
    options = settled(CYCLE, search="optuna", trials=8)
    (own, *first), _ = asked(options, CYCLE, draws=4)
    known = [
        Trial(number=number, recipe=drawn, outcome=outcome, history=history(1.0 + number)) for number, drawn in enumerate([own, *first])
    ]
    waiting = 4 if outcome == "open" else 0
    later, _ = asked(options, CYCLE, known, draws=waiting + 4)
    assert not {key(drawn) for drawn in first} & {key(drawn) for drawn in later[waiting:]}


def test_a_searcher_draws_the_same_from_the_same_seed():
    one, same, other = (asked(settled(CYCLE, search="optuna", seed=seed), CYCLE, draws=3)[0] for seed in (0, 0, 1))
    assert one == same
    assert one[0] == other[0]
    assert one[1:] != other[1:]


def test_two_objectives_are_both_minimised():
    options = settled(SAMPLING, trained=Path("model"), trials=6)
    known = [
        Trial(
            number=number,
            recipe={"sampling": {"steps": steps, "guidance": 1.5}},
            outcome="finished",
            history=({"step": 1.0, "quality_loss": loss, "latency": latency},),
        )
        for number, (steps, loss, latency) in enumerate([(1, 30.0, 0.01), (8, 10.0, 0.08)])
    ]
    known.append(Trial(number=2, recipe={"sampling": {"steps": 2, "guidance": 1.5}}, outcome="finished", history=history(5.0)))
    drawn, before = asked(options, SAMPLING, known, draws=3)
    assert [trial.values for trial in before] == [[30.0, 0.01], [10.0, 0.08], None]
    assert before[2].state == TrialState.FAIL, "who has no latency cannot be compared"
    assert all(SAMPLING.leaves[name].holds(value) for each in drawn for name, value in flatten(each))
    search, domains, _ = searcher(options, SAMPLING, known, pending(options, SAMPLING, known))
    search.set_search_properties(None, None, domains)
    assert search._ot_study.directions == [optuna.study.StudyDirection.MINIMIZE] * 2
    assert {trial.values[0] for trial in search._ot_study.best_trials} == {30.0, 10.0}


def test_a_searcher_tells_of_what_it_is_told():
    """A result under way and at the end is what the study holds of a trial."""
    options = settled(CYCLE, search="optuna")
    search, domains, _ = searcher(options, CYCLE, [], pending(options, CYCLE, []))
    search.set_search_properties(None, None, domains)
    search.suggest("a")
    search.on_trial_result("a", {"quality_loss": 5.0, "training_iteration": 1})
    search.on_trial_complete("a", {"quality_loss": 4.0, "training_iteration": 2})
    (trial,) = search._ot_study.get_trials()
    assert (trial.state, trial.values) == (TrialState.COMPLETE, [4.0])


@pytest.mark.parametrize("name", ["loss_weights", "architecture", "diffusion_steps", "sampling"])
def test_every_space_of_ours_can_be_searched_and_gone_on_with(name):
    space = load_space(name)
    options = settled(space, search="optuna", trained=Path("model") if name == "sampling" else None, trials=6)
    (own, *first), _ = asked(options, space, draws=3)
    rows = ({"step": 1.0, "quality_loss": 1.0, "latency": 0.1},)
    known = [Trial(number=number, recipe=drawn, outcome="finished", history=rows) for number, drawn in enumerate([own, *first])]
    drawn, before = asked(options, space, known, draws=3)
    assert [trial.state for trial in before] == [TrialState.COMPLETE] * 3
    for each in [*first, *drawn]:
        options.with_recipe(each)
        assert not any(isinstance(value, float) and math.isnan(value) for _, value in flatten(each))
