"""A system of a package from outside does all that ours do, and no file of the project names it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = Path(__file__).parent / "outside_package"


@pytest.fixture(scope="module")
def saw(tiny_dataset, tiny_checkpoint, tiny_recogniser, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("outside")
    path = os.pathsep.join(filter(None, [str(PACKAGE), str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "tests.outside.walk", tiny_dataset, tiny_checkpoint, tiny_recogniser, folder]
    ended = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=580
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return json.loads(ended.stdout.splitlines()[-1])


def test_the_package_is_small_and_no_file_of_the_project_names_it():
    assert len((PACKAGE / "pose_recurrence.py").read_text().splitlines()) <= 150
    folders = ("ms2sl", "jobs", "serve", "tune_spaces", "benchmarks")
    assert not [path for folder in folders for path in (ROOT / folder).rglob("*.py") if "recurrence" in path.read_text().lower()]


def test_it_is_trained_and_goes_on(saw):
    assert saw["recipe"]["recurrence"] == {"width": 16}
    assert saw["recipe"]["changes"][0]["from"] == {"training.steps": 4}
    assert saw["recipe"]["changes"][0]["step"] == 4


def test_it_produces_in_batches_with_an_option_of_its_own(saw):
    assert saw["status"] == 0
    assert saw["frames"] == [10, 15]
    assert saw["settings"]["restlessness"] == 0.02
    assert saw["refused"].startswith("recurrence: unknown key 'steps'; allowed here: restlessness")


def test_it_is_judged_beside_ms2sl(saw):
    assert saw["judged"] == ["real signing", "recurrence from text", "ms2sl from text", "ms2sl from speech", "ms2sl from both", "mean pose"]


def test_its_settings_and_options_are_swept(saw):
    assert saw["trials"] == ["finished"] * 5  # four combinations, and the recipe's own


def test_mlflow_and_the_service_make_the_same(saw):
    assert saw["logged"]
    assert saw["served"]


def test_it_is_streamed_step_by_step(saw):
    assert saw["streamed"] == [8, 7]


def test_its_options_are_those_of_the_service(saw):
    assert saw["described"] == {"restlessness": 0.02}
    assert saw["openapi"]
    assert "steps" in saw["unknown option"]
    assert saw["beyond the limit"] == "restlessness: the limit is 0.5"


def test_a_score_from_outside_is_measured_and_stands_in_the_tables(saw):
    assert saw["stillness"][-1] == 1.0, "the mean pose does not move"
    assert all(0 <= value < 1 for value in saw["stillness"][:-1])
    assert saw["titles"] == 1


def test_a_term_of_the_loss_from_outside_is_weighted_and_reported(saw):
    assert saw["smoothed"]["smoothness"] > 0
    assert saw["smoothed"]["dev_smoothness"] > 0
    assert saw["not smoothed"]["smoothness"] > 0
    assert saw["smoothed"]["loss"] != saw["not smoothed"]["loss"]
