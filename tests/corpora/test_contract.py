"""Every corpus of the registry keeps to the contract."""

from dataclasses import replace

import pytest

from ms2sl.corpora import CORPORA
from ms2sl.corpora.asl_fingerspelling import AslFingerspellingConfig
from ms2sl.corpora.asl_signs import AslSignsConfig
from ms2sl.corpora.contract import check
from ms2sl.corpora.films import FilmsConfig
from ms2sl.corpora.fingerspelling import FingerspellingConfig
from ms2sl.corpora.how2sign import How2Sign, How2SignConfig
from ms2sl.corpora.phoenix14t import Phoenix14T, Phoenix14TConfig
from ms2sl.corpora.posefiles import PoseFilesConfig
from ms2sl.corpora.slrtp import SlrtpConfig
from ms2sl.corpora.takes import TakesConfig
from ms2sl.data.skeleton_registry import HOLISTIC_178X3
from ms2sl.data.types import Clip
from tests.corpora import builders
from tests.video.films import picture, write

EXTRA = [f"extra-{number}" for number in (7, 3, 9, 1, 8, 2, 6, 4, 5, 0)]


def how2sign(root):
    """With recordings of one name in the folders of all splits."""
    builders.how2sign(root)
    for seconds, split in ((0.5, "train"), (0.75, "val"), (1.0, "test")):
        builders.speech(root / split / "v0-rgb_front.wav", seconds)
    return How2SignConfig(source=str(root), speech="{split}")


def phoenix14t(root):
    """With a table that names texts that have no poses."""
    builders.phoenix14t(root)
    names = ["train-0", "train-1", "train-2", *EXTRA]
    rows = [{"name": name, "orth": "WIND", "translation": f"wind {name}"} for name in names]
    builders.write_table(root / "train.csv", rows, "|")
    return Phoenix14TConfig(source=str(root), tables="{split}.csv")


def films(root):
    for number in range(4):
        write(root / "films" / f"{number}.mp4", [picture(4 * number)] * 4)
    return FilmsConfig(source=str(root / "films"), keypoints=str(root / "kept"))


SMALL = {
    "fingerspelling": lambda root: FingerspellingConfig(train=6, dev=3, test=3),
    "how2sign": how2sign,
    "phoenix14t": phoenix14t,
    "slrtp": lambda root: SlrtpConfig(source=str(builders.slrtp(root))),
    "posefiles": lambda root: PoseFilesConfig(source=str(builders.pose_files(root)), table="clips.csv"),
    "films": films,
    "takes": lambda root: TakesConfig(source=str(builders.takes_tree(root))),
    "asl_signs": lambda root: AslSignsConfig(source=str(builders.asl_signs(root))),
    "asl_fingerspelling": lambda root: AslFingerspellingConfig(source=str(builders.asl_fingerspelling(root)), unseen_signers="101"),
}


@pytest.mark.parametrize("name", [name for name in CORPORA if name != "composed"])  # which is made of a dataset: see test_composed
def test_it_keeps_to_the_contract(name, tmp_path):
    good, rejected = check(CORPORA[name](SMALL[name](tmp_path)))
    assert rejected == {}
    assert good >= 4


class Bad:
    name, skeleton, fps, splits, Config = "bad", HOLISTIC_178X3, 25.0, {"train": range(0, 2)}, FingerspellingConfig

    def __init__(self, config=None):
        self.config = config or FingerspellingConfig()

    def id(self, index):
        return f"clip-{index}"

    def digest(self):
        return ""

    def card(self):
        return {}

    def clip(self, index):
        return Clip(self.id(index), "train", "en", "ase", text="a")


class OfASet(Bad):
    """Its clips and what is in them follow the order of a set."""

    def __init__(self, config=None):
        super().__init__(config)
        self.splits = {"train": range(20)}
        self.names = list({f"clip-{i}" for i in range(20)})

    def id(self, index):
        return self.names[index]

    def clip(self, index):
        return replace(super().clip(index), gloss=" ".join(self.names))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"splits": {}}, "no clips"),
        ({"splits": {"train": range(0, 2), "dev": range(1, 3)}}, "not ranges that follow each other"),
        ({"id": lambda self, index: "other" if index else ""}, "has no name"),
        ({"id": lambda self, index: "other", "clip": lambda self, index: Clip("x", "train", "en", "ase")}, "calls itself x"),
        ({"clip": lambda self, index: Clip(self.id(index), "train", "", "ase", text="a")}, "has no spoken language"),
    ],
)
def test_what_does_not_keep_to_it_is_told(change, reason):
    with pytest.raises(AssertionError, match=reason):
        check(type("Worse", (Bad,), change)())


def test_a_corpus_that_is_another_in_another_process_is_told():
    with pytest.raises(AssertionError, match="its order of ids, content of clips differ in another process"):
        check(OfASet())


def test_a_corpus_that_does_not_keep_its_options_is_told():
    corpus = Bad()
    del corpus.config
    with pytest.raises(AssertionError, match="it does not keep its options as config"):
        check(corpus)


def test_texts_without_poses_follow_in_the_order_of_their_table(tmp_path):
    corpus = Phoenix14T(phoenix14t(tmp_path))
    assert [corpus.id(i) for i in corpus.splits["train"]][3:] == EXTRA


def test_of_recordings_of_one_name_that_of_its_own_split_is_taken(tmp_path):
    assert How2Sign(how2sign(tmp_path)).clip(0).speech.seconds == pytest.approx(0.5, abs=0.01)
