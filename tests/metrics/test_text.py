import random
from functools import cache

import pytest

from ms2sl.metrics.text import edit_distance, letter_error_rate


@pytest.mark.parametrize(
    ("a", "b", "edits"), [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2), ("hello", "helo", 1)]
)
def test_edit_distance_by_hand(a, b, edits):
    assert edit_distance(a, b) == edits


def by_recursion(a: str, b: str) -> int:
    @cache
    def edits(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(edits(i - 1, j) + 1, edits(i, j - 1) + 1, edits(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return edits(len(a), len(b))


def test_edit_distance_agrees_with_its_definition():
    rng = random.Random(0)
    for _ in range(200):
        a, b = ("".join(rng.choices("abc", k=rng.randrange(9))) for _ in range(2))
        assert edit_distance(a, b) == by_recursion(a, b) == edit_distance(b, a)


def test_letter_error_rate_pools_letters_over_the_corpus():
    assert letter_error_rate(["cat", "x"], ["cat", "house"]) == pytest.approx(100 * 5 / 8)
    assert letter_error_rate(["abcdef"], ["zz"]) == 300


def test_letter_error_rate_needs_a_hypothesis_each():
    with pytest.raises(ValueError, match="zip"):
        letter_error_rate(["a"], ["a", "b"])
