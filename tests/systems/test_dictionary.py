import csv
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from ms2sl.corpora.letters import lexicon
from ms2sl.data.skeleton_registry import HOLISTIC_49X2 as SKELETON
from ms2sl.data.types import Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.metrics.motion import hand_dtw, movement
from ms2sl.systems.dictionary.producer import FINGERSPELLING, Dictionary

COLUMNS = ("path", "spoken_language", "signed_language", "start", "end", "words", "glosses", "priority")
SIGNS = {"house": "h", "tree": "t"}  # each signed as a letter is, so that it can be told from what is spelled


def opened(source: str | Path = FINGERSPELLING, spoken: str = "en", signed: str = "ase", fps: float = 12.5) -> Dictionary:
    return Dictionary(str(source), SKELETON, fps, spoken, signed)


def sign(dictionary: Dictionary, text: str | None, seconds: float | None = None) -> Poses:
    return dictionary.produce([Utterance("u", text=text, seconds=seconds)], seed=0)[0]


def near(one: Poses, other: Poses) -> bool:
    return one.joints.shape == other.joints.shape and np.allclose(one.joints, other.joints, atol=1e-5)


def written(folder: Path, signs: Mapping[str, str], columns: tuple[str, ...] = COLUMNS) -> Path:
    """A user's own dictionary in the format of spoken-to-signed, of recordings of letters."""
    with (lexicon() / "index.csv").open(newline="", encoding="utf-8") as file:
        recordings = {row["words"].lower(): row for row in csv.DictReader(file) if row["signed_language"] == "ase"}
    folder.mkdir()
    with (folder / "index.csv").open("w", newline="") as file:
        rows = csv.DictWriter(file, columns, extrasaction="ignore")
        rows.writeheader()
        for word, letter in signs.items():
            row = recordings[letter]
            shutil.copy(lexicon() / row["path"], folder / f"{word}.pose")
            rows.writerow(row | {"path": f"{word}.pose", "words": word, "glosses": word.upper()})
    return folder


@pytest.fixture(scope="module")
def letters() -> Dictionary:
    return opened()


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("dictionaries") / "own", SIGNS)


def test_a_word_takes_longer_to_spell_than_a_letter(letters):
    cab, c = sign(letters, "cab"), sign(letters, "c")
    assert cab.n_frames > 1.5 * c.n_frames
    assert movement(cab, SKELETON) > 0


def test_the_letters_decide_what_is_signed(letters):
    cab, bac, again = (sign(letters, text) for text in ("cab", "bac", " CaB "))
    assert near(cab, again)
    apart, alike = hand_dtw([bac, again], [cab, cab], SKELETON)
    assert alike < 1e-5 < 0.05 < apart


def test_poses_are_sound_and_of_the_frame_rate_asked_for(letters):
    for dictionary in (letters, opened(fps=25.0)):
        poses = sign(dictionary, "cab")
        SKELETON.check(poses)
        assert poses.fps == dictionary.fps
        left, right = (poses.joints[:, SKELETON.index(joint)] for joint in SKELETON.shoulders)
        assert np.median(np.linalg.norm(left - right, axis=-1)) == pytest.approx(1, abs=0.02)
        assert (poses.confidence[:, SKELETON.part("right_hand")] > 0).any()
    assert sign(opened(fps=25.0), "cab").seconds == pytest.approx(sign(letters, "cab").seconds, abs=0.08)


@pytest.mark.parametrize("seconds", [0.5, 3.2])
def test_the_length_asked_for_is_the_length_made(letters, seconds):
    assert sign(letters, "ab", seconds).n_frames == round(seconds * 12.5)


def test_a_word_that_it_lacks_is_skipped(letters):
    assert near(sign(letters, "42 ab 7"), sign(letters, "ab"))


@pytest.mark.parametrize("text", ["42", "", "  ", None])
def test_a_text_without_any_word_that_it_has_is_explained(letters, text):
    with pytest.raises(InputError, match="u: the dictionary has no sign for any word"):
        sign(letters, text)


def test_it_spells_in_the_sign_language_of_the_corpus(letters):
    german = sign(opened(spoken="de", signed="gsg"), "ab")
    SKELETON.check(german)
    assert not near(german, sign(letters, "ab"))
    with pytest.raises(InputError, match="no sign for any word"):
        sign(opened(signed="xxx"), "ab")


