import unicodedata

import pytest

from ms2sl.errors import InputError
from ms2sl.text_normalization import normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  good\n\n morning\t", "good morning"),
        ("good\r\nmorning", "good morning"),
        *[(f"good{space}morning", "good morning") for space in "\x0b\x0c\x1c\x1d\x1e\x85\xa0\u2028\u2029\u3000"],
        (unicodedata.normalize("NFD", "grüße"), "grüße"),
        (" \t ", ""),
        ("", ""),
        ("None nan null", "None nan null"),
        ("ab\u200dcd \u200fשלום", "ab\u200dcd \u200fשלום"),
        ("new emoji \U0001f6d8 \U0001faea", "new emoji \U0001f6d8 \U0001faea"),  # of Unicode 16 and 17
    ],
)
def test_texts_are_composed_and_their_white_space_is_one_space(text, expected):
    assert normalise(text) == expected
    assert normalise(expected) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"gr\xfc\xdfe".decode(errors="surrogateescape"), "byte 0xFC, which is no UTF-8"),
        ("a\ud83d", r"half of a surrogate pair \(U\+D83D\)"),
        ("a\ue000b", r"private-use character, .* \(U\+E000\)"),
        ("a\U000f0000", r"\(U\+F0000\)"),
        ("a\u0378", r"Unicode does not know \(U\+0378\)"),
        ("\ufffe", r"\(U\+FFFE\)"),
        ("gr\ufffdn", r"U\+FFFD, the mark of a character that was lost in a wrong encoding"),
        ("a\0b", r"control character \(U\+0000\)"),
    ],
)
def test_what_is_no_text_is_refused_with_the_character(text, reason):
    with pytest.raises(InputError, match=reason):
        normalise(text)
