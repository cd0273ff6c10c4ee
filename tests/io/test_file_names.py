"""Names that are read or typed reach paths through one check; every door is here."""

import json
import shutil
import sys
import unicodedata
from pathlib import Path

import pytest

from jobs.prepare import PrepareCommand
from jobs.sweep.command import TuneCommand
from jobs.train import TrainCommand
from ms2sl.corpora import contract
from ms2sl.corpora.posefiles import PoseFiles, PoseFilesConfig
from ms2sl.corpora.records import Record, RecordCorpus
from ms2sl.data.dataset import Dataset
from ms2sl.data.ingest import import_clips, plan_shards
from ms2sl.data.preprocessing import PreprocessConfig
from ms2sl.data.skeleton_registry import HOLISTIC_49X2, HOLISTIC_178X3
from ms2sl.data.types import Utterance
from ms2sl.errors import InputError
from ms2sl.inference.batch_output import OutputFolder, Settings
from ms2sl.inference.sampling_config import Sampling
from ms2sl.inference.utterance_input import read_utterances
from ms2sl.io.file_names import LONGEST_BYTES, check_inside, check_name, file_name, split_name
from ms2sl.io.storage import StoragePath, write_files
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from ms2sl.systems.pose_folder import PoseFolder
from tests.corpora import builders
from tests.systems.test_dictionary import opened, sign, written

OUTSIDE = ["..", "../outside", "../../outside", "a/../../outside", "/outside", "//outside", "", ".", "./", "a\0b", "\ud800"]
NOT_PLAIN = [*OUTSIDE, "a/b", "a/", "a\\b", "..\\outside", "C:", 'a"b', "a*", "a?", "a<b", "a|b", "a b", " a", "a\nb", ".hidden"]
NOT_PLAIN += ["‥", "․․", "．．／outside", "a∕b", "a\u202eb", "a\ue000", "x" * 300, "ü" * 101, "𠀀" * 60]


@pytest.mark.parametrize("name", ["a", "Haus_1", "-fZc293MpJk_6-1-rgb_front", "größer", "gro\u0308ßer", "हिन्दी", "手話", "2.5", "a..b"])
def test_a_name_of_any_script_is_plain(name, tmp_path):
    assert check_name(name) == name
    write_files(tmp_path, {name: b"x"})
    assert (tmp_path / name).read_bytes() == b"x"


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_no_other_name_is(name):
    with pytest.raises(InputError, match=r"^the id '.*' cannot name a file: use letters, digits, '_', '-' and '\.' \(not in front\)"):
        check_name(name, "the id")


def test_no_letter_becomes_a_separator_in_any_normal_form():
    for letter in filter(lambda c: unicodedata.category(c)[0] in "LMN", map(chr, range(sys.maxunicode + 1))):
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            normal = unicodedata.normalize(form, letter)
            assert not set('/\\:*?"<>|\0') & set(normal), hex(ord(letter))
            assert normal[0] != ".", hex(ord(letter))


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_leads_out_of_a_folder_is_refused(name):
    with pytest.raises(InputError, match="names nothing within data: it must be a path below that folder"):
        check_inside(name, "data")


@pytest.mark.parametrize(("name", "same"), [("a/b.pose", "a/b.pose"), ("./a//b/", "a/b"), ("a/../b", "b"), ("...", "..."), ("..a", "..a")])
def test_what_stays_in_it_may_have_several_parts(name, same):
    assert check_inside(name, "data") == same


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("val", "dev"),
        ("validation", "dev"),
        ("VALID", "dev"),
        ("Dev", "dev"),
        ("Train", "train"),
        ("training", "train"),
        ("Testing", "test"),
        ("eval", "eval"),
        ("TEST", "test"),
        ("Signer_3", "signer_3"),
    ],
)
def test_splits_are_known_by_their_usual_names(given, known):
    assert split_name(given) == known


