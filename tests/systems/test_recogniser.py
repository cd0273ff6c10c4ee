from itertools import product

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ms2sl.data.batch_sampler import EpochPlan
from ms2sl.data.collate import Collate
from ms2sl.data.dataset import Dataset
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.data.types import Poses
from ms2sl.errors import InputError
from ms2sl.evaluation.clip_metrics import measure
from ms2sl.evaluation.judged_clips import chosen_clips
from ms2sl.systems import recogniser
from ms2sl.systems.recogniser import Recogniser, RecogniserConfig, RecogniserTask
from ms2sl.training.checkpoint import ModelCard
from ms2sl.training.local import LocalReporter, local_batches
from ms2sl.training.loop import TrainingConfig, train
from tests.conftest import BYTES, LOG_MEL


def reader(characters: str) -> Recogniser:
    config = RecogniserConfig(width=16, heads=2, layers=1)
    return Recogniser(config, Collate(HOLISTIC_49X2, BYTES, LOG_MEL), sorted(set(characters.encode())))


def logits(path: list[int], classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor([list(path)]), classes).float()


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValidationError, match=r"heads \(3\) must divide width \(16\)"):
        RecogniserConfig(width=16, heads=3)


def test_repeats_are_merged_and_blanks_dropped_but_doubled_letters_stay():
    a, b, blank = 0, 1, 2
    assert reader("ab").decode(logits([a, a, blank, a, b, b, blank], 3), torch.tensor([7])) == ["aab"]


def test_frames_beyond_the_end_are_not_read():
    assert reader("ab").decode(logits([0, 2, 1, 1], 3), torch.tensor([2])) == ["a"]


def test_letters_outside_ascii_are_spelled_from_their_bytes():
    own = reader("äb")
    path = [own.symbols.index(byte) for byte in "bä".encode()]
    assert own.decode(logits(path, len(own.symbols) + 1), torch.tensor([len(path)])) == ["bä"]


def clips(*lengths: int) -> list[Poses]:
    rng = np.random.default_rng(0)
    shape = (HOLISTIC_49X2.n_joints, HOLISTIC_49X2.dims)
    return [Poses(rng.normal(size=(n, *shape)).astype(np.float32), np.ones((n, shape[0]), np.float32), 12.5) for n in lengths]


def test_the_likelihood_of_a_text_is_that_of_all_paths_that_spell_it():
    own, few = reader("ab").eval(), clips(4, 3)
    for text in ("ab", "a", "aa"):
        found = own.likelihoods(few, [text, text])
        for poses, log_likelihood in zip(few, found, strict=True):
            batch = own.collate.batch([poses], [None], [None])
            probability = own(batch)[0, : poses.n_frames].softmax(-1)
            paths = product(range(3), repeat=poses.n_frames)
            spelling = [path for path in paths if own.decode(logits(path, 3), torch.tensor([len(path)])) == [text]]
            total = sum(np.prod([float(probability[frame, i]) for frame, i in enumerate(path)]) for path in spelling)
            assert log_likelihood == pytest.approx(np.log(total) / len(text), rel=1e-4)


def test_a_text_with_letters_that_it_does_not_know_has_no_likelihood():
    found = reader("ab").eval().likelihoods(clips(5, 5, 5), ["ab", "abc", ""])
    assert np.isnan(found).tolist() == [False, True, True]


def test_the_state_of_a_clip_does_not_depend_on_the_clips_beside_it():
    own, few = reader("ab").eval(), clips(9, 23, 14)
    together = own.embeddings(few)
    assert together.shape == (3, 16)
    for poses, state in zip(few, together, strict=True):
        assert np.allclose(own.embeddings([poses])[0], state, atol=1e-5)


def test_it_learns_to_read_real_clips(tiny_dataset, tmp_path):
    torch.manual_seed(0)
    dataset, config = Dataset(tiny_dataset), RecogniserConfig(width=48, layers=1)
    task = RecogniserTask(dataset, config, ModelCard.of("recogniser", config, dataset.card))
    plan, reporter = EpochPlan(dataset.shards("train"), 16, seed=0), LocalReporter(tmp_path)
    training = TrainingConfig(steps=160, learning_rate=5e-3, batch_size=16, validate_every=160, checkpoint_every=160, precision="fp32")
    train(task, lambda step: local_batches(plan, task.collate, step), training, reporter)
    clips = [clip for clip in dataset.clips("train") if clip.text]
    read = recogniser.load(reporter.latest()).read([clip.poses for clip in clips])
    right = sum(text == clip.text for text, clip in zip(read, clips, strict=True))
    assert right >= 0.8 * len(clips)
    assert reporter.history[-1]["dev_letter_error"] < 60  # sequences that it never met, after 40 clips


