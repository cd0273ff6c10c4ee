"""Which clips are looked at: not the best ones alone."""

from collections.abc import Iterator, Sequence

import numpy as np

from ms2sl.data.types import Clip, Poses
from ms2sl.evaluation.aggregation import Measures
from ms2sl.evaluation.evaluator import Evaluator, SystemUnderTest
from ms2sl.systems.back_translation import Reading


def worst_median_best(measures: Measures, reads: Reading, shown: int) -> list[tuple[str, str]]:
    """``shown`` clips in thirds, each as ``worst``, ``median`` or ``best`` and its id, from what was measured of one producer and seed.

    Worst is what is read with the most edits (of sentences, what is the least likely), then what is farthest from the real hands.
    """
    if reads == "sentences":
        wrong = -measures["log_likelihood"]
    else:
        edits, pieces = ("letter_edits", "letters") if reads == "letters" else ("word_edits", "words")
        wrong = measures[edits] / np.maximum(1, measures[pieces])
    wrong, far = (np.nan_to_num(each, nan=np.inf) for each in (wrong, measures["hand_dtw"]))
    ids = measures["id"][np.lexsort((-far, -wrong))].tolist()
    shown = min(shown, len(ids))
    ends, middle = (shown + 2) // 3, shown // 3
    best = shown - ends - middle
    start = (len(ids) - middle) // 2
    start = min(max(start, ends), len(ids) - best - middle)
    chosen = {"worst": ids[:ends], "median": ids[start : start + middle], "best": ids[len(ids) - best :]}
    return [(rank, id) for rank, some in chosen.items() for id in some]


def regenerate(judge: Evaluator, entries: Sequence[SystemUnderTest], clip: Clip) -> Iterator[tuple[SystemUnderTest, Poses]]:
    """What each entry makes of a clip with its first seed: the same as was measured."""
    for entry in entries:
        yield entry, judge.produce(entry, [clip], entry.seeds[0])[0][0]
