"""Options under the names that they had: what a user typed yesterday works, with a line that says what to type now."""

import json
from pathlib import Path

import pytest
import yaml

from jobs import tune
from jobs.ablate import AblateCommand
from jobs.evaluate import EvaluateCommand
from jobs.runs import check_run_identity, read_recipe
from jobs.sweep.command import TuneCommand, open_space
from jobs.train import TrainCommand
from ms2sl.data.dataset import Dataset
from ms2sl.errors import InputError
from ms2sl.sweep.trial_store import Trial, TrialStore

UNTIL = "; the former name works until version 0.3\n"


@pytest.mark.parametrize("arguments", [["--hide.speech", "0.5"], ["--hide.speech=0.5"], ['--hide={"speech": 0.5}']])
def test_a_flag_of_a_group(arguments, capsys):
    assert TrainCommand.parse(arguments).mask.speech == 0.5
    former = arguments[0].partition("=")[0]
    assert capsys.readouterr().err == f"{former} is now {former.replace('hide', 'mask')}{UNTIL}"


def test_a_weight_of_a_loss(capsys):
    assert TrainCommand.parse(["--losses.denoise", "2"]).losses.x0_mse == 2
    assert capsys.readouterr().err == f"--losses.denoise is now --losses.x0-mse{UNTIL}"


