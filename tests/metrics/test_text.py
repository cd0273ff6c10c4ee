import itertools
import math
import random
from collections import Counter
from functools import cache

import numpy as np
import pytest
import sacrebleu
from sacrebleu.metrics import CHRF

from ms2sl.metrics import text as text_metrics
from ms2sl.metrics.text import bleu, bleu_counts, bleu_of_counts, chrf, letter_error_rate, rouge_l, word_error_rate


@pytest.mark.parametrize(
    ("a", "b", "edits"), [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2), ("hello", "helo", 1)]
)
def test_edits_by_hand(a, b, edits):
    assert letter_error_rate([a], [b]) == 100 * edits / max(1, len(b))


def by_recursion(a: str, b: str) -> int:
    @cache
    def edits(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(edits(i - 1, j) + 1, edits(i, j - 1) + 1, edits(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return edits(len(a), len(b))


def test_edits_agree_with_their_definition():
    rng = random.Random(0)
    for _ in range(200):
        a, b = ("".join(rng.choices("abc", k=rng.randrange(9))) for _ in range(2))
        assert letter_error_rate([a], [b]) == pytest.approx(100 * by_recursion(a, b) / max(1, len(b)))
        assert word_error_rate([" ".join(a)], [" ".join(b)]) == pytest.approx(letter_error_rate([a], [b]))


def test_letter_error_rate_pools_letters_over_the_corpus():
    assert letter_error_rate(["cat", "x"], ["cat", "house"]) == pytest.approx(100 * 5 / 8)
    assert letter_error_rate(["abcdef"], ["zz"]) == 300


def test_letter_error_rate_needs_a_hypothesis_each():
    with pytest.raises(ValueError, match="zip"):
        letter_error_rate(["a"], ["a", "b"])


def test_words_are_counted_between_spaces():
    assert word_error_rate(["es regnet im norden"], ["es regnet stark im süden"]) == pytest.approx(100 * 2 / 5)
    assert word_error_rate(["a b c d"], ["x"]) == 400
    assert word_error_rate(["Es regnet , heute ."], ["es regnet heute"]) == 0, "neither case nor punctuation counts"


HYPOTHESES = ["the cat sat on mat", "a b c d e f", "nothing alike"]
REFERENCES = ["the cat sat on the mat", "a b c d x f", "quite another sentence"]


def bleu_by_hand(order: int) -> float:
    """Clipped n-gram precisions and brevity penalty, as Papineni et al. define them: 0 if no n-gram of an order matches."""
    matched, possible = [0] * order, [0] * order
    for hypothesis, reference in zip(HYPOTHESES, REFERENCES, strict=True):
        a, b = hypothesis.split(), reference.split()
        for n in range(order):
            grams, others = (Counter(tuple(words[i : i + n + 1]) for i in range(len(words) - n)) for words in (a, b))
            matched[n] += sum((grams & others).values())
            possible[n] += sum(grams.values())
    precisions = [found / all_ for found, all_ in zip(matched, possible, strict=True)]
    lengths = [sum(len(text.split()) for text in texts) for texts in (HYPOTHESES, REFERENCES)]
    brevity = min(1.0, math.exp(1 - lengths[1] / lengths[0]))
    return 100 * brevity * math.exp(sum(map(math.log, precisions)) / order)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_bleu_agrees_with_its_definition(order):
    assert bleu(HYPOTHESES, REFERENCES, order) == pytest.approx(bleu_by_hand(order))


def test_bleu_is_that_of_sacrebleu_without_tokenisation():
    expected = sacrebleu.raw_corpus_bleu(HYPOTHESES, [REFERENCES]).score
    assert bleu(HYPOTHESES, REFERENCES) == pytest.approx(expected)
    assert bleu(["a b , c d"], ["a b, c d"]) < 100, "tokenisation would make them alike"


def test_the_same_text_has_every_full_score():
    assert [bleu(REFERENCES, REFERENCES, n) for n in (1, 2, 3, 4)] == pytest.approx([100] * 4)
    assert chrf(REFERENCES, REFERENCES) == pytest.approx(100)
    assert rouge_l(REFERENCES, REFERENCES) == pytest.approx(100)
    assert word_error_rate(REFERENCES, REFERENCES) == letter_error_rate(REFERENCES, REFERENCES) == 0


def test_chrf_of_texts_without_a_common_character_is_0():
    assert chrf(["aaa"], ["bbb"]) == 0


def test_rouge_by_hand():
    # longest common subsequences: "police the gunman" of 4 and 4 words; none of 1 and 2 words
    hypotheses, references = ["police ended the gunman", "x"], ["police the gunman killed", "y z"]
    assert rouge_l(hypotheses, references) == pytest.approx(100 * (3 / 4 + 0) / 2)
    recall, precision = 1 / 2, 1 / 4  # "a" of "a b" is in "a x y z"
    expected = (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)
    assert rouge_l(["a x y z"], ["a b"]) == pytest.approx(100 * expected)
    assert rouge_l([""], ["a"]) == 0


def subsequences(a: str) -> set[str]:
    return {"".join(chosen) for n in range(len(a) + 1) for chosen in itertools.combinations(a, n)}


def test_rouge_agrees_with_its_definition():
    rng = random.Random(1)
    for _ in range(100):
        a, b = ("".join(rng.choices("abc", k=rng.randrange(1, 8))) for _ in range(2))
        longest = max(map(len, subsequences(a) & subsequences(b)))
        assert rouge_l([" ".join(a)], [" ".join(b)]) == pytest.approx(100 * 2.44 * longest / (len(a) + 1.44 * len(b)))


def test_bleu_of_the_counts_of_some_clips_is_that_of_the_clips():
    counts = bleu_counts(HYPOTHESES, REFERENCES)
    for chosen in ([0, 1, 2], [2, 2, 0], [1]):
        for order in (1, 2, 3, 4):
            expected = bleu([HYPOTHESES[i] for i in chosen], [REFERENCES[i] for i in chosen], order)
            assert bleu_of_counts(counts[chosen].sum(axis=0), order) == pytest.approx(expected)


def test_chrf_is_that_of_the_corpus_though_its_n_grams_are_counted_some_texts_at_a_time(monkeypatch):
    rng = np.random.default_rng(0)
    hypotheses, references = ([" ".join(rng.choice(["snow", "rain", "in", "the", "north"], 6)) for _ in range(20)] for _ in range(2))
    counted, extract = [], CHRF._extract_corpus_statistics
    monkeypatch.setattr(
        CHRF, "_extract_corpus_statistics", lambda self, some, others: counted.append(len(some)) or extract(self, some, others)
    )
    monkeypatch.setattr(text_metrics, "TOGETHER", 8)
    assert chrf(hypotheses, references) == CHRF().corpus_score(hypotheses, [references]).score
    assert counted[:3] == [8, 8, 4]
