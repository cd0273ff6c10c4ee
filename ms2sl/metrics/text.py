"""How near one text is to another."""

from collections.abc import Sequence


def edit_distance(a: str, b: str) -> int:
    """Fewest insertions, deletions and substitutions of characters (Levenshtein 1966)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def letter_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Edits over the letters of the references, in per cent, over the whole corpus; it can exceed 100."""
    edits = sum(edit_distance(hypothesis, reference) for hypothesis, reference in zip(hypotheses, references, strict=True))
    return 100 * edits / max(1, sum(map(len, references)))
