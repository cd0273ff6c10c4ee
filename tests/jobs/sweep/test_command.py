import json
from pathlib import Path

import pytest
import yaml

from jobs.models import with_folders
from jobs.sweep.command import FIXED, TuneCommand
from ms2sl.config import flatten
from ms2sl.errors import InputError
from tune_spaces import load_space, parse

CYCLE = {"losses": {"cycle": {"uniform": [0.1, 1.0]}}}
STEPS = {"sampling": {"steps": {"choice": [1, 2]}}}
BOTH = {**CYCLE, **STEPS}
VARIANTS = {"variants": {"full": {}, "cosine": {"model": {"schedule": "cosine"}}}}


def settle(content: dict, **options) -> TuneCommand:
    return TuneCommand(**options).settled(parse("mine", content))


def changed(one: TuneCommand, other: TuneCommand) -> dict:
    """What differs, by dotted name."""
    before, after = (dict(flatten(options.model_dump())) for options in (one, other))
    assert before.keys() == after.keys()
    return {name: value for name, value in after.items() if value != before[name]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            {"loses": {"cycle": {"uniform": [0, 1]}}},
            "unknown key 'loses'; a space can vary: model, losses, mask, augment, training, sampling$",
        ),
        ({"seed": {"choice": [0, 1]}}, "unknown key 'seed'; a space can vary"),
        ({"variants": {"x": {"loses": {}}}}, "unknown key 'loses'; a space can vary"),
        ({"variants": {"x": {"losses.cycle": 0.0}}}, r"unknown key 'losses\.cycle'; a space can vary"),
        ({"variants": {"x": {"name": {}}}}, "unknown key 'name'; a space can vary"),
        ({"losses": {"cycles": {"uniform": [0, 1]}}}, r"unknown key 'losses\.cycles'; allowed here: x0_mse, .*cycle, .*ctc$"),
        ({"losses": {"cycle": {"uniform": [-1, 1]}}}, r"losses\.cycle: .*greater than or equal to 0 \(got -1\)"),
        ({"mask": {"speech": {"uniform": [0.5, 1.5]}}}, r"mask\.speech: .*less than or equal to 1 \(got 1\.5\)"),
        ({"model": {"width": {"choice": [48, 50]}}}, r"model\.width: .*multiple of 8 \(got 50\)"),
        ({"model": {"heads": {"uniform": [1.5, 4]}}}, r"model\.heads: .*integer.*\(got 1\.5\)"),
        ({"model": {"schedule": {"choice": ["linear", "sigmoid"]}}}, r"model\.schedule: .*'cosine' or 'none' \(got 'sigmoid'\)"),
        ({"model": {"schedule": {"uniform": [0, 1]}}}, r"model\.schedule: "),
        ({"losses": {"cycle": {"depth": {"choice": [1]}}}}, r"losses\.cycle: .*valid number"),
        ({"losses": {"choice": [0.1, 0.2]}}, "losses: .*dictionary"),
        ({"losses": {"choice": [{"cycle": 0.1}, {"cycle": 0.2}]}}, "losses is a group of settings, each of which can vary by itself"),
        ({"variants": {"x": {"model": {"width": 50}}}}, r"model\.width: .*multiple of 8"),
        ({"variants": {"x": {"losses": {"cycle": {"uniform": [0, 1]}}}}}, r"losses\.cycle: .*valid number"),
        ({"variants": {"x": {"model": {"schedule": "none", "prediction_type": "v_prediction"}}}}, "without a path .* there is no velocity"),
    ],
)
def test_a_space_that_the_recipe_does_not_know_is_explained(content, reason):
    with pytest.raises(InputError, match=rf"^space 'mine'.*{reason}"):
        settle(content)


@pytest.mark.parametrize("name", FIXED)
def test_what_makes_trials_comparable_cannot_vary(name):
    part, key = name.split(".")
    for content in ({part: {key: {"choice": [10, 20]}}}, {"variants": {"long": {part: {key: 20}}}}):
        with pytest.raises(InputError, match=rf"space 'mine': {part}\.{key} must be the same for all trials"):
            settle(content)


def test_other_options_of_training_can_vary():
    settle({"training": {"seed": {"choice": [0, 1]}, "batch_size": {"choice": [8, 16]}, "precision": {"choice": ["fp32", "bf16"]}}})


def test_sampling_alone_needs_a_trained_model():
    with pytest.raises(InputError, match="varies sampling alone, which needs no training: name a trained model with --trained"):
        settle(STEPS)
    with pytest.raises(InputError, match="--trained"):
        settle({"variants": {"one step": {"sampling": {"steps": 1}}}})


