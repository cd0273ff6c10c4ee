"""One self-contained page: results, and for each utterance real and produced signing side by side, moving."""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template

from ms2sl.audio.speech import Speech
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Poses
from ms2sl.rendering import still, webp
from ms2sl.text_normalization import plain


@dataclass(frozen=True)
class Column:
    """One rendering: who made it, and what a recogniser reads in it."""

    label: str
    poses: Poses
    read: str


@dataclass(frozen=True)
class Entry:
    """One utterance: its text, its speech to listen to, who signs it how, and a note on why it is shown."""

    text: str
    speech: Speech | None
    columns: Sequence[Column]
    note: str = ""


def gallery(
    title: str, intro: str, tables: Mapping[str, Sequence[Sequence[str]]], entries: Iterable[Entry], skeleton: Skeleton
) -> Iterator[str]:
    """The HTML, piece by piece. ``tables``: by title, a header row and the rows after it."""
    page = Template(files("ms2sl").joinpath("gallery.html").read_text(encoding="utf-8"))
    before, after = page.substitute(
        title=escape(title), intro=escape(intro), tables="".join(_table(*table) for table in tables.items()), entries="\0"
    ).split("\0")
    yield before
    for entry in entries:
        yield _section(entry, skeleton)
    yield after


def _table(title: str, rows: Sequence[Sequence[str]]) -> str:
    header = "".join(f"<th scope='col'>{escape(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f"<table><caption>{escape(title)}</caption><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"


def _section(entry: Entry, skeleton: Skeleton) -> str:
    player = ""
    if entry.speech is not None:
        source = _data("audio/flac", entry.speech.to_flac())
        player = f"<audio controls preload='none' src='{source}' aria-label='speech of {escape(entry.text)}'></audio>"
    note = f"<span class='note'>{escape(entry.note)}</span>" if entry.note else ""
    figures = "".join(_figure(column, entry.text, skeleton) for column in entry.columns)
    row = f"<div class='row' tabindex='0' role='group' aria-label='signing of {escape(entry.text)}'>{figures}</div>"
    return f"<section><h2>{escape(entry.text)}</h2>{note}{player}{row}</section>\n"


def _figure(column: Column, text: str, skeleton: Skeleton) -> str:
    verdict = "right" if column.read == plain(text) else "wrong"
    label = escape(column.label)
    alternative = f"{label}: {escape(text)}, signed in {column.poses.seconds:.1f} seconds"
    moving, resting = (_data("image/webp", encode(column.poses, skeleton)) for encode in (webp, still))
    return (
        f"<figure><img class='moving' loading='lazy' alt='{alternative}' src='{moving}'>"
        f"<img class='still' loading='lazy' alt='{alternative}, at rest' src='{resting}'>"
        f"<figcaption>{label}<span>read as <b class='{verdict}'>{escape(column.read) or '–'}</b></span></figcaption></figure>"
    )


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
