import io

import numpy as np
import pytest
import soundfile

from ms2sl import posefile
from ms2sl.clip import Poses, Speech
from ms2sl.errors import InputError
from ms2sl.skeleton import HOLISTIC_49X2


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


def test_a_pose_file_comes_back(corpus):
    poses = HOLISTIC_49X2.normalise(corpus.clip(0).poses)
    back = posefile.from_bytes(posefile.to_bytes(poses, HOLISTIC_49X2), HOLISTIC_49X2)
    assert np.abs(back.joints - poses.joints).max() < 1e-4
    assert np.array_equal(back.confidence, poses.confidence)
    assert back.fps == pytest.approx(poses.fps)


def test_a_pose_file_of_one_frame():
    one = Poses(np.zeros((1, 49, 2), np.float32), np.ones((1, 49), np.float32), 25.0)
    assert posefile.from_bytes(posefile.to_bytes(one, HOLISTIC_49X2), HOLISTIC_49X2).n_frames == 1
