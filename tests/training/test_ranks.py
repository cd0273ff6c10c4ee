"""Two real processes of one training: what they decide, report and learn together."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ms2sl.training.local import LocalReporter
from tests.training.ranks import CLIPS, Line, follow


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    store = tmp_path_factory.mktemp("group") / "store"
    command = [sys.executable, "-m", "tests.training.ranks"]
    root = Path(__file__).parents[2]
    started = [
        subprocess.Popen([*command, str(rank), str(store)], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    ended = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(error[-2000:] for _, error in ended)
    return [json.loads(out) for out, _ in ended]


def test_a_loss_that_explodes_on_one_rank_ends_all_ranks_at_the_same_step(ranks):
    ends = [rank["diverged"]["end"] for rank in ranks]
    assert ends[0] == ends[1]
    assert "the loss rose" in ends[0]
    assert "by step 55;" in ends[0]


def test_reports_are_of_all_ranks_together(ranks):
    first, second = (rank["accumulated"]["history"] for rank in ranks)
    keys = ("loss", "gradient_norm", "frames_per_second", "data_wait_share")
    assert [[row[key] for key in keys] for row in first] == [[row[key] for key in keys] for row in second]


def test_two_ranks_that_accumulate_over_different_numbers_of_parts_learn_what_one_learns_from_all_clips(ranks):
    parts = [rank["accumulated"]["parts"] for rank in ranks]
    assert parts[0] == [4] * 20
    assert parts[1] == [2, 1, 1] * 20
    whole = follow(Line(), CLIPS[0] + CLIPS[1], LocalReporter())
    for rank in ranks:
        assert rank["accumulated"]["weights"] == pytest.approx(whole["weights"], rel=1e-4)
        losses = [row["loss"] for row in rank["accumulated"]["history"]]
        assert losses == pytest.approx([row["loss"] for row in whole["history"]], rel=1e-4)


def test_a_rank_that_does_not_come_is_named_by_the_one_that_waits(ranks):
    assert ranks[0]["waited"] == "rank 1 of 2 had not come to step 4"
