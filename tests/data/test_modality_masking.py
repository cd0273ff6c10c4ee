import pytest

from ms2sl.data.collate import Collate
from ms2sl.data.dataset import Dataset
from ms2sl.data.modality_masking import MaskConfig, MaskingCollate


@pytest.fixture(scope="module")
def dataset(tiny_dataset):
    return Dataset(tiny_dataset)


@pytest.fixture(scope="module")
def rows(dataset):
    return next(dataset.tables("test", Collate(dataset.skeleton, dataset.card.text, dataset.card.speech).columns))


def hidden(dataset, rows, **shares):
    collate = Collate(dataset.skeleton, dataset.card.text, dataset.card.speech)
    return MaskingCollate(collate, MaskConfig(**shares))(rows)


def test_nothing_hidden_changes_nothing(dataset, rows):
    batch = hidden(dataset, rows)
    assert (batch.n_text > 0).all()
    assert (batch.n_speech > 0).all()


def test_all_hidden_is_gone_and_the_rest_is_there(dataset, rows):
    batch = hidden(dataset, rows, speech=1.0)
    assert not batch.n_speech.any()
    assert not batch.speech.any()
    assert (batch.n_text > 0).all()
    assert (batch.n_frames > 0).all()


def test_a_share_hides_the_same_clips_in_any_order_and_a_larger_one_those_too(dataset, rows):
    some, more = (hidden(dataset, rows, text=share).n_text > 0 for share in (0.3, 0.6))
    assert len(rows) > some.sum() > more.sum() > 0
    assert (some | ~more).all()
    backwards = hidden(dataset, rows.take(list(range(len(rows)))[::-1]), text=0.3).n_text > 0
    assert (backwards.flip(0) == some).all()
