"""The commands by name: ``ms2sl train …`` is ``python -m jobs.train …``."""

import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest

from jobs.__main__ import COMMANDS, main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ms2sl(tmp_path, call):
    """Calls the script as an installation writes it."""
    module, function = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["ms2sl"].split(":")
    script = tmp_path / "bin" / "ms2sl"
    script.parent.mkdir()
    script.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    return partial(call, script)


def test_all_commands_have_a_name():
    modules = [path.stem for path in (ROOT / "jobs").glob("[!_]*.py") if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")]
    assert sorted(COMMANDS) == sorted(modules)


def test_help_names_the_commands_and_loads_none(ms2sl):
    told = ms2sl("--help")
    assert told.returncode == 0
    assert told.stdout.startswith("usage: ms2sl COMMAND")
    assert all(f"\n  {name} " in told.stdout for name in COMMANDS)
    code = "import sys; from jobs.__main__ import main; sys.argv[1:] = ['--help']; main()\n"
    code += "assert not {'ray', 'torch', 'jobs.cli', *(f'jobs.{name}' for name in sys.argv[2:])} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, *COMMANDS], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)


@pytest.mark.parametrize("arguments", [(), ("trian", "--help"), ("--data", "x"), ("s3://AKIA:SECRET@bucket/folder",)])
def test_what_is_no_command_prints_usage(ms2sl, arguments):
    ended = ms2sl(*arguments)
    assert ended.returncode == 2
    assert ended.stderr.startswith("usage: ms2sl COMMAND")
    named = f"there is no command '{arguments[0].replace('AKIA:SECRET@', '')}'" if arguments else "a command is needed"
    assert ended.stderr.endswith(f"error: {named}\n")


def test_a_command_has_the_options_of_its_module_and_shows_how_it_was_called(ms2sl, call):
    by_name, by_module = ms2sl("train", "--help"), call("jobs.train", "--help")
    by_package = subprocess.run([sys.executable, "-m", "jobs", "train", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert by_name.stdout.startswith("usage: ms2sl train [")
    assert by_package.stdout.startswith("usage: python -m jobs train [")
    options = [line.split()[0] for line in by_module.stdout.splitlines() if line.strip().startswith("--")]
    assert "--training.steps" in options
    assert options == [line.split()[0] for line in by_name.stdout.splitlines() if line.strip().startswith("--")]


def test_an_error_is_that_of_the_module(ms2sl, call):
    by_name, by_module = (each("--data", "/nowhere") for each in (partial(ms2sl, "train"), partial(call, "jobs.train")))
    assert (by_name.returncode, by_name.stdout, by_name.stderr) == (by_module.returncode, by_module.stdout, by_module.stderr)
    assert by_name.stderr.startswith("error: /nowhere holds no dataset")


@pytest.mark.filterwarnings("ignore:'jobs.train' found in sys.modules:RuntimeWarning")  # by other tests
def test_modules_of_the_current_folder_are_found(tmp_path, monkeypatch):
    """As by ``python -m``, for corpora and search spaces of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "argv", ["ms2sl", "train", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert str(tmp_path) in sys.path