@pytest.mark.parametrize(("content", "what"), [(CYCLE, "losses"), (BOTH, "losses"), (VARIANTS, "model")])
def test_a_trained_model_is_for_sampling_alone(content, what):
    with pytest.raises(InputError, match=rf"--trained is for a space of sampling alone, but 'mine' varies {what}$"):
        settle(content, trained=Path("model"))


@pytest.mark.parametrize("search", ["random", "optuna"])
def test_variants_are_all_tried_and_not_drawn(search):
    with pytest.raises(InputError, match=f"has variants, which are all tried: leave out --search {search}"):
        settle(VARIANTS, search=search)


@pytest.mark.parametrize("scheduler", ["asha", "pbt"])
def test_stopping_early_needs_one_objective_and_trainings(scheduler):
    with pytest.raises(InputError, match=f"--scheduler {scheduler} needs trainings and one objective"):
        settle(CYCLE, scheduler=scheduler, objectives=("quality", "latency"), search="random")
    with pytest.raises(InputError, match=f"--scheduler {scheduler} needs trainings and one objective"):
        settle(STEPS, scheduler=scheduler, objectives=("quality",), trained=Path("model"))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (CYCLE | {"model": {"width": {"choice": [48, 96]}}}, r"model\.width"),
        ({"training": {"seed": {"choice": [1, 2]}}}, r"training\.seed"),
        ({"mask": {"speech": {"uniform": [0, 1]}}}, r"mask\.speech"),
        ({"variants": {"full": {}, "half": {"losses": {"cycle": 0.0}}}}, "variants"),
    ],
)
def test_a_population_cannot_change_what_is_decided_before_training(content, what):
    with pytest.raises(InputError, match=f"--scheduler pbt changes settings in mid-training: .* but not {what}$"):
        settle(content, scheduler="pbt")


@pytest.mark.parametrize("options", [{"search": "optuna"}, {"search": "grid"}, {"workers_per_trial": 2}, {"trials": 1}])
def test_a_population_is_drawn_at_random_and_shares_one_device_a_trial(options):
    with pytest.raises(InputError, match="--scheduler pbt needs --search random, one worker a trial and at least two trials"):
        settle(CYCLE, scheduler="pbt", **options)


def test_a_population_may_change_losses_and_the_learning_rate():
    training = {"training": {"learning_rate": {"loguniform": [1e-4, 1e-2]}, "weight_decay": {"uniform": [0, 0.1]}}}
    options = settle(CYCLE | training, scheduler="pbt")
    assert (options.search, options.scheduler) == ("random", "pbt")


@pytest.mark.parametrize(
    ("name", "search", "scheduler", "objectives"),
    [
        ("loss_weights", "random", "asha", ("quality",)),
        ("architecture", "random", "asha", ("quality",)),
        ("diffusion_steps", "optuna", "none", ("quality", "latency")),
        ("sampling", "optuna", "none", ("quality", "latency")),
        ("ablations", "grid", "none", ("quality",)),
    ],
)
def test_what_is_left_open_is_decided_by_the_space(name, search, scheduler, objectives):
    trained = Path("model") if name == "sampling" else None
    options = TuneCommand(space=name, trained=trained).settled(load_space(name))
    assert (options.search, options.scheduler, options.objectives) == (search, scheduler, objectives)


def test_what_the_user_said_is_not_decided_again():
    options = settle(BOTH, search="random", scheduler="asha", objectives=("quality",))
    assert (options.search, options.scheduler, options.objectives) == ("random", "asha", ("quality",))
    assert settle(CYCLE, scheduler="none").scheduler == "none"
    assert settle(STEPS, trained=Path("model"), search="grid").search == "grid"


def test_an_objective_said_twice_is_one():
    options = settle(CYCLE, objectives=("quality", "quality"))
    assert options.metrics == ["quality_loss"]
    assert options.scheduler == "asha"
    assert settle(CYCLE, objectives=("latency", "quality")).metrics == ["quality_loss", "latency"]


def test_speed_alone_is_nothing_to_search_for():
    with pytest.raises(InputError, match="needs quality too"):
        settle(CYCLE, objectives=("latency",))


def test_what_decides_latency_decides_what_is_found_where_latency_counts():
    both = {"objectives": ("quality", "latency")}
    assert settle(CYCLE, **both).learns != settle(CYCLE, **both, cpus_per_trial=3).learns


def test_a_population_takes_turns_on_all_there_is():
    with pytest.raises(InputError, match="leave out --concurrent"):
        settle(CYCLE, scheduler="pbt", concurrent=2)


