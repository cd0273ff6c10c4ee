"""What may change when a run goes on, what may not, and that two commands never work on one run."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import runs, train
from jobs.run_lock import held
from jobs.runs import as_begun, check_run_identity, read_recipe
from jobs.sweep.command import TuneCommand
from jobs.train import TrainCommand, dealt
from ms2sl.data.dataset import Dataset
from ms2sl.errors import InputError
from tune_spaces import load_space

OLD = {  # recipe.json as it was written before ``training.max_frames``
    "task": "ms2sl",
    "model": {
        "width": 192,
        "heads": 4,
        "encoder_layers": 2,
        "denoiser_layers": 4,
        "patch": 2,
        "embedding": 128,
        "speech_rate": 12.5,
        "dropout": 0.0,
        "schedule": "linear",
        "objective": "clean",
        "null_condition": 0.1,
    },
    "losses": {
        "denoise": 1.0,
        "velocity": 0.5,
        "position": 20.0,
        "bone": 0.1,
        "length": 0.1,
        "contrastive": 0.1,
        "cycle": 0.1,
        "agreement": 0.5,
        "pseudo": 0.5,
        "ctc": 0.3,
    },
    "hide": {"text": 0.0, "speech": 0.0},
    "training": {
        "steps": 1500,
        "batch_size": 4,
        "learning_rate": 0.002,
        "warmup": 50,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
        "ema": 0.995,
        "precision": "auto",
        "log_every": 20,
        "validate_every": 500,
        "checkpoint_every": 250,
        "seed": 0,
    },
    "workers": 1,
}


@pytest.fixture
def dataset(tiny_dataset) -> Dataset:
    return Dataset(tiny_dataset)


@pytest.fixture
def begun(dataset, tmp_path):
    """A function: options → those of a run, which an earlier version began with the defaults and batches of 4."""
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps(OLD | {"dataset": dataset.card.fingerprint}))

    def command(**options) -> TrainCommand:
        training = {"batch_size": 4} | options.pop("training", {})
        return dealt(as_begun(TrainCommand(data=str(dataset.folder), runs=tmp_path, name="old", training=training, **options)))

    return command


def come_to(folder, step: int) -> None:
    checkpoint = Path(folder) / "train" / f"step-{step:08d}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "training.json").write_text(json.dumps({"step": step}))


def finished(folder, steps: int) -> None:
    (Path(folder) / "model").mkdir()
    (Path(folder) / "model" / "config.json").write_text(json.dumps({"recipe": {"training": {"steps": steps}}}))


def test_a_lock_that_cannot_be_opened_is_an_error_that_says_what_to_do(begun, tmp_path):
    (tmp_path / ".old.lock").mkdir()  # as unwritable as another user's, even to root
    with pytest.raises(InputError, match=r"\.old\.lock cannot be written .*: choose another --name"), held(begun()):
        pass


def test_a_run_of_an_earlier_version_goes_on_with_the_same_command(begun, dataset, capsys):
    check_run_identity(begun(), dataset)
    check_run_identity(begun(), dataset)
    assert capsys.readouterr().out == ""
    assert read_recipe(begun().folder)["training"] == begun().training.model_dump()
    assert read_recipe(begun().folder)["changes"] == []
    assert begun().model.visibility is False  # which was no choice when it was begun
    with pytest.raises(InputError, match=r"model\.noise_length 1 there, 3 here"):
        check_run_identity(begun(model={"noise_length": 3}), dataset)


@pytest.mark.parametrize(
    ("change", "name", "before", "remark"),
    [
        ({"training": {"steps": 3000}}, "training.steps", 1500, "learning rate follows the schedule"),
        ({"training": {"log_every": 7}}, "training.log_every", 20, ""),
        ({"training": {"validate_every": 100}}, "training.validate_every", 500, ""),
        ({"training": {"checkpoint_every": 10}}, "training.checkpoint_every", 250, ""),
        ({"training": {"max_frames": 1000}}, "training.max_frames", 32_768, "not bit for bit"),
        ({"training": {"virtual_workers": 4}}, "training.virtual_workers", 1, "not bit for bit"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_decide_what_is_learned_may_change_and_is_recorded(begun, dataset, capsys, change, name, before, remark):
    come_to(begun().folder, 500)
    check_run_identity(begun(**change), dataset)
    said = capsys.readouterr().out
    assert f"old goes on with {name} " in said
    assert f"({before} before)" in said
    assert remark in said
    recipe = read_recipe(begun().folder)
    (recorded,) = recipe["changes"]
    assert (recorded["step"], recorded["from"]) == (500, {name: before})
    assert {key: recipe[key] for key in begun().learns} == begun(**change).learns
    check_run_identity(begun(**change), dataset)
    assert capsys.readouterr().out == ""
    assert read_recipe(begun().folder) == recipe


def test_workers_may_change_and_those_of_the_data_only_where_there_are_more(begun, dataset, capsys):
    check_run_identity(begun(workers=4), dataset)
    said = capsys.readouterr().out
    assert "old goes on with workers 4 (1 before)\n" in said
    assert "old goes on with training.virtual_workers 4 (1 before); what is learned from here on is not bit for bit" in said
    assert begun(workers=2).training.virtual_workers == 4
    check_run_identity(begun(workers=2), dataset)
    said = capsys.readouterr().out
    assert "old goes on with workers 2 (4 before); what is learned from here on is the same, but for rounding" in said
    assert "virtual" not in said
    assert [change["from"] for change in read_recipe(begun().folder)["changes"]] == [
        {"training.virtual_workers": 1, "workers": 1},
        {"workers": 4},
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"training": {"batch_size": 32}}, "training.batch_size 4 there, 32 here"),
        ({"training": {"learning_rate": 0.1}}, "training.learning_rate 0.002 there, 0.1 here"),
        ({"training": {"seed": 1}}, "training.seed 0 there, 1 here"),
        ({"training": {"precision": "fp32"}}, "training.precision auto there, fp32 here"),
        ({"losses": {"cycle": 0.7}}, "losses.cycle 0.1 there, 0.7 here"),
        ({"model": {"width": 48}, "mask": {"text": 0.5}}, "mask.text 0.0 there, 0.5 here, model.width 192 there, 48 here"),
        ({"task": "recogniser"}, r"\(task ms2sl there, recogniser here\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_decides_what_is_learned_may_not_change(begun, dataset, change, said):
    before = (Path(begun().folder) / "recipe.json").read_bytes()
    with pytest.raises(InputError, match=f"holds a run with other settings .*{said}"):
        check_run_identity(begun(**change, workers=2), dataset)
    assert (Path(begun().folder) / "recipe.json").read_bytes() == before


def test_an_option_that_is_gone_counts_where_it_was_not_at_its_default(begun, dataset):
    path = Path(begun().folder) / "recipe.json"
    check_run_identity(begun(losses={"cycle": 0.7}, workers=2).model_copy(update={"name": "new"}), dataset)
    recipe = read_recipe(Path(begun().runs) / "new")
    earlier = [
        "guidance_from",
        "language_condition",
        "noise_length",
        "overlap",
        "reordering_layers",
        "sampling_shift",
        "signer_condition",
        "visibility",
    ]
    earlier = [f"model.{name}" for name in earlier]  # which are as an older run had them
    assert recipe["chosen"] == ["dataset", "losses.cycle", *earlier, "training.batch_size", "training.virtual_workers", "workers"]
    recipe["losses"]["flow"] = 3.0  # an option of a version that had it at this default
    path.write_text(json.dumps(recipe))
    check_run_identity(begun(losses={"cycle": 0.7}, workers=2), dataset)
    recipe["chosen"].append("losses.flow")
    path.write_text(json.dumps(recipe))
    with pytest.raises(InputError, match=r"losses\.flow 3\.0 there, and unknown here"):
        check_run_identity(begun(losses={"cycle": 0.7}, workers=2), dataset)


@pytest.mark.parametrize("steps", [400, 500])
def test_a_run_cannot_end_before_the_step_that_it_has_come_to(begun, dataset, steps):
    come_to(begun().folder, 500)
    with pytest.raises(InputError, match=f"has come to step 500 already: .* to stop at {steps}"):
        check_run_identity(begun(training={"steps": steps}), dataset)
    check_run_identity(begun(training={"steps": 501}), dataset)
    assert read_recipe(begun().folder)["training"]["steps"] == 501


def test_a_finished_run_is_finished_for_its_steps_alone(begun, dataset, capsys):
    finished(begun().folder, 1500)
    assert train.run(begun()) == begun().folder / "model"
    assert "trained already" in capsys.readouterr().out
    with pytest.raises(InputError, match="has come to step 1500 already"):
        train.run(begun(training={"steps": 800}))
    with pytest.raises(InputError, match="has lost its checkpoints"):
        train.run(begun(training={"steps": 3000}))
    assert train.run(begun()) == begun().folder / "model", "the user thought better of it"


def test_the_trials_of_a_sweep_are_compared_at_the_same_step(dataset, tmp_path):
    def command(**training) -> TuneCommand:
        return TuneCommand(data=str(dataset.folder), runs=tmp_path, training=training).settled(load_space("loss_weights"))

    check_run_identity(command(), dataset)
    check_run_identity(command(log_every=3), dataset)
    with pytest.raises(InputError, match=r"training\.steps 1500 there, 3000 here"):
        check_run_identity(command(steps=3000), dataset)


def test_a_recipe_that_is_damaged_is_told_in_one_line(begun, dataset):
    (Path(begun().folder) / "recipe.json").write_text('{"task": ')
    with pytest.raises(InputError, match=r"recipe\.json cannot be read .*: restore it, or delete"):
        check_run_identity(begun(), dataset)


def test_a_recipe_is_there_whole_or_not_at_all(dataset, tmp_path, monkeypatch):
    options = TrainCommand(data=str(dataset.folder), runs=tmp_path, name="new")

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            check_run_identity(options, dataset)
    assert list(Path(options.folder).iterdir()) == []
    check_run_identity(options, dataset)


def test_two_commands_do_not_work_on_one_run(begun):
    with held(begun()):
        with pytest.raises(InputError, match=rf"another command works in .*old \(process {os.getpid()} on .*, since .*\): wait"):
            train.run(begun())
        with held(begun().model_copy(update={"name": "other"})):
            pass
    with held(begun()):
        pass


def test_a_lock_ends_with_its_process_however_it_ends(begun):
    script = "import sys; from jobs.run_lock import held; from jobs.train import TrainCommand\n"
    script += "with held(TrainCommand(runs=sys.argv[1], name='old')): print('held', flush=True); sys.stdin.read()"
    other = subprocess.Popen([sys.executable, "-c", script, begun().runs], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {other.pid} on "), held(begun()):
            pass
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    with held(begun()):
        assert runs.RECIPE == "recipe.json"