@pytest.fixture(scope="module")
def gloss_reader(tiny_dataset, tmp_path_factory):
    """Reads letters as glosses, which they are in this corpus."""
    torch.manual_seed(0)
    dataset = Dataset(tiny_dataset)
    config = RecogniserConfig(reads="glosses", width=48, layers=1, augment={"speed": 0.1, "scale": 0.05, "rotation": 3, "mirror": 0.1})
    task = RecogniserTask(dataset, config, ModelCard.of("recogniser", config, dataset.card))
    plan, reporter = EpochPlan(dataset.shards("train"), 16, seed=0), LocalReporter(tmp_path_factory.mktemp("glosses"))
    training = TrainingConfig(steps=200, learning_rate=5e-3, batch_size=16, validate_every=200, checkpoint_every=200, precision="fp32")
    train(task, lambda step: local_batches(plan, task.collate, step), training, reporter)
    return reporter


def test_it_learns_to_read_glosses(gloss_reader, tiny_dataset):
    dataset, own = Dataset(tiny_dataset), recogniser.load(gloss_reader.latest())
    clips = list(dataset.clips("train"))
    assert own.reads == "glosses"
    read = own.read([clip.poses for clip in clips])
    assert sum(text == clip.gloss for text, clip in zip(read, clips, strict=True)) >= 0.7 * len(clips)
    assert gloss_reader.history[-1]["dev_gloss_error"] < 60
    first = clips[0]
    likely, unlikely, unknown = own.likelihoods([first.poses] * 3, [first.gloss, "q q q", "HELLO"])
    assert likely > unlikely
    assert np.isnan(unknown)


def test_what_is_read_as_glosses_is_measured_by_glosses(gloss_reader, tiny_dataset):
    dataset, own = Dataset(tiny_dataset), recogniser.load(gloss_reader.latest())
    clips = chosen_clips(dataset, "dev", 5, own.reads)
    rows = measure(clips, [clip.poses for clip in clips], own, dataset.skeleton)
    assert [row["text"] for row in rows] == [clip.gloss for clip in clips]
    assert [row["words"] for row in rows] == [len(clip.gloss.split()) for clip in clips]


def test_glosses_that_a_model_does_not_know_are_not_learned_from(tiny_dataset):
    dataset, config = Dataset(tiny_dataset), RecogniserConfig(reads="glosses", width=16, heads=2, layers=1)
    card = ModelCard.of("recogniser", config, dataset.card).model_copy(update={"glosses": ("a", "b")})
    task = RecogniserTask(dataset, config, card)
    assert task.module.symbols == ["a", "b"]
    batch = next(local_batches(EpochPlan(dataset.shards("train"), 16, seed=0), task.collate, 0))
    *_, present = task._targets(batch)
    assert not present.all()


def test_a_dataset_without_glosses_is_refused(tiny_dataset):
    dataset = Dataset(tiny_dataset)
    splits = {name: split.model_copy(update={"with_gloss": 0}) for name, split in dataset.card.splits.items()}
    dataset.card = dataset.card.model_copy(update={"splits": splits})
    config = RecogniserConfig(reads="glosses")
    with pytest.raises(InputError, match="has no training clip with glosses"):
        RecogniserTask(dataset, config, ModelCard.of("recogniser", config, dataset.card))


def test_glosses_that_it_does_not_know_are_errors(tiny_dataset):
    dataset, config = Dataset(tiny_dataset), RecogniserConfig(reads="glosses", width=16, heads=2, layers=1)
    card = ModelCard.of("recogniser", config, dataset.card)
    few = RecogniserTask(dataset, config, card.model_copy(update={"glosses": ("a", "b")}))
    error = few.validate(few.module.state_dict(), 0, 1, torch.device("cpu"))["dev_gloss_error"]
    assert error > 50, "most of what is signed it cannot read"
    with pytest.raises(InputError, match="has none of the glosses that the model reads, such as MILK"):
        RecogniserTask(dataset, config, card.model_copy(update={"glosses": ("MILK",)}))