def test_workers_in_other_folders_find_what_was_said_here():
    options = settle(STEPS, trained=Path("model"), back_translator=Path("reader"), runs=Path("runs"))
    options = with_folders(options, "back_translator", "trained", within=options.runs)
    assert (options.trained, options.back_translator, options.runs) == tuple(str(Path.cwd() / name) for name in ("model", "reader", "runs"))


def test_settling_twice_changes_nothing():
    options = settle(BOTH)
    assert options.settled(parse("mine", BOTH)) == options


def test_a_trial_differs_in_what_it_drew_alone():
    options = settle(BOTH, data="elsewhere", model={"width": 48}, losses={"cross_modal": 0.25}, training={"steps": 90}, trials=7)
    assert changed(options, options.with_recipe({})) == {}
    drawn = {"losses": {"cycle": 0.75}, "sampling": {"steps": 2}}
    assert changed(options, options.with_recipe(drawn)) == {"losses.cycle": 0.75, "sampling.steps": 2}
    assert changed(options.with_recipe(drawn), options.with_recipe({"losses": {"cycle": 0.5}})) == {
        "losses.cycle": 0.5,
        "sampling.steps": 8,
    }


def test_a_trial_that_is_none_is_explained():
    with pytest.raises(InputError, match=r"^trial 7: model: .*heads \(3\) must divide width \(40\)"):
        settle(CYCLE).with_recipe({"model": {"width": 40, "heads": 3}}, "trial 7: ")


def test_the_recipes_own_settings_are_those_of_the_command():
    options = settle(BOTH, losses={"cycle": 0.3}, sampling={"steps": 4})
    assert options.own(["sampling.steps", "losses.cycle"]) == {"sampling": {"steps": 4}, "losses": {"cycle": 0.3}}
    assert options.own([]) == {}


def test_who_changes_nothing_is_the_recipe_itself():
    options = settle(CYCLE, losses={"cycle": 1.0})
    for recipe in ({}, {"losses": {}}, {"losses": {"cycle": 1.0}}, {"losses": {"cycle": 1}}, {"model": {"schedule": "linear"}}):
        assert options.is_own(recipe)
    for recipe in ({"losses": {"cycle": 0.9}}, {"losses": {"cycle": 1.0, "cross_modal": 0.1}}, {"sampling": {"steps": 1}}):
        assert not options.is_own(recipe)


@pytest.mark.parametrize(("steps", "num_evals"), [(1500, 9), (10, 9), (7, 9), (1, 9), (100, 1), (90, 10), (91, 10)])
def test_a_trial_is_judged_as_often_as_was_said_and_at_its_end(steps, num_evals):
    options = settle(CYCLE, training={"steps": steps}, num_evals=num_evals)
    judged = [step for step in range(1, steps + 1) if step == steps or step % options.interval == 0]
    assert len(judged) <= num_evals
    assert options.steps == steps
    gaps = {after - before for before, after in zip([0, *judged], judged, strict=False)}
    assert max(gaps) == options.interval == min(gap for gap in range(1, steps + 1) if gap * num_evals >= steps)


def test_a_trained_model_is_judged_once():
    options = settle(STEPS, trained=Path("model"), training={"steps": 300})
    assert (options.trains, options.steps, options.interval) == (False, 1, 1)


def test_the_training_of_a_trial_is_judged_checkpointed_and_reported_at_the_same_steps():
    training = {"steps": 90, "batch_size": 3, "seed": 5, "log_every": 1, "validate_every": 2, "checkpoint_every": 3}
    options = settle(CYCLE, training=training, num_evals=9, model={"width": 48}, mask={"text": 0.5}, data="d", workers_per_trial=2)
    command = options.with_recipe({"losses": {"cycle": 0.75}}).training_command()
    said = command.training
    assert (said.validate_every, said.checkpoint_every, said.log_every) == (10, 10, 10)
    assert (said.steps, said.batch_size, said.seed) == (90, 3, 5)
    assert (command.task, command.losses.cycle, command.model.width, command.mask.text) == ("ms2sl", 0.75, 48, 0.5)
    assert (command.data, command.workers, command.gpu) == ("d", 2, False)
    assert settle(CYCLE, gpus_per_trial=0.5).training_command().gpu


def test_keys_in_the_uri_of_a_sweep_are_refused_since_ray_would_write_them_down():
    with pytest.raises(InputError, match=r"--runs s3://bucket/runs: Ray Tune would write the keys") as refused:
        settle(CYCLE, runs="s3://AKIA:SECRET@bucket/runs")
    assert "SECRET" not in str(refused.value)
    assert settle(CYCLE, runs="s3://bucket/runs?scheme=http").folder.name == "sweep"


