import av
import numpy as np
import pytest

from ms2sl.video.keypoints import Detector
from ms2sl.video.mediapipe_environment import python_of


@pytest.fixture
def sound_film(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def mediapipe() -> str:
    """The python of an environment with MediaPipe, which is made if it is not there."""
    return python_of("")


@pytest.fixture(scope="session")
def detector(mediapipe):
    made = Detector(mediapipe)
    yield made
    made.close()
