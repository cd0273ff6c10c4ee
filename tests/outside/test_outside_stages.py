"""A system of a package from outside that is trained in two stages: together, one by one, interrupted, and from other checkpoints."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = Path(__file__).parent / "outside_package"


@pytest.fixture(scope="module")
def saw(tiny_dataset, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("stages")
    path = os.pathsep.join(filter(None, [str(PACKAGE), str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "tests.outside.walk_stages", str(tiny_dataset), str(folder)]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return json.loads(ended.stdout.splitlines()[-1])


def test_the_package_is_small_and_no_file_of_the_project_names_it():
    files = [PACKAGE / name for name in ("pose_codes.py", "pose_codes_model.py")]
    assert all(len(file.read_text().splitlines()) <= 150 for file in files)
    folders = ("ms2sl", "jobs", "serve", "tune_spaces", "benchmarks")
    assert not [path for folder in folders for path in (ROOT / folder).rglob("*.py") if "pose_codes" in path.read_text()]


def test_what_does_not_go_together_is_refused_before_anything_is_made(saw):
    assert saw["unknown"] == "codes has no stage 'decoder'; it has: tokenizer, prior"
    assert saw["of one stage"] == "ms2sl is trained in one stage: leave out --stage and --earlier"
    assert saw["general training"].endswith("say --codes.tokenizer.training.…, --codes.prior.training.… instead of --training.…")
    assert saw["from for both"] == "--from begins one of the stages tokenizer, prior: name it with --stage"
    assert "stage prior builds on tokenizer, and " in saw["too early"]
    assert "is not there: train it with --stage tokenizer, or say where it is with --earlier tokenizer=FOLDER" in saw["too early"]
    assert saw["not before"] == "--earlier prior is not before all stages that are to be trained (tokenizer)"
    assert saw["left behind"] == []


def test_one_command_trains_all_stages_each_with_its_steps_in_a_folder_of_its_own(saw):
    assert saw["folders"] == ["mlflow_run_id", "model", "prior", "recipe.json", "tokenizer"]
    assert saw["steps"] == [8, 40]
    assert saw["published"]
    whole, tokenizer, prior = (saw["recipes"][name] for name in ("", "tokenizer", "prior"))
    assert whole == {"task": "codes", "chosen": ["task"], "changes": []}
    assert tokenizer["codes"] == {"tokenizer": {"model": {"width": 16, "codes": 32}, "commitment": 0.25}}
    assert prior["codes"] == {"prior": {"model": {"width": 16}}}
    assert (tokenizer["stage"], prior["stage"]) == ("tokenizer", "prior")


def test_the_cards_say_what_they_hold_and_on_which_weights_it_was_built(saw):
    tokenizer, whole = saw["cards"]["tokenizer"], saw["cards"]["whole"]
    assert (tokenizer["kind"], whole["kind"]) == ("codes/tokenizer", "codes")
    assert tokenizer["model"] == {"tokenizer": {"width": 16, "codes": 32}}
    assert whole["model"] == {"tokenizer": {"width": 16, "codes": 32}, "prior": {"width": 16}}
    assert whole["recipe"]["earlier"] == saw["recipes"]["prior"]["earlier"]
    assert whole["recipe"]["earlier"]["tokenizer"]["model"] == "whole/tokenizer/model"
    assert whole["recipe"]["earlier"]["tokenizer"]["weights"] == saw["mlflow origin"]


def test_the_same_command_again_trains_nothing(saw):
    said = [line.partition("; model")[0] for line in saw["again"]]
    assert said[:2] == ["whole/tokenizer is trained already", "whole/prior is trained already"]


def test_after_ctrl_c_the_same_command_goes_on_with_the_stage_that_was_interrupted(saw):
    assert saw["interrupted"] == ["interrupted: run the same command again to go on", 130, False]
    assert saw["resumed"].startswith("whole/tokenizer is trained already")
    assert "whole/prior is trained already" not in saw["resumed"]
    assert saw["not trained again"]
    assert saw["as if nothing had happened"]


def test_the_last_stage_holds_the_first_and_learns_from_it(saw):
    assert saw["frozen"], "weights and codebook in the whole model are the tokenizer's, bit by bit"
    assert saw["learned other codes"], "on a tokenizer of another seed the same prior learns something else"
    assert saw["self-contained"], "it signs the same without the folders of its stages"
    assert saw["depends on the tokenizer"] > 1e-3


def test_a_stage_is_bound_to_the_weights_that_it_was_built_on(saw):
    assert "holds a run with other settings (earlier.tokenizer.weights " in saw["other prior"]
    assert "prior was built on the stage tokenizer as it is, which would go on to 12 steps" in saw["longer tokenizer"]
    assert "codes.prior.model.width 16 there, 8 here" in saw["other settings"]
    assert "has come to step 8 already" in saw["shorter"]
    assert "whole/prior goes on with training.steps 44 (40 before)" in saw["longer prior"]


def test_a_stage_begins_with_a_checkpoint_of_that_stage_on_the_same_weights(saw):
    assert "was built on another tokenizer (other/tokenizer/model) than" in saw["from another tokenizer"]
    assert saw["tuned"]
    assert saw["tuned from"]
    assert saw["whole into a stage"].endswith("holds a codes model, not a codes/tokenizer model")
    assert "is in the run that --overwrite would forget" in saw["forgotten"][0]
    assert saw["forgotten"][1]


def test_the_whole_model_is_produced_from_and_registered_and_a_stage_alone_is_not(saw):
    assert saw["produced"] == 0
    assert "holds a stage of a codes model (tokenizer), which alone makes nothing" in saw["a stage alone"]
    assert saw["mlflow"] == [["whole/prior", "codes", "prior", "FINISHED"], ["whole/tokenizer", "codes", "tokenizer", "FINISHED"]]
    assert saw["logged"] == 15
    assert saw["sweep"].startswith("a trial is one training, and codes is trained in stages")
