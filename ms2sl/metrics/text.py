"""How near one text is to another. All scores are over a corpus and in per cent."""

from collections.abc import Hashable, Sequence

import numpy as np
from sacrebleu.metrics import BLEU, CHRF


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Fewest insertions, deletions and substitutions of items, such as the characters of a str (Levenshtein 1966)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def letter_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Edits over the letters of the references; it can exceed 100."""
    return _error_rate(hypotheses, references)


def word_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """WER of text (not of glosses): edits over the words of the references, words between spaces; it can exceed 100."""
    return _error_rate([text.split() for text in hypotheses], [text.split() for text in references])


def _error_rate(hypotheses: Sequence[Sequence], references: Sequence[Sequence]) -> float:
    edits = sum(edit_distance(hypothesis, reference) for hypothesis, reference in zip(hypotheses, references, strict=True))
    return 100 * edits / max(1, sum(map(len, references)))


def bleu(hypotheses: Sequence[str], references: Sequence[str], order: int = 4) -> float:
    """BLEU-``order`` (Papineni et al. 2002) as the field reports it: sacrebleu's ``raw_corpus_bleu``, words between spaces, no
    tokenisation, zero counts floored at 0.1, cumulative up to the order."""
    metric = BLEU(max_ngram_order=order, tokenize="none", smooth_method="floor", smooth_value=0.1, effective_order=True, force=True)
    return float(metric.corpus_score(list(hypotheses), [list(references)]).score)


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """chrF2 (Popović 2015) of sacrebleu: character n-grams up to 6, no word n-grams."""
    return float(CHRF().corpus_score(list(hypotheses), [list(references)]).score)


def rouge_l(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """ROUGE-L (Lin 2004): F1 of the longest common subsequence of words of each sentence, averaged over sentences."""
    pairs = ((a.split(), b.split()) for a, b in zip(hypotheses, references, strict=True))
    return 100 * float(np.mean([2 * longest_common_subsequence(a, b) / max(1, len(a) + len(b)) for a, b in pairs]))


def longest_common_subsequence(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Length of the longest sequence of items that stand in both in this order."""
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], diagonal + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]
