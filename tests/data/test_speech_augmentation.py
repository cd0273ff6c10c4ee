import numpy as np
import pyarrow as pa
import pytest
import torch

from ms2sl.data.collate import STANDARD, Collate
from ms2sl.data.dataset import Dataset
from ms2sl.data.modality_masking import MaskConfig, MaskingCollate
from ms2sl.data.speech_augmentation import SpeechAugmentConfig, augmented_speech


@pytest.fixture(scope="module")
def dataset(tiny_dataset):
    return Dataset(tiny_dataset)


def collate(dataset, noise: float, speed: float = 0.0) -> Collate:
    config = SpeechAugmentConfig(noise=noise, speed=speed)
    fields = [augmented_speech(config) if field.name == "speech" else field for field in STANDARD]
    return Collate(dataset.skeleton, dataset.card.text, dataset.card.speech, fields)


@pytest.fixture(scope="module")
def rows(dataset) -> pa.Table:
    return next(dataset.tables("train", collate(dataset, 1).columns)).slice(0, 12)


def changed(batch, other) -> torch.Tensor:
    return (batch.speech != other.speech).any(dim=2).any(dim=1)


def test_no_share_changes_nothing_and_reads_no_recordings(dataset, rows):
    plain = Collate(dataset.skeleton, dataset.card.text, dataset.card.speech)
    assert collate(dataset, 0).columns == plain.columns
    assert "speech" not in plain.columns
    assert torch.equal(collate(dataset, 0)(rows).speech, plain(rows).speech)


def test_a_share_of_the_clips_is_heard_otherwise_and_the_rest_of_the_batch_is_as_it_was(dataset, rows):
    clean, some, all_of_them = (collate(dataset, share)(rows) for share in (0, 0.5, 1))
    spoken = clean.n_speech > 0
    assert spoken.any()
    assert torch.equal(changed(clean, all_of_them), spoken)
    assert 0 < changed(clean, some).sum() < spoken.sum()
    for batch in (some, all_of_them):
        assert torch.equal(batch.n_speech, clean.n_speech)
        assert torch.equal(batch.text, clean.text)
        assert torch.equal(batch.poses, clean.poses)
    heard = np.corrcoef(clean.speech[spoken].flatten(), all_of_them.speech[spoken].flatten())[0, 1]
    assert 0.3 < heard < 0.99, "the same words are in it, and more"


def test_the_same_batch_is_heard_alike_and_another_one_otherwise(dataset, rows):
    once, again = collate(dataset, 1)(rows), collate(dataset, 1)(rows)
    assert torch.equal(once.speech, again.speech)
    spoken = once.n_speech > 0
    backwards = collate(dataset, 1)(rows.take(list(range(len(rows)))[::-1])).speech.flip(0)
    later = collate(dataset, 1)(rows.append_column("epoch", pa.array([1] * len(rows)))).speech
    for other in (backwards, later):
        assert torch.equal((once.speech != other).any(dim=2).any(dim=1), spoken)


def test_clips_without_recording_or_features_stay_as_they_are(dataset, rows):
    column = rows.schema.get_field_index("speech")
    unrecorded = rows.set_column(column, "speech", pa.nulls(len(rows), pa.large_binary()))
    assert torch.equal(collate(dataset, 1)(unrecorded).speech, collate(dataset, 0)(rows).speech)
    hidden = MaskingCollate(collate(dataset, 1), MaskConfig(speech=1))(rows)
    assert not hidden.speech.any()


def test_a_clip_alone_in_its_batch_is_heard_in_noise_too(dataset, rows):
    spoken = rows.filter(pa.compute.greater(rows["n_speech"], 0)).slice(0, 1)
    assert changed(collate(dataset, 0)(spoken), collate(dataset, 1)(spoken)).all()


def test_speech_is_heard_faster_and_slower(dataset, rows):
    clean, changed_speed = collate(dataset, 0)(rows), collate(dataset, 0, speed=0.2)(rows)
    spoken = clean.n_speech > 0
    ratio = clean.n_speech[spoken] / changed_speed.n_speech[spoken]
    assert torch.equal(changed_speed.n_speech[~spoken], clean.n_speech[~spoken])
    assert 0.78 < ratio.min() < 0.95
    assert 1.05 < ratio.max() < 1.22
    assert torch.equal(changed_speed.poses, clean.poses)
    assert torch.equal(changed_speed.speech, collate(dataset, 0, speed=0.2)(rows).speech)
