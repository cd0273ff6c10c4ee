"""What became of all that was found: used, used in part, refused or ignored, and why."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from pydantic import Field

from ms2sl.config import Config

SHOWN = 8  # kinds of remarks, reasons and files
LONGEST = 120  # characters of a kind
# What differs from clip to clip, and stands for itself alone: quoted names, files and paths, numbers.
OWN = re.compile(r"(?<!\w)'(?:[^']|\b'\b)*'(?!\w)|\"[^\"]*\"|\S*/\S+|\S+\.[A-Za-z][A-Za-z0-9]{1,7}\b|(?<!UTF-)(?<![\w.])-?\d+(?:[.,:]\d+)*")


class Counts(Config):
    """Numbers of clips or utterances; remarks, reasons: how many have one of that kind; ignored: files and rows that are none, by kind."""

    used: int
    in_part: int
    refused: int
    remarks: dict[str, int] = Field(default_factory=dict)
    reasons: dict[str, int] = Field(default_factory=dict)
    ignored: dict[str, int] = Field(default_factory=dict)

    @classmethod
    def of(cls, remarks: Iterable[Iterable[str]], reasons: Iterable[str], ignored: Mapping[str, int]) -> "Counts":
        """remarks: of each that was used; reasons: of each that was refused."""
        told, why, used, in_part = Counter(), Counter(map(kind, reasons)), 0, 0
        for each in remarks:
            kinds = set(map(kind, each))
            told.update(kinds)
            used, in_part = used + (not kinds), in_part + bool(kinds)
        ordered = (dict(counter.most_common()) for counter in (told, why, Counter(ignored)))
        return cls(used=used, in_part=in_part, refused=why.total(), **dict(zip(("remarks", "reasons", "ignored"), ordered, strict=True)))

    def lines(self, what: str) -> list[str]:
        """For people: a sum of all that was found, and the kinds."""
        ignored = sum(self.ignored.values())
        parts = {"used": self.used, "used in part or mended": self.in_part, "refused": self.refused, "ignored": ignored}
        total = f"{sum(parts.values())} {what} and other things found: " if ignored else f"{sum(parts.values())} {what} found: "
        kinds = {"used in part or mended": self.remarks, "refused": self.reasons, "ignored": self.ignored}
        return [
            total + ", ".join(f"{count} {name}" for name, count in parts.items()),
            *(f"  {name}: {shown(counts)}" for name, counts in kinds.items() if counts),
        ]


def kind(reason: str) -> str:
    """A remark or a reason without what it says of one clip alone."""
    return re.sub(r"(?:… ?[,;]? ?)+…", "…", OWN.sub("…", reason))[:LONGEST]


def shown(counts: Mapping[str, int]) -> str:
    """The most frequent ones, in a line."""
    ordered = Counter(counts).most_common()
    rest = sum(count for _, count in ordered[SHOWN:])
    return "; ".join([f"{count} × {name}" for name, count in ordered[:SHOWN]] + [f"{rest} × others"] * bool(rest))
