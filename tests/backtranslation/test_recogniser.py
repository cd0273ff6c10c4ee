import pytest
import torch
from pydantic import ValidationError

from ms2sl.backtranslation import recogniser
from ms2sl.backtranslation.recogniser import Recogniser, RecogniserConfig, RecogniserTask
from ms2sl.batching import Plan
from ms2sl.checkpoint import ModelCard
from ms2sl.collate import Collate
from ms2sl.dataset import Dataset
from ms2sl.local import LocalReporter, local_batches
from ms2sl.skeletons import HOLISTIC_49X2
from ms2sl.training import TrainingConfig, train
from tests.conftest import BYTES, LOG_MEL


def reader(characters: str) -> Recogniser:
    config = RecogniserConfig(width=16, heads=2, layers=1)
    return Recogniser(config, Collate(HOLISTIC_49X2, BYTES, LOG_MEL), characters)


def logits(path: list[int], classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor([path]), classes).float()


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
    path = [own.bytes.index(byte) for byte in "bä".encode()]
    assert own.decode(logits(path, len(own.bytes) + 1), torch.tensor([len(path)])) == ["bä"]


def test_it_learns_to_read_real_clips(tiny_dataset, tmp_path):
    torch.manual_seed(0)
    dataset, config = Dataset(tiny_dataset), RecogniserConfig(width=48, layers=1)
    task = RecogniserTask(dataset, config, ModelCard.of("recogniser", config, dataset.card))
    plan, reporter = Plan(dataset.shards("train"), 16, seed=0), LocalReporter(tmp_path)
    training = TrainingConfig(steps=160, learning_rate=5e-3, batch_size=16, validate_every=160, checkpoint_every=160, precision="fp32")
    train(task, lambda step: local_batches(plan, task.collate, step), training, reporter)
    clips = [clip for clip in dataset.clips("train") if clip.text]
    read = recogniser.load(reporter.latest()).read([clip.poses for clip in clips])
    right = sum(text == clip.text for text, clip in zip(read, clips, strict=True))
    assert right >= 0.8 * len(clips)
    assert reporter.history[-1]["dev_letter_error"] < 60  # sequences that it never met, after 40 clips
