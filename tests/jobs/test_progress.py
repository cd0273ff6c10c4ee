"""The bar follows what is reported, and nothing that happens to it reaches the work."""

import io
import threading
import time

import pytest

from jobs import progress
from jobs.progress import shown
from jobs.ray_reporter import WriteReports
from ms2sl.tracking.outbox import Outbox


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.01)


def report(outbox, step):
    outbox.add_metrics({"loss": 0.5, "frames_per_second": 100.0}, step)


def test_it_shows_the_newest_report_and_ends_with_the_last(capsys, tmp_path):
    outbox = Outbox(tmp_path / "reports.jsonl")
    report(outbox, 99)  # of an earlier command
    with shown(outbox, 10, "train", "step"):
        report(outbox, 4)
        outbox.add("tags", values={})
        report(outbox, 8)
    line = capsys.readouterr().err.rstrip().rpartition("\r")[2]
    assert "8/10" in line
    assert "loss 0.500, 100 frames/s" in line


def test_it_says_why_a_worker_failed_and_that_work_goes_on_from_before(capsys, tmp_path):
    outbox = Outbox(tmp_path / "reports.jsonl")
    with shown(outbox, 10, "train", "step"):
        report(outbox, 8)
        WriteReports(outbox).after_exception(None, {1: RuntimeError("it died\nand all of this is known of it")})
        report(outbox, 6)
        report(outbox, 6)
    shows = capsys.readouterr().err
    assert "train: a worker failed, rank 1: RuntimeError: it died\n" in shows
    assert "train: it goes on from its last checkpoint, before step 6 again (8 had been reported)\n" in shows
    assert "before step 6 again (6 had been reported)\n" in shows
    assert "6/10" in shows.rpartition("\r")[2]


@pytest.mark.parametrize("what", ["terminal", "file", "report"])
def test_what_breaks_it_does_not_reach_the_work(what, tmp_path, monkeypatch):
    outbox = Outbox(tmp_path / "reports.jsonl")
    if what == "terminal":
        closed = io.StringIO()
        closed.close()
        monkeypatch.setattr("sys.stderr", closed)
    raised = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    with shown(outbox, 10, "train", "step"):
        if what == "file":
            outbox.path.mkdir()
        elif what == "report":
            outbox.path.write_text('no json\n{"operation": "metrics"}\n')
        else:
            report(outbox, 4)
        time.sleep(0.1)
        done = True
    assert done
    assert raised == []
