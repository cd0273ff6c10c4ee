import math

from ms2sl.evaluation.objective import LATENCY, QUALITY
from ms2sl.evaluation.tables import markdown
from ms2sl.sweep.report import LONGEST_REASON, trials_table
from ms2sl.sweep.trial_store import Trial

METRICS = [("letter error %", QUALITY, 1, 1), ("ms", LATENCY, 1000, 0)]


def trial(number: int, quality: float | None = None, **fields) -> Trial:
    rows = [{"step": 100, QUALITY: 99.0, LATENCY: 0.0414}, {"step": 200} | ({QUALITY: quality} if quality is not None else {})]
    return Trial(**{"number": number, "recipe": {}, "history": rows if quality is not None else (), "outcome": "finished"} | fields)


def test_cells_of_the_table():
    drawn = {"losses": {"cycle": 0.0123456}, "model": {"schedule": "cosine", "width": 12345}, "hide": {"speech": None}, "warm": True}
    full = trial(1, 12.34, recipe=drawn, name="default", seconds=61.7)
    bare = trial(0, 56.0, recipe={"losses": {"cycle": 1e-7}}, outcome="stopped", reason="worse than most")
    assert trials_table([bare, full], METRICS) == [
        (
            *("trial", "losses.cycle", "model.schedule", "model.width", "hide.speech", "warm"),
            *("steps", "outcome", "letter error %", "ms", "seconds"),
        ),
        ("1 (default)", "0.01235", "cosine", "12345", "None", "True", "200", "finished", "12.3", "41", "62"),
        ("0", "1e-07", "", "", "", "", "200", "stopped", "56.0", "41", "0"),
    ]


def test_the_best_comes_first_and_who_was_not_judged_last():
    some = [trial(0), trial(1, 30.0), trial(2, math.nan), trial(3, 10.0), trial(4, math.inf), trial(5, -1.0), trial(6, 10.0)]
    rows = trials_table(some, METRICS)[1:]
    assert [row[0] for row in rows] == ["5", "3", "6", "1", "0", "2", "4"]
    assert [row[-3] for row in rows] == ["-1.0", "10.0", "10.0", "30.0", "", "", ""]


def test_reasons_are_told_of_what_went_wrong_on_one_short_line():
    long = "worker 0: RuntimeError: " + "CUDA out of memory " * 10
    some = [trial(0, outcome="diverged", reason="a | b\n  c"), trial(1, outcome="failed", reason=long), trial(2, outcome="failed")]
    header, *rows = trials_table(some, METRICS)
    cells = [row[header.index("outcome")] for row in rows]
    assert cells[0] == "diverged: a / b c"
    assert cells[1].startswith("failed: worker 0: RuntimeError: CUDA out")
    assert cells[1].endswith("…")
    assert len(cells[1]) == len("failed: ") + LONGEST_REASON
    assert cells[2] == "failed"
    exact = trial(0, outcome="failed", reason="x" * LONGEST_REASON)
    assert trials_table([exact], METRICS)[1][1] == "failed: " + "x" * LONGEST_REASON


def test_of_sampling_alone_no_steps_of_training_are_told():
    sampled = Trial(number=0, recipe={"sampling": {"steps": 8}}, history=({"step": 1.0, "letter_error": 2.0},))
    assert "steps" not in trials_table([sampled], METRICS)[0]


def test_it_can_be_written_as_markdown():
    text = markdown(trials_table([trial(0, 1.0), trial(1, outcome="failed", reason="a|b")], METRICS))
    assert [line.count("|") for line in text.splitlines()] == [7] * 4
    assert len(markdown(trials_table([], METRICS)).splitlines()) == 2
