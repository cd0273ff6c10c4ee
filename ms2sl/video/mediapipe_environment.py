"""An environment in which MediaPipe's Holistic runs. Its last release that has all models in its wheel wants numpy < 2, so it cannot live
in ours; and Ray's ``runtime_env`` would copy all of ours, gigabytes, for each job."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ms2sl.errors import InputError
from ms2sl.io.user_cache import user_cache

VERSION = "0.10.21"
# What it imports of what it asks for; the rest of that (jax, OpenCV with windows, sound) is a gigabyte.
PACKAGES = ("numpy>=1.26,<2", "absl-py", "attrs", "flatbuffers", "protobuf>=4.25.3,<5", "matplotlib", "opencv-python-headless>=4.10")
OTHERWISE = "it has wheels for Python 3.9 to 3.12, from a package registry; or give an environment that has it: --films.python PYTHON"
CHECK = "import mediapipe.python.solutions.holistic"


class NoDetector(InputError):
    """Keypoints cannot be found on this machine, in whatever film."""


def python_of(given: str) -> str:
    """The interpreter of an environment with MediaPipe, which is made in the user's cache if ``given`` is "" and there is none yet.

    Raises NoDetector if there is none and it cannot be made.
    """
    if given:
        _check(given, f"--films.python {given}")
        return given
    folder = environment()
    python = folder / "bin" / "python"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(folder.parent / f".{folder.name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not python.exists():  # nor where a link of it leads
                _make(folder)
    except OSError as error:
        raise NoDetector(f"{folder} cannot be made ({error.strerror}): {OTHERWISE}") from None
    return str(python)


def environment() -> Path:
    """Where it is kept between jobs."""
    return user_cache() / f"mediapipe-{VERSION}-{sys.implementation.cache_tag}"


def _make(folder: Path) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    python = str(partial / "bin" / "python")
    pip = [python, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-I", "-m", "venv", str(partial)],
        [*pip, "--no-deps", f"mediapipe=={VERSION}"],
        [*pip, *PACKAGES],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            reason = said[-1] if said else f"status {done.returncode}"
            raise NoDetector(
                f"keypoints of films need MediaPipe {VERSION}, which could not be installed in {folder} ({reason}): {OTHERWISE}"
            )
    _check(python, str(folder))
    shutil.rmtree(folder, ignore_errors=True)  # of a Python that is gone
    os.replace(partial, folder)


def _check(python: str, where: str) -> None:
    try:
        done = subprocess.run([python, "-I", "-c", CHECK], capture_output=True, text=True)
    except OSError as error:
        raise NoDetector(f"{where} cannot be run: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise NoDetector(f"{where} cannot load MediaPipe: {said[-1] if said else f'status {done.returncode}'}")
