import numpy as np
import pytest

from ms2sl.corpora.letters import alphabet
from ms2sl.data.pose_format_io import to_bytes
from ms2sl.data.skeleton_registry import HOLISTIC_49X2 as SKELETON
from ms2sl.data.types import Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.systems.pose_folder import PoseFolder


def letter(name: str) -> Poses:
    return alphabet("ase")[name].poses


@pytest.mark.parametrize("place", [".", "poses"])
def test_files_are_found_by_id_and_read_as_normalised_poses_at_the_rate_of_the_corpus(place, tmp_path):
    (tmp_path / place).mkdir(exist_ok=True)
    for name in "ab":
        (tmp_path / place / f"{name}.pose").write_bytes(to_bytes(letter(name), SKELETON))
    b, a = PoseFolder(tmp_path, SKELETON, letter("a").fps / 2).produce([Utterance("b"), Utterance("a")], seed=0)
    for made, name in ((a, "a"), (b, "b")):
        seen = made.confidence > 0
        assert made.fps == letter(name).fps / 2
        assert np.abs(made.joints - letter(name).joints[::2][: made.n_frames])[seen].max() < 0.02


def test_what_is_missing_or_broken_is_said(tmp_path):
    with pytest.raises(InputError, match=r"holds no \.pose files"):
        PoseFolder(tmp_path, SKELETON, 25)
    (tmp_path / "broken.pose").write_bytes(b"no poses")
    folder = PoseFolder(tmp_path, SKELETON, 25)
    with pytest.raises(InputError, match=r"broken\.pose: it is cut short"):
        folder.produce([Utterance("broken")], seed=0)
    with pytest.raises(InputError, match=r"other: there is no other\.pose"):
        folder.produce([Utterance("other")], seed=0)
