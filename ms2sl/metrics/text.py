"""How near one text is to another. All scores are over a corpus and in per cent."""

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from rapidfuzz.distance import LCSseq, Levenshtein
from sacrebleu.metrics import BLEU, CHRF

BLEU_OPTIONS: dict[str, Any] = {"smooth_method": "floor", "smooth_value": 0.0, "effective_order": True}
ROUGE_BETA = 1.2
TOGETHER = 64  # texts whose n-grams are in memory


def letter_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Edits over the letters of the references; it can exceed 100."""
    return error_rate(hypotheses, references)


def word_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """WER of text (not of glosses): edits over the words of the references, words between spaces, in lower case and without
    punctuation; it can exceed 100."""
    return error_rate([words(text) for text in hypotheses], [words(text) for text in references])


def words(text: str) -> list[str]:
    """Its words in lower case, without punctuation."""
    return "".join(letter for letter in text.lower() if not unicodedata.category(letter).startswith("P")).split()


def error_rate(hypotheses: Sequence[Sequence], references: Sequence[Sequence]) -> float:
    """Edits over the elements of the references, in per cent."""
    edits = sum(Levenshtein.distance(hypothesis, reference) for hypothesis, reference in zip(hypotheses, references, strict=True))
    return 100 * edits / max(1, sum(map(len, references)))


def bleu(hypotheses: Sequence[str], references: Sequence[str], order: int = 4) -> float:
    """BLEU-``order`` (Papineni et al. 2002) as the field reports it: sacrebleu's ``raw_corpus_bleu``, words between spaces, no
    tokenisation, no smoothing, cumulative up to the order."""
    return bleu_of_counts(bleu_counts(hypotheses, references).sum(axis=0), order)


def bleu_counts(hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """What BLEU is computed from, of each text ``(texts, 10)``: words of hypothesis and reference, matches of n-grams of 1 to 4 words,
    n-grams of 1 to 4 words. Those of a corpus are their sum."""
    metric = BLEU(tokenize="none", **BLEU_OPTIONS, force=True)
    scores = [metric.corpus_score([text], [[reference]]) for text, reference in zip(hypotheses, references, strict=True)]
    return np.array([[score.sys_len, score.ref_len, *score.counts, *score.totals] for score in scores])


def bleu_of_counts(counts: np.ndarray, order: int = 4) -> float:
    """BLEU-``order`` of the summed ``bleu_counts`` ``(10,)`` of a corpus."""
    lengths, matches, totals = (part.tolist() for part in np.split(counts.astype(int), [2, 6]))
    return BLEU.compute_bleu(matches[:order], totals[:order], *lengths, **BLEU_OPTIONS, max_ngram_order=order).score


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """chrF2 (Popović 2015) of sacrebleu: character n-grams up to 6, no word n-grams.

    Sacrebleu keeps the n-grams of all references that it is given, so it is given some at a time; its counts are summed.
    """
    metric, counts = CHRF(), []
    for start in range(0, len(references), TOGETHER):
        some = slice(start, start + TOGETHER)
        counts.append(np.sum(metric._extract_corpus_statistics(list(hypotheses[some]), [list(references[some])]), axis=0))
    return float(metric._compute_score_from_stats(np.sum(counts, axis=0).tolist()).score)


def rouge_l(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """ROUGE-L (Lin 2004) as the field reports it: F of the longest common subsequence of words of each sentence, with β = 1.2 (recall
    counts more), averaged over sentences."""
    return float(np.mean([sentence_rouge_l(*pair) for pair in zip(hypotheses, references, strict=True)]))


def sentence_rouge_l(hypothesis: str, reference: str) -> float:
    """ROUGE-L of one sentence: (1 + β²) P R / (R + β² P) = (1 + β²) common / (β² words of the reference + words of the hypothesis)."""
    a, b = hypothesis.split(), reference.split()
    return 100 * (1 + ROUGE_BETA**2) * LCSseq.similarity(a, b) / max(1, ROUGE_BETA**2 * len(b) + len(a))