@pytest.mark.parametrize("title", ["../../outside", "/etc/passwd", "grüße, Welt!", "𠀀" * 100, "\udcff", "a\0b", "." * 300])
def test_any_text_gives_a_name_for_a_file(title):
    assert check_name(file_name(title)) == file_name(title)
    assert len(file_name(title).encode()) <= LONGEST_BYTES


def posed(folder: Path, **row: str) -> PoseFiles:
    builders.pose_file(folder / "a.pose")
    rows = [{"id": "a", "pose": "a.pose", "text": "one", "split": "train"}, {"id": "b", "text": "two"} | row]
    (folder / "clips.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return PoseFiles(PoseFilesConfig(source=str(folder), table="clips.jsonl", dev=0, test=0))


def rejection(corpus: PoseFiles) -> None:
    """Of its second clip, or of a part of it, without which the first is used all the same."""
    (plan,) = plan_shards(corpus, 10)
    first, second = import_clips(corpus, plan, PreprocessConfig()).to_pylist()
    assert (first["id"], first["error"], second["id"]) == ("a", None, "b")
    raise InputError(second["error"] or second["remarks"])


def of_dataset(folder: Path, name: str, tiny_dataset: Path) -> Dataset:
    """A dataset from elsewhere, whose card names a file so."""
    shutil.copytree(tiny_dataset, folder, dirs_exist_ok=True)
    card = json.loads((folder / "dataset.json").read_text())
    card["splits"]["train"]["shards"][0]["file"] = name
    (folder / "dataset.json").write_text(json.dumps(card))
    return Dataset(folder)


def of_dictionary(folder: Path, name: str) -> None:
    own = written(folder / "dictionary", {"house": "h"})
    (own / "index.csv").write_text((own / "index.csv").read_text().replace("house.pose", name))
    sign(opened(own), "house")


def producing(folder: Path, name: str, checkpoint: Path) -> None:
    """Two utterances, of which the one with the good name is made."""
    out = OutputFolder(folder)
    out.claim(Settings.of(checkpoint, Sampling(steps=1), seed=0, duration=None))
    batch = [Utterance(name, text="cab"), Utterance("good", text="cab")]
    made, ((id, reason),), _ = out.produce(MS2SLProducer.load(checkpoint, options=Sampling(steps=1)), batch, seed=0)
    assert (made, id, set(out.made().ids.to_pylist())) == (1, name, {"good"})
    raise InputError(reason)


class Splits(RecordCorpus):
    """A user's own corpus."""

    name, skeleton = "own", HOLISTIC_178X3

    def __init__(self, split: str):
        self.split = split

    def records(self) -> list[Record]:
        return [Record("a", "train", "one"), Record("b", self.split, "two")]

    def read(self, record):
        raise AssertionError


class Bare:
    """A user's own corpus that keeps to the Protocol alone."""

    def __init__(self, split: str):
        self.splits = {split: range(1)}


# What each door does with a name that is read or typed: (folder, name, fixtures) → InputError. First those that take one plain name.
PLAIN = {
    "split in a table": lambda folder, name, given: posed(folder, split=name or ".").splits,
    "split of a corpus of records": lambda folder, name, given: Splits(name).splits,
    "split of any corpus": lambda folder, name, given: plan_shards(Bare(name), 10),
    "split that the contract sees": lambda folder, name, given: contract.check(Bare(name)),
    "prepare --split": lambda folder, name, given: PrepareCommand.parse([f"--split={name}"]),
    "split that is asked of a dataset": lambda folder, name, given: Dataset(given("tiny_dataset")).shards(name),
    "train --name": lambda folder, name, given: TrainCommand.parse([f"--name={name}"]),
    "tune --name": lambda folder, name, given: TuneCommand.parse([f"--name={name}"]),
    "id in a file of utterances": lambda folder, name, given: read_utterances(utterances(folder, name)),
    "id of an utterance that is produced": lambda folder, name, given: producing(folder, name, given("tiny_checkpoint")),
    "files of a job": lambda folder, name, given: write_files(folder, {"good.md": b"x", name: b"x"}),
}
# And those that take a path below a folder.
INSIDE = {
    "pose in a table": lambda folder, name, given: rejection(posed(folder, pose=f"{name}.pose")),
    "speech in a table": lambda folder, name, given: rejection(posed(folder, speech=f"{name}.wav")),
    "file in dataset.json": lambda folder, name, given: of_dataset(folder, name, given("tiny_dataset")).shards("train"),
    "path in a dictionary": lambda folder, name, given: of_dictionary(folder, f"{name}.pose"),
    "id of what others produced": lambda folder, name, given: PoseFolder(folder, HOLISTIC_49X2, 25).produce([Utterance(name)], seed=0),
    "local folder": lambda folder, name, given: (StoragePath(folder) / name).write(b"x"),
    "folder of a bucket": lambda folder, name, given: StoragePath("s3://bucket/folder") / name,
}


def utterances(folder: Path, name: str) -> Path:
    path = folder / "words.csv"
    path.write_text(f'id,text\ngood,cab\n"{name or "."}",bad\n', encoding="utf-8", errors="surrogatepass")
    return path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def outside(tmp_path, tiny_dataset):
    """Files that the doors would reach, in the folder above that which they are given."""
    builders.pose_file(tmp_path / "outside.pose")
    builders.speech(tmp_path / "outside.wav")
    shutil.copy(next(tiny_dataset.glob("train-*.parquet")), tmp_path / "outside")
    (tmp_path / "in").mkdir()
    before = contents(tmp_path)
    yield tmp_path
    after = {path: content for path, content in contents(tmp_path).items() if tmp_path / "in" not in path.parents}
    assert after == before, "something was written outside"


@pytest.mark.parametrize("name", ["..", "../outside", "{above}/outside", "a/../../outside", ".", "a b", "x" * 300, "․․"])
@pytest.mark.parametrize("door", PLAIN)
def test_every_door_that_takes_a_plain_name_refuses_another(door, name, outside, request):
    with pytest.raises(
        InputError, match=r"^.*'.*' cannot name a file: use letters, digits, '_', '-' and '\.' \(not in front\), 100 at most$"
    ):
        PLAIN[door](outside / "in", name.format(above=outside), request.getfixturevalue)


@pytest.mark.parametrize("name", ["../outside", "{above}/outside", "a/../../outside"])
@pytest.mark.parametrize("door", INSIDE)
def test_every_door_that_takes_a_path_stays_in_its_folder(door, name, outside, request):
    (outside / "in" / "x.pose").write_bytes((outside / "outside.pose").read_bytes())
    with pytest.raises(InputError, match=r"names nothing within|there is no"):
        INSIDE[door](outside / "in", name.format(above=outside), request.getfixturevalue)


@pytest.mark.parametrize("door", [door for door in INSIDE if door != "folder of a bucket"])
def test_a_path_that_no_file_can_have_is_said(door, outside, request):
    (outside / "in" / "x.pose").write_bytes((outside / "outside.pose").read_bytes())
    with pytest.raises(InputError, match=r"File name too long|cannot be|there is no"):
        INSIDE[door](outside / "in", "x" * 300, request.getfixturevalue)


def test_a_users_own_option_may_lead_elsewhere(tmp_path):
    builders.pose_file(tmp_path / "corpus" / "a.pose")
    (tmp_path / "clips.csv").write_text("id,pose,text\na,./a.pose,one\n")
    for table in ("../clips.csv", str(tmp_path / "clips.csv")):
        corpus = PoseFiles(PoseFilesConfig(source=str(tmp_path / "corpus"), table=table, dev=0, test=0))
        assert corpus.clip(0).poses.n_frames == 10


@pytest.mark.parametrize(("written", "known"), [("val", "dev"), ("Dev", "dev"), ("Train", "train"), ("TEST", "test")])
def test_a_table_may_call_its_splits_as_it_likes(written, known, tmp_path):
    corpus = posed(tmp_path, split=written)
    assert set(corpus.splits) == {"train", known}
    assert corpus.clip(1).split == known
    assert contract.check(corpus) == (2, {})
