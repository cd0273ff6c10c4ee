"""What DESIGN promises of the structure: the library is free of Ray, arrows point one way, files stay small."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "ms2sl").rglob("*.py"))
# From the ground up. A module may import from its own floor and from those below.
FLOORS = [
    {"__init__", "errors", "extras", "config", "deprecated_names", "precision", "random_numbers", "entry_points", "text_normalization"}
    | {"io", "audio"},
    {"features"},
    {"data"},
    {"video"},
    {"corpora", "metrics", "nn"},
    {"training"},
    {"inference"},
    {"systems"},
    {"rendering", "gallery", "tracking", "model_uri", "mlflow_model", "client"},
    {"evaluation"},
    {"sweep"},
]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def own_imports(path: Path) -> set[str]:
    """The modules of the library that a file imports, wherever in it."""
    known, found = {module(each) for each in LIBRARY}, set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in known else node.module for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known


def floor(name: str) -> int:
    room = name.split(".")[1] if "." in name else "__init__"
    return next(i for i, rooms in enumerate(FLOORS) if room in rooms)


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_arrow_of_imports_goes_up(path):
    upwards = [name for name in own_imports(path) if floor(name) > floor(module(path))]
    assert not upwards, f"{module(path)} is on floor {floor(module(path))} and imports {upwards} from above"


def test_no_modules_import_each_other_in_a_circle():
    TopologicalSorter({module(path): own_imports(path) - {module(path)} for path in LIBRARY}).prepare()  # raises CycleError


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_imports_neither_ray_nor_the_jobs(path):
    assert not {name.split(".")[0] for name in imports(path)} & {"ray", "jobs", "serve", "tune_spaces", "benchmarks"}


def test_all_of_the_library_loads_without_ray():
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in LIBRARY]
    code = f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\nassert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("path", sorted((ROOT / "ms2sl" / "metrics").glob("*.py")), ids=lambda path: path.name)
def test_metrics_need_numpy_sacrebleu_and_rapidfuzz_alone(path):
    allowed = {"numpy", "sacrebleu", "rapidfuzz", "ms2sl"} | sys.stdlib_module_names
    assert {name.split(".")[0] for name in imports(path)} <= allowed


def test_the_library_does_not_print_and_unpickles_nothing():
    for path in LIBRARY:
        calls = {
            node.func.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert "print" not in calls, path
        assert not imports(path) & {"pickle", "joblib", "dill", "cloudpickle"}, path
        assert path.read_text().count("torch.load(") == path.read_text().count("weights_only=True"), path


def test_no_file_is_longer_than_400_lines():
    for folder in ("ms2sl", "jobs", "serve", "tune_spaces", "benchmarks", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path


def test_commands_start_without_what_only_some_of_them_need():
    """Each of Ray's workers imports them too, before it does anything."""
    code = "import sys, jobs.ablate, jobs.evaluate, jobs.prepare, jobs.produce, jobs.tune, serve.app\n"
    code += "assert not {'matplotlib', 'mlflow', 'scipy', 'sklearn', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_data_are_prepared_and_read_without_torch():
    code = "import sys, jobs.prepare, jobs.ray_dataloader\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
