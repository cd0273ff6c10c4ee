"""Several datasets learned from as one."""

import shutil

import numpy as np
import pytest

from ms2sl.corpora.fingerspelling import Fingerspelling, FingerspellingConfig
from ms2sl.corpora.posefiles import PoseFiles, PoseFilesConfig
from ms2sl.data.batch_sampler import EpochPlan, split_batches
from ms2sl.data.collate import STANDARD, Collate
from ms2sl.data.dataset import Dataset
from ms2sl.data.label_fields import category
from ms2sl.data.mixture import Mixture, _signers, open_dataset, pooled
from ms2sl.data.pose_statistics import PoseSums
from ms2sl.data.preprocessing import PreprocessConfig
from ms2sl.data.skeleton_registry import OPENPOSE_137X2
from ms2sl.data.training_clips import TrainingClips
from ms2sl.errors import InputError
from ms2sl.training.local import local_batches
from tests.conftest import prepare
from tests.corpora import builders


@pytest.fixture(scope="module")
def german(tmp_path_factory):
    """Another manual alphabet, of the same skeleton."""
    corpus = Fingerspelling(FingerspellingConfig(signed_language="gsg", train=20, dev=8, test=8, words=0))
    folder = prepare(corpus, tmp_path_factory.mktemp("german"))
    card = Dataset(folder).card.model_copy(update={"fingerprint": "another"})  # as those of two preparations are
    (folder / "dataset.json").write_text(card.model_dump_json())
    return folder


@pytest.fixture(scope="module")
def other_skeleton(tmp_path_factory):
    """Files of 178 joints in space at the frames a second of the others, without a split dev."""
    root = builders.pose_files(tmp_path_factory.mktemp("files"))
    corpus = PoseFiles(PoseFilesConfig(source=str(root), table="clips.csv", signed_language="bfi"))
    return prepare(corpus, tmp_path_factory.mktemp("other"), config=PreprocessConfig(fps=12.5))


def test_its_card_describes_all_of_it(tiny_dataset, german):
    mixture, (one, two) = open_dataset({str(tiny_dataset): 1, str(german): 0.5}), (Dataset(tiny_dataset).card, Dataset(german).card)
    card = mixture.card
    assert card.signed_languages == ("ase", "gsg")
    assert set(card.characters) == set(one.characters) | set(two.characters)
    assert set(card.glosses) == set(one.glosses) | set(two.glosses)
    assert card.skeleton == one.skeleton
    assert card.splits["train"].clips == 60
    assert card.splits["train"].longest == max(one.splits["train"].longest, two.splits["train"].longest)
    assert [clip.id for clip in mixture.clips("dev")] == [clip.id for part in (german, tiny_dataset) for clip in Dataset(part).clips("dev")]


def test_a_signer_whose_name_two_datasets_have_is_nobody(tiny_dataset):
    card = Dataset(tiny_dataset).card
    one, other = (card.model_copy(update={"signers": signers}) for signers in (("2", "ben"), ("1", "2", "anna")))
    assert _signers([one]) == ("2", "ben")
    assert _signers([one, other]) == _signers([other, one]) == ("1", "anna", "ben")


def test_its_statistics_are_those_of_the_frames_that_it_learns_from(tiny_dataset, german):
    """With weights 1 and 2 they are those of the clips of the one and twice those of the other."""
    mixture = Mixture({str(tiny_dataset): 1, str(german): 2})
    clips = [clip for part, times in ((tiny_dataset, 1), (german, 2)) for clip in list(Dataset(part).clips("train")) * times]
    expected = PoseSums.of([clip.poses for clip in clips], mixture.skeleton).statistics()
    for name in ("mean", "deviation", "seen"):
        assert np.allclose(getattr(mixture.card.statistics, name), getattr(expected, name), atol=1e-5)


def test_statistics_of_one_set_stay_as_they_are(tiny_dataset):
    statistics = Dataset(tiny_dataset).card.statistics
    again = pooled([statistics], [7])
    for name in ("mean", "deviation", "seen"):
        assert np.allclose(getattr(again, name), getattr(statistics, name), atol=1e-9)


