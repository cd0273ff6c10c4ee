"""Every corpus of the registry keeps to the contract."""

import pytest

from ms2sl.clip import Clip
from ms2sl.corpora import CORPORA
from ms2sl.corpora.contract import check
from ms2sl.corpora.fingerspelling import FingerspellingConfig
from ms2sl.corpora.how2sign import How2SignConfig
from ms2sl.corpora.phoenix14t import Phoenix14TConfig
from ms2sl.corpora.posefiles import PoseFilesConfig
from ms2sl.corpora.slrtp import SlrtpConfig
from ms2sl.skeletons import HOLISTIC_178X3
from tests.corpora import builders

SMALL = {
    "fingerspelling": lambda root: FingerspellingConfig(train=6, dev=3, test=3),
    "how2sign": lambda root: How2SignConfig(source=str(builders.how2sign(root))),
    "phoenix14t": lambda root: Phoenix14TConfig(source=str(builders.phoenix14t(root))),
    "slrtp": lambda root: SlrtpConfig(source=str(builders.slrtp(root))),
    "posefiles": lambda root: PoseFilesConfig(source=str(builders.pose_files(root)), table="clips.csv"),
}


@pytest.mark.parametrize("name", list(CORPORA))
def test_it_keeps_to_the_contract(name, tmp_path):
    good, rejected = check(CORPORA[name](SMALL[name](tmp_path)))
    assert rejected == {}
    assert good >= 4


class Bad:
    name, skeleton, fps, splits = "bad", HOLISTIC_178X3, 25.0, {"train": range(0, 2)}

    def id(self, index):
        return f"clip-{index}"

    def digest(self):
        return ""

    def card(self):
        return {}

    def clip(self, index):
        return Clip(self.id(index), "train", "en", "ase", text="a")


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
