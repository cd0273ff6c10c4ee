import numpy as np
import pytest

from ms2sl.audio.loudness import speech_level
from ms2sl.audio.speech import Speech
from ms2sl.data import speech_synthesis

RATE = 16_000


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    return speech_synthesis.spell("zebra").waveform


def noise(n: int, deviation: float) -> np.ndarray:
    return deviation * np.random.default_rng(0).normal(size=n)


def pauses(wave: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(5 * RATE), wave, np.zeros(5 * RATE)])


def clicks(wave: np.ndarray) -> np.ndarray:
    """As loud as a file can hold, and 30 dB above the speech."""
    wave = wave.copy()
    for at in (1000, 9000, 15_000):
        wave[at : at + 40] = 32 * np.abs(wave).max()
    return wave


@pytest.mark.parametrize(
    ("change", "decibels", "tolerance"),
    [
        (lambda wave: wave, 0, 0),
        (lambda wave: wave / 100, -40, 0.05),
        (lambda wave: 4 * wave, 12.04, 0.01),
        (pauses, 0, 1),
        (clicks, 0, 1),
        (lambda wave: pauses(wave) + noise(len(pauses(wave)), 0.005), 0, 2.5),
        (lambda wave: wave + 0.2, 0, 0.1),
    ],
)
def test_the_level_is_that_of_the_speech_whatever_else_is_in_the_recording(wave, change, decibels, tolerance):
    assert speech_level(change(wave), RATE) == pytest.approx(speech_level(wave, RATE) + decibels, abs=tolerance)


def vowel(letter: str) -> np.ndarray:
    """Without what is quiet around it."""
    wave = speech_synthesis.spell(letter).waveform
    loud = np.flatnonzero(np.abs(wave) > 0.1 * np.abs(wave).max())
    return wave[loud[0] : loud[-1]]


@pytest.mark.parametrize(
    "steady",
    [
        lambda wave: vowel("a"),
        lambda wave: vowel("o"),
        lambda wave: wave + noise(len(wave), 10 ** ((speech_level(wave, RATE) - 5) / 20)),
        lambda wave: np.sin(np.arange(RATE) / 10),
    ],
)
@pytest.mark.parametrize("decibels", [0, -30])
def test_a_voice_without_pauses_and_one_in_noise_are_brought_to_the_same_level_too(wave, steady, decibels):
    quiet = Speech((10 ** (decibels / 20) * steady(wave)).astype(np.float32), RATE)
    assert speech_level(quiet.at_level(-17.0).waveform, RATE) == pytest.approx(-17, abs=0.05)
    assert 10 * np.log10(np.square(quiet.at_level(-17.0).waveform).mean()) == pytest.approx(-18, abs=3)


@pytest.mark.parametrize("silence", [np.zeros(RATE), np.full(RATE, 0.1), noise(RATE, 1e-5), np.zeros(0), np.zeros(7)])
def test_silence_and_hiss_that_is_not_heard_have_no_level_and_are_not_made_louder(silence):
    assert speech_level(silence, RATE) is None
    changed = Speech(silence.astype(np.float32), RATE).at_level(-17.0)
    assert np.allclose(changed.waveform, silence - (np.median(silence) if len(silence) else 0), atol=1e-6)


def test_speech_of_any_level_is_brought_to_the_same(wave):
    loud, quiet = (Speech((gain * wave).astype(np.float32), RATE).at_level(-17.0) for gain in (0.9, 0.01))
    assert np.allclose(loud.waveform, quiet.waveform, atol=1e-3)
    assert speech_level(loud.waveform, RATE) == pytest.approx(-17, abs=0.01)
    assert Speech(wave, RATE).at_level(None).waveform is wave


def test_a_piece_is_made_as_much_louder_as_the_whole(wave):
    breath = Speech((0.001 * wave).astype(np.float32), RATE, level=-20.0)
    assert np.abs(breath.at_level(-17.0).waveform).max() < 0.003
