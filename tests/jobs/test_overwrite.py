import json
from pathlib import Path

import pytest

from jobs.overwrite import forget
from jobs.runs import check_run_identity
from jobs.sweep.command import TuneCommand
from jobs.train import TrainCommand
from ms2sl.data.dataset import Dataset
from ms2sl.errors import InputError

COMMANDS = {"training": TrainCommand, "sweep": TuneCommand}


def begun(runs, kind: str, name: str = "mine"):
    """Options of a run of this kind, whose folder is there as a command leaves it."""
    options = COMMANDS[kind](runs=runs, name=name, overwrite=True)
    Path(options.folder).mkdir(parents=True)
    (Path(options.folder) / "recipe.json").write_text(json.dumps(options.learns))
    (Path(options.folder) / "train").mkdir()
    (Path(options.folder) / "train" / "checkpoint").write_bytes(b"of an earlier run")
    return options


@pytest.mark.parametrize("name", ["..", ".", "../outside", "a/b", "/tmp/x", "", "a\0b", ".hidden", "x" * 101, "a:b", "a b", "․․", "a／b"])
@pytest.mark.parametrize("command", COMMANDS.values())
def test_a_run_has_a_plain_name_on_the_command_line_and_in_a_recipe(command, name, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: {json.dumps(name)}\n")
    for arguments in ([f"--name={name}"], ["--recipe", str(recipe)]):
        with pytest.raises(InputError, match=r"^name: '.*' cannot name a file: use letters, digits, '_', '-' and '\.'"):
            command.parse(arguments)


@pytest.mark.parametrize("kind", COMMANDS)
def test_an_earlier_run_of_the_same_kind_is_forgotten_whole(kind, tmp_path):
    options = begun(tmp_path, kind)
    begun(tmp_path, kind, "other")
    forget(options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]
    forget(options)  # there is none any more


@pytest.mark.parametrize(("kind", "other"), [("training", "sweep"), ("sweep", "training")])
def test_a_run_of_another_kind_stays(kind, other, tmp_path, tiny_dataset):
    there = begun(tmp_path, other)
    with pytest.raises(InputError, match=f"holds a {other} and no {kind}, and is not deleted"):
        check_run_identity(COMMANDS[kind](runs=tmp_path, name="mine", overwrite=True), Dataset(tiny_dataset))
    assert (Path(there.folder) / "train" / "checkpoint").exists()


@pytest.mark.parametrize("recipe", [None, "", "5", '"space"', '{"task'])
def test_what_is_no_run_stays(recipe, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    options = TrainCommand(runs=tmp_path, name="mine", overwrite=True)
    forget(options)  # an empty folder is as good as none
    folder.mkdir()
    (folder / "thesis.doc").touch()
    if recipe is not None:
        (folder / "recipe.json").write_text(recipe)
    with pytest.raises(InputError, match="holds no training, and is not deleted"):
        forget(options)
    assert (folder / "thesis.doc").exists()


def test_a_link_stays_and_what_it_leads_to(tmp_path):
    elsewhere = begun(tmp_path / "elsewhere", "training")
    (tmp_path / "mine").symlink_to(elsewhere.folder)
    with pytest.raises(InputError, match="is a link and is not deleted"):
        forget(TrainCommand(runs=tmp_path, name="mine", overwrite=True))
    assert (Path(elsewhere.folder) / "recipe.json").exists()


def test_what_an_interrupted_command_left_goes_with_the_next_one(tmp_path):
    options = begun(tmp_path, "training")
    (tmp_path / ".mine.deleted" / "train").mkdir(parents=True)
    forget(options)
    assert list(tmp_path.iterdir()) == []