def test_a_region_of_the_language_does_not_matter(letters):
    assert near(sign(opened(spoken="en-GB"), "ab"), sign(letters, "ab"))


def test_the_same_again_in_whatever_order(letters):
    texts = ["ab", "a", "b ab"]
    made = letters.produce([Utterance(str(i), text=text) for i, text in enumerate(texts)], seed=0)
    fresh = opened().produce([Utterance(str(i), text=text) for i, text in enumerate(texts[::-1])], seed=1)[::-1]
    assert all(near(a, b) for a, b in zip(made, fresh, strict=True))


def test_it_prints_nothing(own, capfd):
    for source in (FINGERSPELLING, own):
        sign(opened(source), "house a 42")
    assert capfd.readouterr() == ("", "")


def test_a_dictionary_of_the_users_own_is_used(letters, own):
    mine = opened(own)
    house = sign(mine, "house")
    SKELETON.check(house)
    assert not near(house, sign(letters, "house"))
    assert hand_dtw([house], [sign(letters, "h")], SKELETON)[0] < 0.1, "it is the recording of an H"
    assert hand_dtw([house], [sign(letters, "t")], SKELETON)[0] > 0.1, "and not of a T"
    assert near(sign(mine, "HOUSE"), house)
    assert sign(mine, "house tree").n_frames > house.n_frames


def test_signs_are_in_the_order_of_the_words(own):
    one, other = (sign(opened(own), text) for text in ("house tree", "tree house"))
    assert hand_dtw([one], [other], SKELETON)[0] > 0.05


def test_what_the_users_dictionary_lacks_is_spelled(letters, own):
    assert near(sign(opened(own), "ab"), sign(letters, "ab"))
    mixed = sign(opened(own), "house ab")
    assert mixed.n_frames > max(sign(opened(own), "house").n_frames, sign(letters, "ab").n_frames)


def test_a_long_sign_is_shortened_unless_a_word_is_spelled(own):
    limited, spelled = (sign(opened(own), text).seconds for text in ("house tree", "house ab"))
    assert limited < 2 * 0.8 + 1.0, "two signs of at most 0.8 s, and the way to and from them"
    assert spelled > limited


@pytest.mark.parametrize("missing", ["words", "path", "start", "signed_language"])
def test_an_index_that_lacks_a_column_is_no_dictionary(tmp_path, missing):
    folder = written(tmp_path / "broken", SIGNS, tuple(column for column in COLUMNS if column != missing))
    with pytest.raises(InputError, match=r"is no dictionary of spoken-to-signed, a folder with index.csv"):
        opened(folder)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"path,spoken_language\n1,2\n", ",".join(COLUMNS).encode() + b"\n,,,,,,,"])
def test_a_broken_folder_is_no_dictionary(tmp_path, content):
    if content is not None:
        (tmp_path / "index.csv").write_bytes(content)
    with pytest.raises(InputError, match=f"{tmp_path} is no dictionary"):
        opened(tmp_path)


@pytest.mark.parametrize("row", ["house.pose,en,ase", "house.pose,en,ase,0,0,house"])
def test_an_index_that_is_cut_short_is_no_dictionary(tmp_path, row):
    (tmp_path / "index.csv").write_text(",".join(COLUMNS) + "\n" + row)
    with pytest.raises(InputError, match="is no dictionary"):
        opened(tmp_path)


def test_a_recording_that_is_cut_short_is_explained(tmp_path):
    folder = written(tmp_path / "cut", {"house": "h"})
    (folder / "house.pose").write_bytes((folder / "house.pose").read_bytes()[:5000])
    with pytest.raises(InputError):
        sign(opened(folder), "house")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('x.pose,en,ase,0,1,"two he says,X,0\n', "line 3 opens a quote that is not closed"),
        ("x.pose,en,ase,0,1,hello, world,X,0\n", "line 3 has 9 fields, but the first line has 8"),
    ],
)
def test_an_index_in_which_rows_would_vanish_or_be_cut_is_refused(tmp_path, row, reason):
    index = written(tmp_path / "own", {"house": "h"}) / "index.csv"
    index.write_text(index.read_text() + row + "y.pose,en,ase,0,1,bye,BYE,0\n")
    with pytest.raises(InputError, match=reason):
        opened(index.parent)
