from types import SimpleNamespace

import pytest
from ray.tune.schedulers import PopulationBasedTraining

from jobs.sweep.command import TuneCommand
from jobs.sweep.search import Asha, scheduler
from ms2sl.sweep.trial_store import Trial
from tests.jobs.sweep.examples import CYCLE, OWN, history, recipe, settled
from tune_spaces import parse


def asha(options: TuneCommand | None = None, known: list[Trial] = ()) -> Asha:
    options = options or settled(CYCLE, training={"steps": 90}, num_evals=9)
    made = scheduler(options, CYCLE, known)
    assert isinstance(made, Asha)
    return made


def tuned(name: str, drawn: dict) -> SimpleNamespace:
    return SimpleNamespace(trial_id=name, config={"recipe": drawn})


def told(made: Asha, trial: SimpleNamespace, step: int, loss: float) -> bool:
    """Whether it is stopped."""
    return made.on_trial_result(None, trial, {"step": step, "quality_loss": loss}) == "STOP"


def added(made: Asha, name: str, drawn: dict) -> SimpleNamespace:
    trial = tuned(name, drawn)
    made.on_trial_add(None, trial)
    return trial


def test_asha_lets_the_better_third_go_on():
    """Of who has come before to a rung, a newcomer must reach the best third: linearly between ranks, as percentiles are."""
    made = asha()
    # Best third of [4]: 4. Of [4, 5]: 4 1/3. Of [3, 4, 5]: 3 2/3. Of [3, 3.7, 4, 5]: 3.7. Of [3, 3.6, 3.7, 4, 5]: 3.6 1/3.
    arriving = [("a", 4.0, False), ("b", 5.0, True), ("c", 3.0, False), ("d", 3.7, True), ("e", 3.6, False), ("f", 3.65, True)]
    for number, (name, loss, stopped) in enumerate(arriving):
        assert told(made, added(made, name, recipe(0.2 + 0.01 * number)), 10, loss) is stopped, name
    assert made.stopped == {"b", "d", "f"}


def test_asha_compares_at_threefold_steps_and_lets_everybody_be_between():
    made = asha()
    good, bad = (added(made, name, recipe(cycle)) for name, cycle in (("good", 0.2), ("bad", 0.3)))
    for step, loss in ((10, 9.0), (20, 2.0), (30, 1.0)):
        assert not told(made, good, step, loss)
    assert not told(made, bad, 10, 8.0)
    assert not told(made, bad, 20, 50.0), "20 is no rung"
    assert told(made, bad, 30, 1.1)


def test_asha_never_stops_the_recipes_own_settings():
    made = asha()
    assert not told(made, added(made, "good", recipe(0.2)), 10, 1.0)
    assert not told(made, added(made, "own", OWN), 10, 99.0)
    assert told(made, added(made, "bad", recipe(0.3)), 10, 99.0)
    assert made.stopped == {"bad"}


def test_asha_spares_the_variant_that_changes_nothing_wherever_it_stands():
    space = parse("mine", {"variants": {"no cycle": {"losses": {"cycle": 0.0}}, "full": {}}})
    made = scheduler(settled(space, scheduler="asha", training={"steps": 90}, num_evals=9), space, [])
    assert not told(made, added(made, "good", {"mask": {"text": 0.5}}), 10, 1.0)
    assert told(made, added(made, "no cycle", {"losses": {"cycle": 0.0}}), 10, 99.0)
    assert not told(made, added(made, "full", {}), 10, 99.0)


@pytest.mark.parametrize(("steps", "num_evals"), [(90, 9), (10, 1), (91, 10)])
def test_asha_stops_nobody_at_the_last_step(steps, num_evals):
    made = asha(settled(CYCLE, training={"steps": steps}, num_evals=num_evals))
    for number, loss in enumerate((1.0, 2.0, 99.0)):
        assert not told(made, added(made, str(number), recipe(0.2 + 0.1 * number)), steps, loss)
    assert made.stopped == set()


def test_asha_remembers_who_came_before_and_ended():
    known = [
        Trial(number=number, recipe=recipe(0.2 + 0.1 * number), outcome=outcome, history=history(loss, loss))
        for number, (outcome, loss) in enumerate([("finished", 1.0), ("stopped", 2.0), ("failed", 3.0)])
    ]
    # The best third of [1, 2, 3]: 1 2/3.
    for before, loss, stopped in (([], 1.7, False), (known, 1.6, False), (known, 1.7, True)):
        made = asha(known=before)
        assert told(made, added(made, "new", recipe(0.7)), 10, loss) is stopped


def test_asha_remembers_where_an_interrupted_trial_stood():
    """Its next report, at step 40, is not what it reached at step 10 or 30, with which newcomers are compared."""
    open_one = Trial(number=0, recipe=recipe(0.2), history=history(5.0, 4.5, 4.0))
    made = asha(known=[open_one])
    again = added(made, "again", open_one.recipe)
    assert not told(made, again, 40, 1.0)
    assert not told(made, again, 50, 0.9)
    newcomer = added(made, "new", recipe(0.3))
    assert not told(made, newcomer, 10, 4.9)
    assert not told(made, newcomer, 30, 3.9)


def test_asha_minds_no_trial_that_reported_no_number():
    known = [
        Trial(number=0, recipe=recipe(0.2), outcome="diverged", history=({"step": 10.0},)),
        Trial(number=1, recipe=recipe(0.3), outcome="failed"),
    ]
    made = asha(known=known)
    assert not told(made, added(made, "a", recipe(0.4)), 10, 5.0)
    assert told(made, added(made, "b", recipe(0.5)), 10, 6.0)


def test_a_population_has_a_scheduler_of_its_own():
    assert isinstance(scheduler(settled(CYCLE, scheduler="pbt"), CYCLE, []), PopulationBasedTraining)


def test_without_a_scheduler_nobody_is_stopped():
    assert scheduler(settled(CYCLE, scheduler="none"), CYCLE, []) is None
