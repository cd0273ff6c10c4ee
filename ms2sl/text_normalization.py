"""Normalisation of texts: the same text by whatever way it comes, and no character lost on the way."""

import unicodedata

from ms2sl.errors import InputError

# Blocks of pictographs: what Unicode has added to them since this Python was made is an emoji, and no mistake.
PICTOGRAPHS = (range(0x1F000, 0x1FB00), range(0x1FC00, 0x1FFFE))
REASONS = {
    "Cc": "a control character",
    "Cs": "half of a surrogate pair",
    "Co": "a private-use character, whose meaning only a font knows",
    "Cn": "a character that Unicode does not know",
}


def normalise(text: str) -> str:
    """The text in Unicode's form NFC, with one space for each run of white space within it and none around it.

    White space is all that Unicode calls so: line feeds, form feeds, U+0085, U+2028 too. Raises InputError for characters that are no text:
    private-use, unassigned and control characters, bytes that were no UTF-8, and U+FFFD, which stands for such bytes.
    """
    composed = " ".join(unicodedata.normalize("NFC", text).split())
    for character in dict.fromkeys(composed):
        if reason := _reason(character):
            raise InputError(f"the text has {reason} in it: write it in letters that Unicode has")
    return composed


def _reason(character: str) -> str | None:
    code, category = ord(character), unicodedata.category(character)
    if character == "\ufffd":
        return "U+FFFD, the mark of a character that was lost in a wrong encoding,"
    if category not in REASONS or (category == "Cn" and any(code in block for block in PICTOGRAPHS)):
        return None
    if 0xDC80 <= code <= 0xDCFF:  # as Python keeps bytes that it cannot decode
        return f"the byte 0x{code - 0xDC00:02X}, which is no UTF-8,"
    return f"{REASONS[category]} (U+{code:04X})"


def plain(text: str) -> str:
    """How text is compared and encoded: composed, in lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).lower().split())
