"""A node is lost on which a frontend was."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.service import reserved_port

pytestmark = pytest.mark.slow


def test_two_nodes_have_a_frontend_each_and_requests_are_answered_when_one_is_lost(tiny_checkpoint):
    """In a process of its own, since a process can be part of one cluster alone."""
    with reserved_port() as port:
        command = [sys.executable, "-m", "tests.serve.two_nodes", str(tiny_checkpoint), str(port)]
        run = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    happened = json.loads(next(line for line in run.stdout.splitlines() if line.startswith("{")))
    assert len(set(happened["before"])) == 2, happened
    assert happened["after"], happened
    assert happened["lost"] not in happened["after"], happened
    assert happened["answered"] > 1, happened
    assert happened["slowest"] < 15, happened  # a frontend that must be started anew is awaited for longer
