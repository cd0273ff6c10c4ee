import math
from pathlib import Path

import pytest

from ms2sl.errors import InputError
from ms2sl.sweep.trial_store import Trial, TrialStore

FULL = Trial(
    number=3,
    recipe={"losses": {"cycle": 0.125, "cross_modal": 1}, "model": {"schedule": "cosine"}, "hide": {"speech": None}},
    name="ohne Zyklus – ä",
    history=({"step": 10, "quality_loss": 40.5}, {"step": 20, "quality_loss": 0.1 + 0.2, "latency": 0.04}),
    outcome="diverged",
    reason='the loss is "not a number"',
    checkpoint="s3://bucket/folder",
    run_id="abc",
    seconds=12.5,
)


@pytest.fixture
def ledger(tmp_path) -> TrialStore:
    return TrialStore(tmp_path / "new" / "ledger")


def test_there_is_nothing_before_the_first(ledger):
    assert ledger.trials() == []


def test_a_trial_comes_back_as_it_was(ledger):
    ledger.write(FULL)
    ledger.write(Trial(number=4, recipe={}))
    assert ledger.trials() == [FULL, Trial(number=4, recipe={})]


def test_what_is_no_finite_number_comes_back_too(ledger):
    ledger.write(Trial(number=0, recipe={}, history=({"step": 1, "quality_loss": math.nan, "frechet": math.inf},)))
    (row,) = ledger.trials()[0].history
    assert math.isnan(row["quality_loss"])
    assert row["frechet"] == math.inf


def test_trials_are_in_the_order_of_their_numbers(ledger):
    numbers = [7, 123456, 0, 99999, 10]
    for number in numbers:
        ledger.write(Trial(number=number, recipe={}))
    assert [trial.number for trial in ledger.trials()] == sorted(numbers)


def test_a_trial_is_replaced_and_leaves_nothing_else(ledger):
    for seconds in (1.0, 2.0):
        ledger.write(FULL.model_copy(update={"seconds": seconds}))
    assert [trial.seconds for trial in ledger.trials()] == [2.0]
    assert [path.name for path in Path(ledger.folder).iterdir()] == ["00003.json"]


def test_a_write_that_fails_leaves_the_old_one(ledger, monkeypatch):
    ledger.write(FULL)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError, match="No space left"):
        ledger.write(FULL.model_copy(update={"seconds": 99.0}))
    monkeypatch.undo()
    assert ledger.trials() == [FULL]
    assert [path.name for path in Path(ledger.folder).iterdir()] == ["00003.json"]


def test_what_another_process_is_writing_is_no_trial(ledger):
    ledger.write(FULL)
    (Path(ledger.folder) / ".00004.json.123").write_text("{")
    assert ledger.trials() == [FULL]


@pytest.mark.parametrize("content", [b"", b'{"number": 3, "recipe"', b"[]", b'{"number": 3}', b'{"number": 3, "recipe": {"a": "\xff'])
def test_a_broken_file_is_named_and_may_be_deleted(ledger, content):
    ledger.write(FULL)
    broken = Path(ledger.folder) / "00005.json"
    broken.write_bytes(content)
    with pytest.raises(InputError, match="delete it, and that trial is run again") as raised:
        ledger.trials()
    assert str(broken) in str(raised.value)
    assert "\n" not in str(raised.value)
    broken.unlink()
    assert ledger.trials() == [FULL]


def test_what_is_known_of_a_trial():
    assert FULL.label == "3 (ohne Zyklus – ä)"
    assert Trial(number=4, recipe={}).label == "4"
    assert FULL.drawn == {"losses.cycle": 0.125, "losses.cross_modal": 1, "model.schedule": "cosine", "hide.speech": None}
    assert (FULL.step, Trial(number=4, recipe={}).step) == (20, 0)
    early = FULL.model_copy(update={"history": (*FULL.history, {"step": 30.0, "latency": 0.05})})
    assert (early.value("quality_loss"), early.value("latency")) == (0.1 + 0.2, 0.05), "the last one that was reported"
    assert math.isnan(FULL.value("chrf"))
