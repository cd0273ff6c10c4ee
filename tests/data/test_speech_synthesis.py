import numpy as np
import pytest

from ms2sl.corpora.fingerspelling import ENGLISH_VOICES
from ms2sl.data.speech_synthesis import phonemes, spell, synthesise
from ms2sl.errors import InputError


def test_speech_is_heard_at_16_khz_and_repeatable():
    one, two = synthesise("hello"), synthesise("hello")
    assert one.rate == 16_000
    assert 0.2 < one.seconds < 1.5
    assert np.abs(one.waveform).max() > 0.1
    assert np.array_equal(one.waveform, two.waveform)


def test_letters_are_said_by_their_names():
    assert spell("w").seconds > 1.4 * spell("a").seconds  # double-u
    assert spell("abc").seconds > 2 * spell("a").seconds


def test_a_doubled_letter_is_said_twice():
    assert spell("aa").seconds > 1.8 * spell("a").seconds


def test_no_two_letters_sound_the_same():
    said = {letter: spell(letter).waveform.tobytes() for letter in "abcdefghijklmnopqrstuvwxyz"}
    assert len(set(said.values())) == 26


def test_voices_differ_and_rates_are_followed():
    assert len({spell("cab", voice).waveform.tobytes() for voice in ENGLISH_VOICES}) == len(ENGLISH_VOICES) == 8
    assert spell("cab", words_per_minute=120).seconds > 1.2 * spell("cab", words_per_minute=200).seconds


def test_a_region_without_voice_has_that_of_its_language():
    assert np.array_equal(synthesise("hello", "en-AU").waveform, synthesise("hello", "en").waveform)
    assert np.array_equal(synthesise("hallo", "de-DE").waveform, synthesise("hallo", "de").waveform)


def test_phonemes_are_those_of_the_language():
    assert phonemes("hello") == "həlˈoʊ"
    assert phonemes("hello", "en-GB") == "həlˈəʊ"
    assert phonemes("one. two") == "wˈʌn tˈuː"
    assert phonemes("") == ""


def test_an_unknown_voice_is_named():
    with pytest.raises(InputError, match="no voice for the language 'martian'"):
        synthesise("hello", voice="martian")


def test_silence_is_no_speech():
    with pytest.raises(InputError, match="says nothing"):
        synthesise("")