def test_judging_is_what_was_said(tmp_path):
    options = settle(CYCLE, back_translator=tmp_path, score="hand_dtw", clips=7, sampling={"steps": 3})
    judging = options.with_recipe({"sampling": {"guidance": 2.0}}).judging
    assert (judging.back_translator, judging.score, judging.clips) == (str(tmp_path), "hand_dtw", 7)
    assert (judging.sampling.steps, judging.sampling.guidance) == (3, 2.0)


def test_how_long_and_where_a_sweep_runs_does_not_decide_what_it_finds():
    free = {
        "trials": 99,
        "minutes": 3.0,
        "concurrent": 2,
        "name": "other",
        "runs": Path("elsewhere"),
        "overwrite": True,
        "cpus_per_trial": 3,
    }
    free |= {"gpus_per_trial": 0.5, "max_failures": 5, "alias": "best", "tracking": "sqlite:///x.db", "experiment": "mine"}
    settled = [TuneCommand(**options).settled(load_space("loss_weights")) for options in ({}, free)]
    assert settled[0].learns == settled[1].learns


@pytest.mark.parametrize(
    "decisive",
    [
        {"search": "optuna"},
        {"scheduler": "none"},
        {"objectives": ("quality", "latency")},
        {"num_evals": 3},
        {"back_translator": Path("other")},
        {"score": "hand_dtw"},
        {"clips": 5},
        {"seed": 1},
        {"workers_per_trial": 2},
        {"losses": {"bone": 0.2}},
        {"model": {"width": 48}},
        {"mask": {"text": 0.5}},
        {"training": {"steps": 90}},
        {"sampling": {"steps": 3}},
        {"space": "architecture"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_decides_what_is_found_is_known_again(decisive):
    plain, other = (TuneCommand(**options).settled(load_space(options.get("space", "loss_weights"))) for options in ({}, decisive))
    assert plain.learns != other.learns


def test_a_space_of_the_users_that_was_edited_is_another(tmp_path):
    path = tmp_path / "mine.yaml"

    def learns(content: dict) -> dict:
        path.write_text(yaml.safe_dump(content))
        return TuneCommand(space=str(path)).settled(load_space(str(path))).learns

    assert learns(CYCLE) == learns(CYCLE)
    assert len({json.dumps(learns(content)) for content in (CYCLE, {"losses": {"cycle": {"uniform": [0.1, 2.0]}}}, VARIANTS)}) == 3


@pytest.mark.parametrize("name", ["loss_weights", "ablations", "diffusion_steps"])
def test_what_decides_is_the_same_after_it_was_written_and_read(name):
    settled = TuneCommand(space=name).settled(load_space(name))
    learns = settled.learns
    assert json.loads(json.dumps(learns)) == learns
    assert {"model", "losses", "mask", "augment", "training", "sampling"} == set(settled.parts) < set(learns)


def test_the_command_line_says_all_of_it():
    arguments = "--objectives quality,latency --space x --losses.cycle 0.3 --model.width 48 --sampling.sampler dpm++ --trials 3 --overwrite"
    arguments += " --workers-per-trial 2 --gpus-per-trial 0.5 --scheduler none --trained somewhere --minutes 1.5 --score hand_dtw"
    options = TuneCommand.parse(arguments.split())
    assert options.objectives == ("quality", "latency")
    assert (options.space, options.losses.cycle, options.model.width, options.sampling.sampler) == ("x", 0.3, 48, "dpm++")
    assert (options.trials, options.overwrite, options.workers_per_trial, options.gpus_per_trial) == (3, True, 2, 0.5)
    assert (options.scheduler, options.trained, options.minutes, options.score) == ("none", "somewhere", 1.5, "hand_dtw")
    assert TuneCommand.parse(["--objectives", "latency"]).objectives == ("latency",)
    assert TuneCommand.parse(["--objectives", "quality", "--objectives", "latency"]).objectives == ("quality", "latency")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--objectives", "quality,beauty"], r"objectives\.1: .*'quality' or 'latency'.*'beauty'"),
        (["--search", "hyperopt"], "search: .*'random', 'grid' or 'optuna'"),
        (["--trials", "0"], "trials: .*greater than 0"),
        (["--losses.cycle", "-1"], r"losses\.cycle: .*greater than or equal to 0"),
        (["--name", "a/b"], "name: 'a/b' cannot name a file"),
    ],
)
def test_an_option_that_is_wrong_is_explained(arguments, reason):
    with pytest.raises(InputError, match=reason):
        TuneCommand.parse(arguments)
