from typing import get_args

import numpy as np
import pytest

from ms2sl.evaluation.aggregation import Result, Score
from ms2sl.evaluation.tables import decisive, interval, markdown, motion_table, reading_table, share_of_ceiling, with_interval
from ms2sl.systems.back_translation import Reading

KEYS = ("letter_error", "word_error", "bleu_1", "bleu_4", "chrf", "rouge_l")


def scored(value: float, seeds: int = 1) -> Score:
    return Score(value, value - 1, value + 2, tuple(np.linspace(value - 1, value + 1, seeds).tolist()))


def result(name: str, modality: str, value: float, resampled: float | None = None, seeds: int = 1, **others: float) -> Result:
    """All that is read scores ``value``; each round of resampling ``resampled``."""
    scores = {key: scored(value, seeds) for key in KEYS} | {key: scored(other) for key, other in others.items()}
    return Result(name, modality, scores, 0, {key: np.full(5, value if resampled is None else resampled) for key in KEYS})


REAL = result("real signing", "", 20.0, hand_dtw=0.0, amplitude=1.0, log_likelihood=-0.5)
RESULTS = [
    REAL,
    result("ms2sl", "text", 40.0, seeds=3, hand_dtw=0.25, amplitude=0.75, log_likelihood=np.nan),
    result("ms2sl", "speech", 50.0, hand_dtw=0.375, amplitude=0.5, log_likelihood=-2.0),
    result("other", "speech", 65.0, resampled=62.0, hand_dtw=0.5, amplitude=0.25, log_likelihood=-3.0),
    result("other", "both", 30.0, hand_dtw=np.nan, amplitude=0.25, log_likelihood=-3.0),
    result("mean pose", "", 100.0, hand_dtw=1.0, amplitude=0.0, log_likelihood=-9.0),
]


def column(table: list[tuple[str, ...]], title: str) -> list[str]:
    return [row[table[0].index(title)] for row in table[1:]]


def test_of_letters_what_is_right_is_compared_with_the_ceiling():
    assert share_of_ceiling(RESULTS[1], REAL, reads="letters") == pytest.approx(100 * 60 / 80)
    assert share_of_ceiling(REAL, REAL, reads="letters") == 100
    assert share_of_ceiling(result("x", "", 180.0), REAL, reads="letters") == 0, "more edits than letters"
    assert np.isnan(share_of_ceiling(REAL, result("x", "", 120.0), reads="letters")), "nothing is read in real signing either"


def test_of_sentences_bleu_is_compared_with_the_ceiling():
    assert share_of_ceiling(result("x", "", 5.0), REAL, reads="sentences") == pytest.approx(25)
    assert np.isnan(share_of_ceiling(REAL, result("x", "", 0.0), reads="sentences"))


def test_letters_are_decided_by_their_error_and_sentences_by_bleu():
    assert [decisive(reads) for reads in ("letters", "glosses", "sentences")] == ["letter_error", "word_error", "bleu_4"]


def test_each_is_compared_with_the_first_model_from_the_same_modality():
    gaps = column(reading_table(RESULTS, reads="letters"), "minus ms2sl")
    assert gaps == [
        "-20.0 (-20.0 to -20.0)",  # hears nothing: with text, the first
        "",
        "",
        "+15.0 (12.0 to 12.0)",  # speech: with 50, and not with 40
        "-10.0 (-10.0 to -10.0)",  # from both there is no model
        "+60.0 (60.0 to 60.0)",
    ]


def test_what_is_read_in_letters():
    table = reading_table(RESULTS, reads="letters")
    assert table[0] == ("", "from", "letter error %", "95 %", "± seeds", "% of ground truth", "minus ms2sl", "log-likelihood")
    assert table[2] == ("ms2sl", "text", "40.0", "39.0 to 42.0", "1.0", "75.0", "", "")
    assert column(table, "± seeds") == ["", "1.0", "", "", "", ""]
    assert column(table, "log-likelihood") == ["-0.50", "", "-2.00", "-3.00", "-3.00", "-9.00"]


def test_what_is_read_in_sentences():
    table = reading_table(RESULTS, reads="sentences")
    assert [title for title in table[0] if title not in reading_table(RESULTS, reads="letters")[0]] == [
        "BLEU-4",
        "BLEU-1",
        "chrF",
        "ROUGE-L",
        "WER %",
    ]
    assert column(table, "% of ground truth") == ["100.0", "200.0", "250.0", "325.0", "150.0", "500.0"]


def test_motion_has_a_column_for_what_anybody_was_measured_by():
    table = motion_table(RESULTS)
    assert table[0] == ("", "from", "hand DTW", "speed ratio")
    assert column(table, "hand DTW") == ["0.000", "0.250", "0.375", "0.500", "", "1.000"]
    assert column(table, "speed ratio") == ["1.00", "0.75", "0.50", "0.25", "0.25", "0.00"]
    varied = motion_table([*RESULTS, result("x", "", 1.0, diversity=0.125)])
    assert column(varied, "diversity") == [""] * 6 + ["0.125"]


def test_intervals():
    score = Score(1.25, -0.52, 3.0, ())
    assert interval(score) == "-0.5 to 3.0"
    assert with_interval(score) == "1.2 (-0.5 to 3.0)"
    assert with_interval(score, sign=True) == "+1.2 (-0.5 to 3.0)"
    assert interval(Score(1.0, np.nan, np.nan, ())) == ""


@pytest.mark.parametrize("reads", get_args(Reading))
def test_markdown_is_rectangular(reads):
    table = reading_table(RESULTS, reads)
    lines = markdown(table).splitlines()
    assert len(lines) == 1 + len(table)
    assert len({len(line) for line in lines}) == 1
    assert {line.count("|") for line in lines} == {len(table[0]) + 1}
    assert [cell.strip() for cell in lines[3].split("|")[1:-1]] == list(table[2])


def test_markdown_aligns_names_left_and_numbers_right():
    assert markdown([("", "from", "score"), ("me", "", "1.0")]) == (
        "|    | from | score |\n"  # as wide as what is in it
        "| -- | ---- | ----: |\n"
        "| me |      |   1.0 |"
    )


def test_of_glosses_their_error_decides_and_stands_under_its_own_name():
    table = reading_table(RESULTS, reads="glosses")
    assert column(table, "gloss error %")[:2] == ["20.0", "40.0"]
    assert column(table, "% of ground truth")[1] == "75.0"
    assert "BLEU-4" not in table[0]
