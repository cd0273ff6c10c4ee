"""Which nodes are asked for what they see, and for how long."""

import threading

import pytest

from jobs.shared import can_hold, digest, unlike


@pytest.mark.parametrize(
    ("resources", "gpus", "can"),
    [
        ({"CPU": 4.0}, 0, True),
        ({"CPU": 4.0}, 1, False),
        ({"CPU": 4.0, "GPU": 1.0}, 0, True),
        ({"CPU": 4.0, "GPU": 1.0}, 0.5, True),
        ({"CPU": 4.0, "GPU": 1.0}, 2, False),
        ({"GPU": 1.0}, 0, False),
        ({"memory": 1.0}, 0, False),
    ],
)
def test_only_nodes_that_can_hold_a_worker_are_asked(resources, gpus, can):
    assert can_hold({"Alive": True, "Resources": resources}, gpus) is can
    assert not can_hold({"Alive": False, "Resources": resources}, gpus)


def test_a_file_that_shows_late_is_seen(tmp_path):
    late, same = tmp_path / "late", tmp_path / "same"
    same.write_text("x")
    writer = threading.Timer(0.2, late.write_text, ["x"])
    writer.start()
    assert unlike._function({"--runs": (str(late), digest(str(same)))}, {}, lag=5) == []
    writer.join()


def test_a_file_that_never_shows_is_told(tmp_path):
    assert unlike._function({"--runs": (str(tmp_path / "none"), "digest")}, {}, lag=0.1) == ["--runs"]
