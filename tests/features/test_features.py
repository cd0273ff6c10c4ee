from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank

from ms2sl.audio.speech import Speech
from ms2sl.data import speech_synthesis
from ms2sl.errors import InputError
from ms2sl.features import featurizer, same_featurizer
from ms2sl.features.base import Features, SpeechConfig, TextConfig
from ms2sl.text_normalization import plain


def speech(seconds: float = 1.0, rate: int = 16_000) -> Speech:
    t = np.arange(int(seconds * rate)) / rate
    return Speech((0.3 * np.sin(2 * np.pi * 440 * t)).astype(np.float32), rate)


def test_speech_without_a_rate_is_refused():
    with pytest.raises(InputError, match="0 samples a second"):
        featurizer(SpeechConfig(), "speech")([Speech(np.zeros(1600, np.float32), 0)])


def test_text_is_its_bytes_whatever_its_case_spaces_or_composition():
    bytes_of = featurizer(TextConfig(), "text")
    assert bytes(bytes_of(["  Grüße\n dich "])[0]).decode() == "grüße dich"
    assert plain("e\u0301") == "é"


def test_an_empty_text_has_no_features():
    with pytest.raises(InputError, match="the text is empty"):
        featurizer(TextConfig(), "text")(["  "])


def test_log_mel_agrees_with_torch():
    sound = speech()
    spectrum = torch.stft(torch.from_numpy(sound.waveform), 512, 160, 400, torch.hann_window(400), center=False, return_complex=True)
    own = featurizer(SpeechConfig(level=None), "speech")([sound])[0].astype(np.float32) * 3 - 4
    assert own.shape == (98, 80)
    filters = mel_filter_bank(257, 80, 20.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    expected = np.log10(np.maximum(filters.T @ (spectrum.abs() ** 2).numpy(), 1e-10)).T
    loud = expected > expected.max() - 4
    # torch centres a window of 400 in a frame of 512, so both see the tone, but not the very same samples.
    assert np.abs(own[:97][loud[:97]] - expected[:97][loud[:97]]).max() < 0.1


def test_other_sampling_rates_sound_the_same():
    low, high = featurizer(SpeechConfig(), "speech")([speech(), speech(rate=44_100)])
    band = low.astype(np.float32).mean(axis=0).argmax()
    assert high.astype(np.float32).mean(axis=0).argmax() == band
    assert abs(len(low) - len(high)) <= 1


@pytest.mark.parametrize("decibels", [-50, -30, -10, 10])
def test_quiet_and_loud_speech_have_the_same_features(decibels):
    spoken = speech_synthesis.spell("cab")
    other = replace(spoken, waveform=spoken.waveform * np.float32(10 ** (decibels / 20)))
    one, two = featurizer(SpeechConfig(), "speech")([spoken, other])
    heard = one > -1.5  # above what is near silence
    assert np.abs(one - two)[heard].max() < 0.05


def test_features_of_data_and_models_that_knew_no_level_stay_as_they_were():
    record = Features.model_validate({"featurizer": "log-mel", "modality": "speech", "dim": 80, "rate": 100.0})
    plain, spoken = featurizer(SpeechConfig(level=None), "speech"), speech_synthesis.spell("cab")
    quiet = replace(spoken, waveform=spoken.waveform / 10)
    before = same_featurizer(record)([spoken, quiet])
    assert all(np.array_equal(a, b) for a, b in zip(before, plain([spoken, quiet]), strict=True))
    assert before[0].min() == -2, "the floor is 1e-10"
    loud_band = before[0].astype(np.float32).mean(axis=0).argmax()
    difference = 3 * (before[0] - before[1]).astype(np.float32)[:, loud_band]
    assert np.percentile(difference, 90) == pytest.approx(2, abs=0.1), "20 dB are 2 powers of ten"


def test_text_has_no_level():
    with pytest.raises(InputError, match="no option level"):
        featurizer(TextConfig(level=-17), "text")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Speech(np.zeros(0, np.float32), 16_000), "lasts 0.000 s"),
        (Speech(np.zeros(100, np.float32), 16_000), "record at least one word"),
        (Speech(np.full(16_000, np.nan, np.float32), 16_000), "NaN"),
    ],
)
def test_speech_without_features_is_explained(bad, reason):
    with pytest.raises(InputError, match=reason):
        featurizer(SpeechConfig(), "speech")([bad])


def test_an_unknown_featurizer_lists_those_there_are():
    with pytest.raises(InputError, match="no text featurizer 'log-mel'; there are: bytes, clip"):
        featurizer(TextConfig(featurizer="log-mel"), "text")
