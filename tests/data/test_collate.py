import pytest
import torch

from ms2sl.data.collate import Collate
from ms2sl.data.dataset import Dataset

TENSORS = ("poses", "seen", "n_frames", "text", "n_text", "speech", "n_speech")


@pytest.fixture(scope="module")
def batch(tiny_dataset):
    dataset = Dataset(tiny_dataset)
    collate = Collate(dataset.skeleton, dataset.card.text, dataset.card.speech)
    return collate(next(dataset.tables("train")))


def test_a_batch_within_the_limit_is_not_split(batch):
    assert batch.split(len(batch) * batch.poses.shape[1]) == [batch]


@pytest.mark.parametrize("max_frames", [1, 100, 200, 300])
def test_the_parts_of_a_batch_hold_its_clips_in_order_within_the_limit(batch, max_frames):
    parts = batch.split(max_frames)
    assert len(parts) > 1
    assert torch.cat([part.n_frames for part in parts]).tolist() == batch.n_frames.tolist()
    row = 0
    for part in parts:
        assert len(part) == 1 or len(part) * part.poses.shape[1] <= max_frames
        for values, lengths in (("poses", "n_frames"), ("seen", "n_frames"), ("text", "n_text"), ("speech", "n_speech")):
            mine, whole = getattr(part, values), getattr(batch, values)[row : row + len(part)]
            longest = int(getattr(part, lengths).max())
            assert torch.equal(mine, whole[:, : mine.shape[1]]), values
            assert longest <= mine.shape[1] <= whole.shape[1], values
        row += len(part)


def test_a_part_is_padded_as_a_batch_of_its_clips_would_be(tiny_dataset, batch):
    dataset = Dataset(tiny_dataset)
    collate = Collate(dataset.skeleton, dataset.card.text, dataset.card.speech)
    part = batch.split(1)[1]
    alone = collate(next(dataset.tables("train")).slice(1, 1))
    assert all(torch.equal(getattr(part, name), getattr(alone, name)) for name in TENSORS)
