import io

import numpy as np
import pytest
import soundfile

from ms2sl.audio.speech import Speech
from ms2sl.data.types import Clip, Poses, Utterance
from ms2sl.errors import InputError


def tone(channels: int = 1) -> np.ndarray:
    wave = 0.5 * np.sin(np.arange(8000) / 10)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_speech_is_read_from_the_usual_formats(kind):
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(2), 16_000, format=kind)
    speech = Speech.decode(buffer.getvalue())
    assert speech.rate == 16_000
    assert speech.waveform.ndim == 1
    assert speech.seconds == pytest.approx(0.5, abs=0.1)
    assert np.abs(speech.waveform).max() == pytest.approx(0.5, abs=0.1)


def test_channels_are_averaged():
    buffer = io.BytesIO()
    left = tone()[:, 0]
    soundfile.write(buffer, np.stack([left, -0.2 * left], axis=1), 44_100, format="WAV", subtype="FLOAT")
    speech = Speech.decode(buffer.getvalue())
    assert speech.rate == 44_100
    assert np.allclose(speech.waveform, 0.4 * left, atol=1e-6)


def test_flac_keeps_16_bits():
    speech = Speech(tone()[:, 0], 16_000)
    assert np.abs(Speech.decode(speech.to_flac()).waveform - speech.waveform).max() < 2**-15


@pytest.mark.parametrize("content", [b"", b"no audio", b"RIFF\x00\x00\x00\x00WAVE"])
def test_what_is_no_audio_is_named(content):
    with pytest.raises(InputError, match=r"hello\.wav is not audio"):
        Speech.decode(content, "hello.wav")


def test_audio_without_a_sample_is_no_speech():
    buffer = io.BytesIO()
    soundfile.write(buffer, tone()[:0], 16_000, format="WAV")
    with pytest.raises(InputError, match="holds no samples"):
        Speech.decode(buffer.getvalue())


def test_poses_and_speech_know_how_long_they_last():
    assert Speech(tone()[:, 0], 16_000).seconds == 0.5
    assert Poses(np.zeros((30, 49, 2), np.float32), np.ones((30, 49), np.float32), 12.5).seconds == 2.4


@pytest.mark.parametrize("modality", ["text", "speech"])
def test_an_utterance_has_the_one_modality_and_nothing_else_of_the_clip(corpus, modality):
    clip = corpus.clip(0)
    utterance = clip.utterance(modality)
    assert utterance.id == clip.id
    assert getattr(utterance, modality) is getattr(clip, modality) is not None
    asked = {"text", "speech", "seconds", "signed_language", "signer"}
    assert {name for name in asked if getattr(utterance, name) is not None} == {modality, "signed_language"}
    assert utterance.signed_language == clip.signed_language == "ase", (
        "it is asked for, and the same for all clips of a corpus of one language"
    )
    assert set(Utterance.__slots__) == {"id", *asked}, "what is new in an utterance is weighed here first: it may tell of the poses"
    assert not hasattr(utterance, "poses")
    assert {"poses", "gloss"} <= set(Clip.__slots__), "otherwise the line above says nothing"
