import numpy as np
import pytest

from ms2sl.corpora.augmentation import CHANCES, degraded
from ms2sl.data import speech_synthesis
from tests.corpora.test_fingerspelling import equal, make


@pytest.fixture(scope="module")
def clean():
    return speech_synthesis.spell("zebra")


def recordings(clean, monkeypatch, *happened: str):
    for what in CHANCES:
        monkeypatch.setitem(CHANCES, what, float(what in happened))
    return [degraded(clean, np.random.default_rng(seed)).waveform for seed in range(5)]


def above(wave: np.ndarray, hertz: float) -> float:
    """Share of its power."""
    power = np.abs(np.fft.rfft(wave)) ** 2
    return power[int(hertz * len(wave) / 16_000) :].sum() / power.sum()


def test_each_recording_is_whole_within_range_and_the_same_for_the_same_seed(clean):
    made = [degraded(clean, np.random.default_rng(seed)) for seed in range(20)]
    again = [degraded(clean, np.random.default_rng(seed)) for seed in range(20)]
    for one, other in zip(made, again, strict=True):
        assert one.waveform.shape == clean.waveform.shape
        assert one.waveform.dtype == np.float32
        assert np.abs(one.waveform).max() <= 1
        assert np.array_equal(one.waveform, other.waveform)
    assert len({one.waveform.tobytes() for one in made}) > 10


def test_what_may_happen_to_a_recording(clean, monkeypatch):
    assert all(np.array_equal(wave, clean.waveform) for wave in recordings(clean, monkeypatch))
    for wave in recordings(clean, monkeypatch, "band"):
        assert above(wave, 7100) < 1e-6 < above(clean.waveform, 7100)
    for wave in recordings(clean, monkeypatch, "noise"):
        assert 8 < 20 * np.log10(clean.waveform.std() / (wave - clean.waveform).std()) < 47
    for wave in recordings(clean, monkeypatch, "clipping"):
        assert (np.abs(wave) == 1).any()
    for wave in recordings(clean, monkeypatch, "quantisation"):
        assert len(np.unique(wave)) <= 255


def test_training_alone_is_degraded_and_nothing_but_its_speech():
    clean, poor = make(degraded=0), make(degraded=1, train=20)
    first = poor.splits["train"].start
    assert all(equal(clean.clip(i), poor.clip(i)) for i in range(0, first, 5))
    changed = 0
    for i in range(first, first + 20):
        one, other = clean.clip(i), poor.clip(i)
        assert one.text == other.text
        assert np.array_equal(one.poses.joints, other.poses.joints)
        assert (one.speech is None) == (other.speech is None)
        changed += one.speech is not None and not np.array_equal(one.speech.waveform, other.speech.waveform)
    assert changed > 10
