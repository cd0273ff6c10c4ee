"""Commands as they are called, without the seconds that a process of their own takes to load."""

import os
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest


@pytest.fixture
def call(monkeypatch, capsys):
    """A function: a module or a script, and its arguments → how it ended, as a process of its own would."""

    def call(program: str | Path, *arguments: object) -> subprocess.CompletedProcess:
        monkeypatch.setattr(sys, "argv", [str(program), *map(str, arguments)])
        monkeypatch.setattr(sys, "path", [*sys.path])
        run = runpy.run_path if isinstance(program, Path) else runpy.run_module
        more = {} if isinstance(program, Path) else {"alter_sys": True}
        capsys.readouterr()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'.*' found in sys.modules", RuntimeWarning)  # by other tests
            try:
                run(str(program), run_name="__main__", **more)
                status = 0
            except SystemExit as ended:
                status = ended.code or 0
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
        return subprocess.CompletedProcess([program, *arguments], status, *capsys.readouterr())

    return call


@pytest.fixture
def on_cluster(ray_cluster) -> dict[str, str]:
    """The environment of a command that works on the cluster of these tests."""
    return os.environ | {"RAY_ADDRESS": ray_cluster.get_runtime_context().gcs_address}