def test_a_choice_under_the_name_that_it_had(tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: {objective: velocity, null_condition: 0.2}\n")
    model = TrainCommand.parse(["--recipe", str(recipe)]).model
    assert (model.prediction_type, model.cond_drop_prob) == ("v_prediction", 0.2)
    told = ["model.objective velocity is now model.prediction_type v_prediction", "model.null_condition is now model.cond_drop_prob"]
    assert capsys.readouterr().err == "".join(f"{recipe}: {each}{UNTIL}" for each in told)
    assert TrainCommand.parse(["--model.objective", "velocity"]).model == TrainCommand.parse(["--model.prediction-type=v_prediction"]).model
    assert capsys.readouterr().err == f"--model.objective is now --model.prediction-type{UNTIL}"


@pytest.mark.parametrize("command", [EvaluateCommand, AblateCommand, TuneCommand])
def test_whom_an_evaluation_asks(command, capsys):
    assert command.parse(["--reader", "models:/reader/1"]).back_translator == "models:/reader/1"
    assert capsys.readouterr().err == f"--reader is now --back-translator{UNTIL}"


def test_the_recogniser_of_a_cascade(capsys):
    assert EvaluateCommand.parse(["--ear=own"]).asr == "own"
    assert capsys.readouterr().err == f"--ear is now --asr{UNTIL}"


@pytest.mark.parametrize(
    ("flag", "today", "value"),
    [("--champion", "--candidate", True), ("--no-champion", "--no-candidate", False), ("--fresh", "--overwrite", True)],
)
def test_a_switch(flag, today, value, capsys):
    assert getattr(TrainCommand.parse([flag]), today.removeprefix("--").removeprefix("no-")) is value
    assert capsys.readouterr().err == f"{flag} is now {today}{UNTIL}"


def test_a_recipe_over_which_flags_win_under_either_name(tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("hide: {speech: 0.5, text: 0.25}\nchampion: false\n")
    options = TrainCommand.parse(["--recipe", str(recipe), "--mask.speech", "0.75"])
    assert (options.mask.speech, options.mask.text, options.candidate) == (0.75, 0.25, False)
    assert capsys.readouterr().err == f"{recipe}: hide is now mask{UNTIL}{recipe}: champion is now candidate{UNTIL}"
    recipe.write_text("mask: {speech: 0.5}\n")
    assert TrainCommand.parse(["--recipe", str(recipe), "--hide.speech", "0.75"]).mask.speech == 0.75


def test_todays_names_are_not_remarked_on(tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("mask: {speech: 0.5}\ncandidate: false\n")
    TrainCommand.parse(["--recipe", str(recipe), "--mask.text=0.5", "--no-candidate", "--name", "hide"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--hide.speech", "0.5", "--mask.speech", "0.5"],
            r"^--hide\.speech is now --mask\.speech, and both are given: leave out --hide",
        ),
        (["--mask.speech=0.5", "--hide.speech=0.5"], r"^--hide\.speech is now --mask\.speech, and both are given"),
        (["--no-champion", "--candidate"], "^--no-champion is now --no-candidate, and both are given"),
    ],
)
def test_both_names_among_the_flags_are_an_error(arguments, said):
    with pytest.raises(InputError, match=said):
        TrainCommand.parse(arguments)


def test_both_names_in_a_recipe_are_an_error(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("hide: {speech: 0.5}\nmask: {text: 0.5}\n")
    with pytest.raises(InputError, match="hide is now mask, and both are given: leave out hide"):
        TrainCommand.parse(["--recipe", str(recipe)])


def test_help_tells_todays_names_alone(call):
    told = call("jobs.train", "--help").stdout
    assert "--mask.speech" in told
    assert "--candidate" in told
    assert "--hide" not in told
    assert "--champion" not in told


def test_a_run_that_was_begun_under_deprecated_names_goes_on(tiny_dataset, tmp_path, capsys):
    dataset = Dataset(tiny_dataset)

    def command(speech: float) -> TrainCommand:
        return TrainCommand(data=str(tiny_dataset), runs=tmp_path, name="begun", mask={"speech": speech})

    check_run_identity(command(0.5), dataset)
    written = read_recipe(command(0.5).folder)
    former = {"hide" if key == "mask" else key: value for key, value in written.items()}
    (Path(command(0.5).folder) / "recipe.json").write_text(json.dumps(former | {"chosen": ["hide.speech"]}))
    with pytest.raises(InputError, match=r"other settings \(mask\.speech 0\.5 there, 0\.25 here\)"):
        check_run_identity(command(0.25), dataset)
    check_run_identity(command(0.5), dataset)
    assert capsys.readouterr().out == "", "nothing changed"
    assert read_recipe(command(0.5).folder) == written, "and it is recorded under the names of today"


def test_a_space_and_the_sweep_that_was_begun_with_it(tiny_dataset, tmp_path, capsys):
    """The file of the space still has the former names, and what the sweep recorded has them too."""
    dataset, space = Dataset(tiny_dataset), tmp_path / "mine.yaml"
    variants = {"full": {}, "half": {"hide": {"text": 0.5}, "model": {"objective": "velocity"}}}
    space.write_text(yaml.safe_dump({"hide": {"speech": {"choice": [0.0, 0.5]}}, "variants": variants}))
    opened, former = open_space(str(space))
    assert set(opened.leaves) == {"mask.speech"}
    assert opened.variants["half"] == {"mask": {"text": 0.5}, "model": {"prediction_type": "v_prediction"}}
    assert former == {"hide": "mask", "model.objective velocity": "model.prediction_type v_prediction"}
    with pytest.raises(InputError, match="holds no dataset"):
        tune.run(TuneCommand(data=str(tmp_path), space=str(space)))
    assert capsys.readouterr().err == "".join(f"space 'mine': {name} is now {today}{UNTIL}" for name, today in former.items())
    options = TuneCommand(data=str(tiny_dataset), runs=tmp_path, name="begun", space=str(space)).settled(opened)
    check_run_identity(options, dataset)
    written = read_recipe(options.folder)
    former = {"mask": "hide", "num_evals": "judgements", "back_translator": "reader"}
    record = {former.get(key, key): value for key, value in written.items()}
    record["space"] = {"hide": written["space"]["mask"], "variants": variants}
    (Path(options.folder) / "recipe.json").write_text(json.dumps(record))
    check_run_identity(options, dataset)
    assert capsys.readouterr().out == "", "nothing changed"
    assert read_recipe(options.folder) == written


def test_a_trial_that_was_recorded_under_former_names(tmp_path):
    history = ({"step": 1, "set/losses.position": 1}, {"step": 2, "set/losses.position": 2})
    TrialStore(tmp_path).write(Trial(number=0, recipe={"hide": {"speech": 0.5}, "losses": {"position": 1}}, history=history))
    (trial,) = TrialStore(tmp_path, TuneCommand).trials()
    assert trial.recipe == {"mask": {"speech": 0.5}, "losses": {"joint_mse": 1}}
    assert trial.history == ({"step": 1, "set/losses.joint_mse": 1}, {"step": 2, "set/losses.joint_mse": 2}), "as a population has them"
    assert TuneCommand().with_recipe(trial.recipe).training_command().mask.speech == 0.5
