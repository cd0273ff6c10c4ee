import base64
import io
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from ms2sl.audio.speech import Speech
from ms2sl.corpora.letters import alphabet
from ms2sl.data.skeleton_registry import HOLISTIC_49X2 as SKELETON
from ms2sl.data.types import Poses
from ms2sl.gallery import Column, Entry, gallery

VOID = {"meta", "img", "input", "br", "link"}
NASTY = "<script>alert('x')</script> & \"it's\" $title"


class Page(HTMLParser):
    """Elements with their attributes, all visible text, and whether tags are closed in order."""

    def __init__(self, html: str):
        super().__init__()
        self.elements, self.text, self.open = [], "", []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(text: str = "vy", columns: int = 2, speech: bool = True) -> tuple[str, Page]:
    poses = alphabet("ase")["v"].poses
    few = Poses(poses.joints[:4], poses.confidence[:4], poses.fps)
    sound = Speech(np.sin(np.arange(8000) / 20).astype(np.float32), 16000) if speech else None
    entries = [
        Entry(text, sound, [Column(f"producer {i} {text}", few, text if i else "wrong") for i in range(columns)], note=f"worst {text}")
    ]
    html = "".join(gallery(text, text, {text: [("", "error"), (text, "1.0")]}, entries, SKELETON))
    return html, Page(html)


def content(uri: str, kind: str) -> bytes:
    head, encoded = uri.split(",")
    assert head == f"data:{kind};base64"
    return base64.b64decode(encoded)


def test_it_is_well_formed_and_has_a_figure_a_column():
    _, parsed = page(columns=3)
    assert not parsed.open
    assert len(parsed.all("figure")) == 3
    for image in parsed.all("img"):
        picture = Image.open(io.BytesIO(content(image["src"], "image/webp")))
        assert picture.size == (200, 320)
        assert "vy" in image["alt"]


def test_speech_can_be_played():
    _, parsed = page()
    (player,) = parsed.all("audio")
    assert "controls" in player
    assert Speech.decode(content(player["src"], "audio/flac")).seconds == 0.5
    assert not page(speech=False)[1].all("audio")


def test_it_needs_nothing_from_elsewhere():
    html, parsed = page()
    assert "://" not in html
    assert not parsed.all("link")
    assert "url(" not in html
    assert "@import" not in html
    for _, attributes in parsed.elements:
        for name in ("src", "href", "srcset", "poster"):
            assert attributes.get(name, "data:").startswith("data:")


def test_what_users_write_stays_text():
    html, parsed = page(NASTY)
    assert len(parsed.all("script")) == len(page()[1].all("script"))
    assert "<script>alert" not in html
    assert parsed.text.count(NASTY) == 10, "title, heading, introduction, two of the table, section, its note, two labels and what is read"
    assert any(NASTY in image["alt"] for image in parsed.all("img"))
    assert not any(name.startswith("on") for _, attributes in parsed.elements for name in attributes)


def test_right_and_wrong_readings_are_marked():
    _, parsed = page()
    assert [mark["class"] for mark in parsed.all("b")] == ["wrong", "right"]


def test_motion_can_be_stopped_and_rests_for_those_who_ask_their_system():
    html, parsed = page()
    assert [image["class"] for image in parsed.all("img")] == ["moving", "still"] * 2
    (switch,) = parsed.all("input")
    assert parsed.all("label")[0]["for"] == switch["id"]
    assert "prefers-reduced-motion" in html
