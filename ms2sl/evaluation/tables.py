"""Results as tables: what is read in the signing, how it moves, and what finds what in the joint space."""

from collections.abc import Sequence

import numpy as np

from ms2sl.evaluation.aggregation import Result, Score
from ms2sl.evaluation.motion_scores import motion_scores
from ms2sl.systems.back_translation import Reading

Table = list[tuple[str, ...]]
# Of each kind of reader the score that decides, and what its column is called.
DECISIVE: dict[Reading, tuple[str, str]] = {
    "letters": ("letter_error", "letter error %"),
    "glosses": ("word_error", "gloss error %"),
    "sentences": ("bleu_4", "BLEU-4"),
}
MOTION = (
    *((score.title, score.name, score.digits) for score in motion_scores()),
    ("Fréchet", "frechet", 2),
    ("diversity", "diversity", 3),
)


def decisive(reads: Reading) -> str:
    """Name of the score by which readers of letters, glosses or sentences compare."""
    return DECISIVE[reads][0]


def title_of(reads: Reading) -> str:
    """What a column of the decisive score is called."""
    return DECISIVE[reads][1]


def reading_table(results: Sequence[Result], reads: Reading) -> Table:
    """What a reader reads. The first result is the ceiling, the second the one that others are compared with."""
    key = decisive(reads)
    extra = (("BLEU-1", "bleu_1"), ("chrF", "chrf"), ("ROUGE-L", "rouge_l"), ("WER %", "word_error")) if reads == "sentences" else ()
    name = title_of(reads)
    titles = ("", "from", name, "95 %", "± seeds", "% of ground truth", f"minus {results[1].name}")
    rows = [(*titles, *(title for title, _ in extra), "log-likelihood")]
    for result in results:
        score = result.scores[key]
        against = _rival(result, results[1:])
        gap = "" if against is None else with_interval(result.minus(against, key), sign=True)
        cells = (f"{score.value:.1f}", interval(score), f"{score.spread:.1f}" if len(score.seeds) > 1 else "")
        others = (f"{result.value(each):.1f}" for _, each in extra)
        share = share_of_ceiling(result, results[0], reads)
        rows.append(
            (
                result.name,
                result.modality,
                *cells,
                "" if np.isnan(share) else f"{share:.1f}",
                gap,
                *others,
                cell(result, "log_likelihood", 2),
            )
        )
    return rows


def motion_table(results: Sequence[Result]) -> Table:
    """How it moves, beside real signing."""
    shown = [column for column in MOTION if any(column[1] in result.scores for result in results)]
    rows = [("", "from", *(title for title, *_ in shown))]
    return rows + [(result.name, result.modality, *(cell(result, key, digits) for _, key, digits in shown)) for result in results]


def share_of_ceiling(result: Result, ceiling: Result, reads: Reading) -> float:
    """The score as a share of that of real signing, in per cent; of an error, what is right is compared."""
    mine, best = (each.value(decisive(reads)) for each in (result, ceiling))
    if reads != "sentences":
        mine, best = max(0.0, 100 - mine), max(0.0, 100 - best)
    return 100 * mine / best if best else float("nan")


def interval(score: Score, digits: int = 1) -> str:
    return "" if np.isnan(score.low) else f"{score.low:z.{digits}f} to {score.high:z.{digits}f}"


def with_interval(score: Score, sign: bool = False, digits: int = 1) -> str:
    return f"{score.value:{'+' if sign else ''}z.{digits}f} ({interval(score, digits)})"


def _rival(result: Result, others: Sequence[Result]) -> Result | None:
    """Whom to compare a result with: the first of the others, from the same modality if it is there; itself with nobody."""
    first = [other for other in others if other.name == others[0].name]
    same = next((other for other in first if other.modality == result.modality), first[0])
    return None if result in first else same


def cell(result: Result, key: str, digits: int) -> str:
    """A score, or nothing where there is none: of hands that nobody shows, say."""
    return f"{result.value(key):z.{digits}f}" if key in result.scores and np.isfinite(result.value(key)) else ""


def markdown(table: Table) -> str:
    """A header and rows; the first two columns are names, the others numbers."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]

    def line(row) -> str:
        cells = [cell.ljust(width) if i < 2 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))]
        return "| " + " | ".join(cells) + " |"

    rule = "| " + " | ".join("-" * width if i < 2 else "-" * (width - 1) + ":" for i, width in enumerate(widths)) + " |"
    return "\n".join([line(table[0]), rule, *map(line, table[1:])])
