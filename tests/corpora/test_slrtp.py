import os

import numpy as np
import pytest
import torch

from ms2sl.corpora.slrtp import Slrtp, SlrtpConfig, export, joint_order
from ms2sl.data.dataset import Dataset
from ms2sl.data.skeleton_registry import HOLISTIC_178X3
from ms2sl.data.types import Clip, Placement
from ms2sl.errors import InputError
from tests.conftest import prepare
from tests.corpora import builders


@pytest.fixture
def root(tmp_path):
    return builders.slrtp(tmp_path / "slrtp")


def corpus(root) -> Slrtp:
    return Slrtp(SlrtpConfig(source=str(root)))


def test_joints_are_put_where_the_skeleton_has_them(root):
    clip = corpus(root).clip(1)
    assert (clip.id, clip.text, clip.gloss, clip.spoken_language) == ("train-1", "es regnet", "REGEN", "de")
    assert np.abs(HOLISTIC_178X3.normalise(clip.poses).joints - builders.signing(HOLISTIC_178X3, 7, seed=1).joints).max() < 1e-3
    assert sorted(joint_order()) == list(range(178))
    assert HOLISTIC_178X3.joints[joint_order()[0]] == "body/RIGHT_SHOULDER"
    assert HOLISTIC_178X3.joints[joint_order()[8]] == "right_hand/WRIST"
    assert HOLISTIC_178X3.joints[joint_order()[29]] == "left_hand/WRIST"


def test_what_is_exported_is_what_is_read(root, tmp_path):
    own = corpus(root)
    clips = [own.clip(i) for i in own.splits["train"]]
    (tmp_path / "again").mkdir()
    assert export(tmp_path / "again" / "train.pt", clips, Placement((0.0, 0.0, 0.0), 1.0)) == 3
    again = corpus(tmp_path / "again")
    for i, clip in enumerate(clips):
        back = again.clip(i)
        assert (back.id, back.text, back.gloss) == (clip.id, clip.text, clip.gloss)
        assert np.array_equal(back.poses.joints, clip.poses.joints)
    raw = torch.load(tmp_path / "again" / "train.pt", weights_only=True)
    assert list(raw["train-0"]) == ["name", "text", "gloss", "poses_3d", "speaker"]


def test_what_was_prepared_is_exported_where_the_corpus_has_it(root, tmp_path):
    """The challenge neither centres nor scales: its own clips, prepared and exported, must score as themselves."""
    dataset = Dataset(prepare(corpus(root), tmp_path / "data"))
    assert dataset.card.placement.unit == pytest.approx(0.3, rel=0.02)
    export(tmp_path / "train.pt", dataset.clips("train"), dataset.card.placement)
    theirs, ours = (torch.load(path / "train.pt", weights_only=True) for path in (root, tmp_path))
    assert theirs.keys() == ours.keys()
    for name, entry in theirs.items():
        assert (ours[name]["poses_3d"] - entry["poses_3d"]).norm(dim=-1).mean() < 0.03 * 0.3


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/ms2sl-was-here",)


def test_a_file_that_would_run_code_is_refused(root):
    torch.save({"a": Evil()}, root / "train.pt")
    with pytest.raises(InputError, match=r"train\.pt is refused: it holds Python objects that would run code"):
        corpus(root).splits  # noqa: B018
    assert not os.path.exists("/tmp/ms2sl-was-here")


def test_a_file_that_is_damaged_or_something_else(root):
    content = (root / "train.pt").read_bytes()
    (root / "train.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"train\.pt is damaged or no file of torch"):
        corpus(root).splits  # noqa: B018
    torch.save(torch.zeros(3), root / "train.pt")
    with pytest.raises(InputError, match="holds a Tensor, not clips by name"):
        corpus(root).splits  # noqa: B018


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"text": "a"}, "it has no poses_3d"),
        ("a", "it has no poses_3d"),
        ({"poses_3d": torch.zeros(4, 50, 3)}, r"poses_3d is torch.Size\(\[4, 50, 3\]\), not \(frames, 178, 3\)"),
        ({"poses_3d": [1, 2]}, "poses_3d is list"),
    ],
)
def test_an_entry_without_poses_costs_one_clip_or_is_text_alone(root, entry, reason):
    content = {"bad": entry, "good": builders.slrtp_entry(0)}
    torch.save(content, root / "train.pt")
    own = corpus(root)
    if "text" in entry:
        assert (own.clip(0).text, own.clip(0).poses, own.clip(0).remarks) == ("a", None, (f"poses left out: {reason}",))
    else:
        with pytest.raises(InputError, match=reason):
            own.clip(0)
    assert isinstance(own.clip(1), Clip)


def test_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match=r"has no train\.pt: see --slrtp\.files"):
        corpus(tmp_path).splits  # noqa: B018
