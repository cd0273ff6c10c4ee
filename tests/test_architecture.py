"""What DESIGN promises of the structure: the library is free of Ray, arrows point one way, files stay small."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "ms2sl").rglob("*.py"))


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


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
