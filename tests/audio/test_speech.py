import io

import numpy as np
import soundfile

from ms2sl.audio.speech import Speech


def test_samples_are_those_that_a_flac_file_holds():
    """Rounded and bounded as libsndfile does when it writes floats, so that speech on its way to a shard is what comes out of it."""
    rng = np.random.default_rng(0)
    halves = (np.arange(-3000, 3000) + 0.5) / 32768
    waveform = np.concatenate([rng.normal(0, 0.3, 20_000), halves, [1, -1, 1.5, -1.5, 0.99999, -0.99999]]).astype(np.float32)
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, 16_000, format="FLAC", subtype="PCM_16")
    written, _ = soundfile.read(io.BytesIO(buffer.getvalue()), dtype="int16")
    speech = Speech(waveform, 16_000)
    assert np.array_equal(speech.pcm, written)
    assert speech.to_flac() == buffer.getvalue()
    assert np.array_equal(Speech.of_pcm(speech.pcm).waveform, Speech.decode(buffer.getvalue()).waveform)
