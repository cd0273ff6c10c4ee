import json
import os

import pyarrow.parquet as pq
import pytest

from ms2sl.corpora.how2sign import How2Sign, How2SignConfig
from ms2sl.corpora.posefiles import PoseFiles, PoseFilesConfig
from ms2sl.data.clip_counts import Counts, kind, shown
from ms2sl.data.dataset import Dataset
from tests.conftest import prepare
from tests.corpora import builders


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (["its speech lasts 70.1 s, longer than 60", "its speech lasts 8.5 s, longer than 60"], "its speech lasts … s, longer than …"),
        (["a.wav has 1.0 s of the 2.0 s", "/b/c d.wav has 11 s of the 12 s"], None),
        (["2 have the name a: a.flac, a.wav", "3 have the name a: b/a.flac, a.wav, a.mp3"], "… have the name a: …"),
        (["speech of 'a' isn't good; don't", "speech of 'b's' isn't good; don't"], "speech of … isn't good; don't"),
        (["the text has 'ß' in it", "the text has 'é' in it"], "the text has … in it"),
    ],
)
def test_reasons_that_differ_in_what_is_a_clips_own_are_one_kind(reasons, expected):
    kinds = set(map(kind, reasons))
    assert kinds == {expected} if expected else all("…" in each for each in kinds)


def test_the_parts_add_up_to_what_was_found():
    counts = Counts.of([(), ("poses left out: x 1",), ("poses left out: x 2", "speech left out"), ()], ["y", "y"], {".txt": 3, ".doc": 1})
    assert (counts.used, counts.in_part, counts.refused, sum(counts.ignored.values())) == (2, 2, 2, 4)
    first, *kinds = counts.lines("clips")
    assert first == "10 clips and other things found: 2 used, 2 used in part or mended, 2 refused, 4 ignored"
    assert kinds == [
        "  used in part or mended: 2 × poses left out: x …; 1 × speech left out",
        "  refused: 2 × y",
        "  ignored: 3 × .txt; 1 × .doc",
    ]
    assert shown({f"k{i}": i for i in range(1, 12)}).endswith("4 × k4; 6 × others")


def test_all_that_lies_in_the_folder_of_a_corpus_is_counted(tmp_path):
    root = builders.pose_files(tmp_path / "corpus")
    (root / "poses" / "clip-1.pose").write_bytes(b"PAR")
    for name in ("alone.pose", "._clip-0.pose", "notes.txt", "README", "__MACOSX/clip-0.pose", "speech/alone.mp3"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"PAR")
    (root / "clips.csv").write_text((root / "clips.csv").read_text() + "alone.pose,,,train,\n")
    corpus = PoseFiles(PoseFilesConfig(source=str(root), table="clips.csv"))
    card = Dataset(prepare(corpus, tmp_path / "out")).card
    assert (card.counts.used, card.counts.in_part, card.counts.refused) == (3, 1, 1)
    ignored = {"left by an operating system, or hidden": 2, ".txt": 1, "without a suffix": 1, ".mp3": 1}
    assert card.counts.ignored == card.corpus["ignored"] == ignored
    assert "10 clips and other things found: 3 used, 1 used in part or mended, 1 refused, 5 ignored" in card.counts.lines("clips")
    written = json.loads((tmp_path / "out" / "dataset.json").read_text())["counts"]
    assert (written["used"], written["ignored"]) == (3, ignored)
    without = PoseFiles(PoseFilesConfig(source=str(root)))
    assert without.ignored() == {"left by an operating system, or hidden": 2, ".txt": 1, "without a suffix": 1, ".csv": 1}


def test_what_no_sentence_has_is_counted(tmp_path):
    root = builders.how2sign(tmp_path)
    table = root / "how2sign_realigned_val.csv"
    table.write_text(table.read_text() + "v9\tv9-rgb_front\t0.1\tNobody signs this.\n")
    builders.speech(root / "speech" / "v8-rgb_front.wav")
    (root / "json" / "list.txt").touch()
    (root / "speech" / "SHA256").touch()
    (root / "json" / ".DS_Store").touch()
    corpus = How2Sign(How2SignConfig(source=str(root), speech="speech"))
    assert corpus.card()["ignored"] == {
        "left by an operating system, or hidden": 1,
        ".txt": 1,
        "without a suffix": 1,
        "recordings of no sentence": 1,
        "sentences without poses": 1,
    }


def test_a_file_whose_name_is_not_utf8_is_refused_alone(tmp_path):
    root = builders.pose_files(tmp_path / "corpus")
    (root / "poses" / "clip-0.pose").rename(os.fsdecode(os.fsencode(root) + b"/poses/caf\xe9.pose"))
    card = Dataset(prepare(PoseFiles(PoseFilesConfig(source=str(root), dev=0, test=0)), tmp_path / "out")).card
    assert (card.counts.used, card.counts.refused) == (3, 1)
    [rejected] = pq.read_table(tmp_path / "out" / "rejected.parquet").to_pylist()
    assert rejected["id"] == r"poses-caf\xe9"
    assert rejected["reason"].endswith(r"caf\xe9.pose cannot be read: its name is not UTF-8: rename it")
    assert card.counts.reasons == {"… cannot be read: its name is not UTF-8: rename it": 1}
