import numpy as np
import pytest

from ms2sl.data.dataset import Dataset
from ms2sl.data.types import Clip
from ms2sl.evaluation.evaluator import Evaluator, SystemUnderTest, real_signing
from ms2sl.evaluation.gallery_selection import regenerate, worst_median_best
from ms2sl.evaluation.judged_clips import chosen_clips
from ms2sl.inference.sampling_config import Sampling


def row(id: str, edits: int = 0, letters: int = 4, hand_dtw: float = 0.0, log_likelihood: float = 0.0) -> dict:
    return {"id": id, "letter_edits": edits, "letters": letters, "hand_dtw": hand_dtw, "log_likelihood": log_likelihood}


def columns(rows: list[dict]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


ROWS = [row(id, edits) for id, edits in zip("dbfacge", (3, 1, 5, 0, 2, 6, 4), strict=True)]  # a is the best, g the worst


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (0, []),
        (1, ["worst g"]),
        (2, ["worst g", "best a"]),
        (3, ["worst g", "median d", "best a"]),
        (5, ["worst g", "worst f", "median d", "best b", "best a"]),
        (7, ["worst g", "worst f", "worst e", "median d", "median c", "best b", "best a"]),
        (99, ["worst g", "worst f", "worst e", "median d", "median c", "best b", "best a"]),
    ],
)
def test_the_worst_the_median_and_the_best_are_shown_in_thirds(shown, expected):
    assert [" ".join(each) for each in worst_median_best(columns(ROWS), "letters", shown)] == expected


@pytest.mark.parametrize("shown", range(12))
def test_no_clip_is_shown_twice(shown):
    ids = [id for _, id in worst_median_best(columns([row(str(i), i) for i in range(10)]), "letters", shown)]
    assert len(ids) == len(set(ids)) == min(shown, 10)


def test_worst_of_letters_has_the_most_edits_a_letter_then_the_farthest_hands():
    rows = [row("long", edits=3, letters=9), row("short", edits=2, letters=2), row("near", 0, hand_dtw=0.1), row("far", 0, hand_dtw=0.2)]
    assert [id for _, id in worst_median_best(columns(rows), "letters", 4)] == ["short", "long", "far", "near"]


def test_worst_of_sentences_is_the_least_likely():
    rows = [row("a", edits=9, log_likelihood=-1), row("b", log_likelihood=-3), row("c", log_likelihood=-2)]
    assert worst_median_best(columns(rows), "sentences", 3) == [("worst", "b"), ("median", "c"), ("best", "a")]


def test_a_text_that_cannot_be_read_does_not_disturb_the_order_of_the_others():
    rows = [row(id, log_likelihood=value) for id, value in zip("abcdef", (-1, np.nan, -3, -2, np.nan, -5), strict=True)]
    ids = [id for _, id in worst_median_best(columns(rows), "sentences", 6) if id not in "be"]
    assert ids == ["f", "c", "d", "a"]


def test_what_is_shown_is_what_was_measured(tiny_dataset, tiny_checkpoint):
    dataset = Dataset(tiny_dataset)
    judge, clips = Evaluator(dataset, None), chosen_clips(dataset, "test", 4)
    model = SystemUnderTest(
        name="model", kind="ms2sl", modality="text", source=str(tiny_checkpoint), options=Sampling(steps=2), seeds=(6, 7)
    )
    entries = [real_signing(), model, SystemUnderTest(name="random clip", kind="random clip", seeds=(2, 3))]
    clip: Clip = clips[2]
    shown = list(regenerate(judge, entries, clip))
    assert [entry for entry, _ in shown] == entries
    for entry, poses in shown:
        np.testing.assert_allclose(poses.joints, judge.produce(entry, clips, entry.seeds[0])[0][2].joints, atol=1e-4)