def test_its_batches_have_clips_of_both_by_their_weights(tiny_dataset, german):
    mixture = Mixture({str(tiny_dataset): 1, str(german): 2})
    fields = [*STANDARD, category("signed_language", mixture.card.signed_languages)]
    collate, plan = Collate(mixture.skeleton, mixture.card.text, mixture.card.speech, fields), EpochPlan.of(mixture, 8, seed=0)
    batches = local_batches(plan, collate, 0)
    languages = [i for _ in range(plan.steps_per_epoch) for i in next(batches)["signed_language"].values[:, 0].tolist()]
    assert (languages.count(1), languages.count(2)) == (40, 40)


def test_datasets_of_two_skeletons_are_reduced_to_what_they_share(tiny_dataset, other_skeleton):
    mixture = Mixture({str(tiny_dataset): 1, str(other_skeleton): 1})
    assert (mixture.skeleton.n_joints, mixture.skeleton.dims) == (48, 2)
    nose = Dataset(tiny_dataset).skeleton.index("body/NOSE")
    alone, mixed = Dataset(tiny_dataset).clips("dev"), mixture.clips("dev")
    for one, clip in zip(alone, mixed, strict=False):
        assert np.array_equal(np.delete(one.poses.joints, nose, axis=1), clip.poses.joints)
    collate = Collate(mixture.skeleton, mixture.card.text, mixture.card.speech)
    batches = [*split_batches(mixture, "train", collate, 7)]
    assert sum(map(len, batches)) == mixture.card.splits["train"].clips
    assert {batch.poses.shape[2:] for batch in batches} == {(48, 2)}
    assert len(mixture.card.placement.origin) == 2
    assert mixture.card.splits["train"].longest == max(clip.poses.n_frames for clip in mixture.clips("train") if clip.poses)
    copied = TrainingClips.of_dataset(mixture)
    assert copied.read([0, len(copied.texts) - 1])[1].joints.shape[1:] == (48, 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fps": 25.0}, r"(12\.5 and 25|25 and 12\.5) frames a second: prepare both with the same --poses\.fps"),
        ({"text": "clip"}, "text features of different kinds"),
        ({"speech": "hubert"}, "speech features of different kinds"),
    ],
)
def test_datasets_that_do_not_fit_are_refused(tiny_dataset, german, tmp_path, change, reason):
    other = shutil.copytree(german, tmp_path / "other")
    card = Dataset(other).card
    features = {name: getattr(card, name).model_copy(update={"featurizer": kind}) for name, kind in change.items() if name != "fps"}
    update = features or change
    (other / "dataset.json").write_text(card.model_copy(update=update).model_dump_json())
    with pytest.raises(InputError, match=reason):
        Mixture({str(tiny_dataset): 1, str(other): 1})


def test_another_weight_or_another_dataset_is_another_mixture(tiny_dataset, german):
    forwards, backwards = Mixture({tiny_dataset: 1, german: 2}), Mixture({german: 2.0, tiny_dataset: 1.0})
    assert forwards.card == backwards.card, "and in another order it is the same"
    assert forwards.weights == backwards.weights
    assert {part["weight"] for part in forwards.parts.values()} == {1.0, 2.0}
    marks = [
        Mixture(weights).card.fingerprint for weights in ({tiny_dataset: 1, german: 1}, {tiny_dataset: 1, german: 2}, {tiny_dataset: 1})
    ]
    assert len(set(marks)) == 3


def test_a_mixture_of_nothing(tmp_path):
    with pytest.raises(InputError, match="a mixture needs a dataset"):
        open_dataset({})
    with pytest.raises(InputError, match="holds no dataset"):
        open_dataset({str(tmp_path): 1})


def test_one_dataset_is_reduced_to_the_skeleton_of_a_model_of_a_mixture(tiny_dataset, other_skeleton):
    """By which it is judged, or trained further; what cannot be reduced stays as it is."""
    common = Mixture({str(tiny_dataset): 1, str(other_skeleton): 1}).skeleton
    for folder in (tiny_dataset, other_skeleton):
        reduced = open_dataset(str(folder), common)
        assert reduced.skeleton == common
        assert next(reduced.clips("train")).poses.joints.shape[1:] == (48, 2)
        assert [clip.id for clip in reduced.clips("train")] == [clip.id for clip in Dataset(folder).clips("train")]
    assert open_dataset(str(tiny_dataset), OPENPOSE_137X2).skeleton == Dataset(tiny_dataset).skeleton
    assert open_dataset(str(tiny_dataset), Dataset(tiny_dataset).skeleton).card == Dataset(tiny_dataset).card
