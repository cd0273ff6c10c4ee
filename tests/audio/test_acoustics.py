from dataclasses import replace

import numpy as np
import pytest

from ms2sl.audio.acoustics import GAIN, add_noise, at_speed, augment, coloured_noise, reverberate
from ms2sl.audio.loudness import speech_level
from ms2sl.audio.speech import Speech
from ms2sl.data.speech_synthesis import spell

RATE = 16_000


@pytest.fixture(scope="module")
def speech() -> Speech:
    return spell("zebra").resampled(RATE)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("exponent", [0, 1, 2])
@pytest.mark.parametrize("samples", [40_000, 40_001])
def test_noise_has_unit_power_which_falls_with_that_power_of_the_frequency(exponent, samples):
    noise = coloured_noise(samples, exponent, rng())
    assert len(noise) == samples
    assert np.mean(noise**2) == pytest.approx(1, abs=1e-5)
    power = np.abs(np.fft.rfft(noise)) ** 2
    bands = np.array([power[low : 2 * low].mean() for low in 2 ** np.arange(7, 13)])  # octaves
    assert np.diff(np.log2(bands)) == pytest.approx(-exponent, abs=0.3)


@pytest.mark.parametrize("snr", [-5, 0, 10, 30])
def test_noise_is_that_much_below_the_level_of_the_speech(speech, snr):
    noise = 3 * coloured_noise(len(speech.waveform), 1, rng())
    added = add_noise(speech, noise, snr).waveform - speech.waveform
    assert 10 * np.log10(np.mean(added**2)) == pytest.approx(speech_level(speech.waveform, RATE) - snr, abs=0.01)


@pytest.mark.parametrize("loud", [0, 1])
def test_noise_that_is_longer_counts_as_far_as_it_is_heard(speech, loud):
    samples = len(speech.waveform)
    noise = np.concatenate([coloured_noise(samples, 1, rng()) * gain for gain in ((1, 0.01), (0.01, 1))[loud]])
    added = add_noise(speech, noise, 20).waveform - speech.waveform
    assert 10 * np.log10(np.mean(added**2)) == pytest.approx(speech_level(speech.waveform, RATE) - 20, abs=0.05)


def test_shorter_noise_is_repeated_and_silence_changes_nothing(speech):
    added = add_noise(speech, np.array([1.0, -1.0], np.float32), 10).waveform - speech.waveform
    assert np.allclose(added[::2], added[0], atol=1e-6)
    assert np.allclose(added[1::2], -added[0], atol=1e-6)
    assert add_noise(speech, np.zeros(9, np.float32), 10) is speech
    silent = Speech(np.zeros(RATE, np.float32), RATE)
    assert add_noise(silent, coloured_noise(RATE, 0, rng()), 10) is silent


@pytest.mark.parametrize(("decay", "direct"), [(0.2, 0.0), (0.5, 10.0)])
def test_a_room_answers_a_click_with_a_tail_of_that_power_and_decay(decay, direct):
    click = np.zeros(RATE, np.float32)
    click[0] = 1
    heard = reverberate(Speech(click, RATE), decay, direct, rng()).waveform
    assert heard[0] == pytest.approx(1, abs=1e-5)
    tail = heard[1:].astype(np.float64) ** 2
    assert 10 * np.log10(tail.sum()) == pytest.approx(-direct, abs=0.1)
    left = 10 * np.log10(np.cumsum(tail[::-1])[::-1][: int(decay * RATE / 2)])  # Schroeder's backward integration
    times = np.arange(len(left)) / RATE
    assert np.polyfit(times, left, 1)[0] == pytest.approx(-60 / decay, rel=0.1)


def test_what_is_changed_is_as_long_and_in_bounds_and_the_same_for_the_same_chance(speech):
    other = replace(speech, waveform=speech.waveform[::-1][:999])
    heard = [augment(speech, lambda: other, rng(seed)).waveform for seed in range(20)]
    for waveform in heard:
        assert waveform.shape == speech.waveform.shape
        assert waveform.dtype == np.float32
        assert np.abs(waveform).max() <= 1
    assert np.array_equal(heard[3], augment(speech, lambda: other, rng(3)).waveform)
    levels = np.array([speech_level(waveform, RATE) for waveform in heard]) - speech_level(speech.waveform, RATE)
    assert levels.min() > GAIN[0] - 3
    assert np.ptp(levels) > 15
    assert len({waveform.tobytes() for waveform in heard}) == 20


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_faster_speech_is_shorter_and_higher_by_as_much(factor):
    tone = Speech(np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32), RATE)
    heard = at_speed(tone, factor)
    assert heard.rate == RATE
    assert heard.seconds == pytest.approx(1 / factor, abs=1e-3)
    assert np.abs(np.fft.rfft(heard.waveform)).argmax() / heard.seconds == pytest.approx(440 * factor, abs=2)
    assert np.abs(heard.waveform[1000:-1000]).max() == pytest.approx(1, abs=0.01)
