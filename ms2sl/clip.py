"""The unit of data: a clip is one utterance, in any of its modalities."""

import io
from dataclasses import dataclass

import numpy as np
import soundfile

from ms2sl.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """Keypoints of one signer over time.

    joints: float32 ``(frames, joints, dims)``. A joint that was not seen has confidence 0 and
    an undefined position: it is a mask, never a zero.
    confidence: float32 ``(frames, joints)`` in [0, 1].
    fps: frames per second.
    """

    joints: np.ndarray
    confidence: np.ndarray
    fps: float

    @property
    def n_frames(self) -> int:
        return len(self.joints)

    @property
    def seconds(self) -> float:
        return self.n_frames / self.fps


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """Mono waveform, float32 ``(samples,)`` in [-1, 1], at ``rate`` samples a second."""

    waveform: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.waveform) / self.rate

    def to_flac(self) -> bytes:
        buffer = io.BytesIO()
        soundfile.write(buffer, self.waveform, self.rate, format="FLAC", subtype="PCM_16")
        return buffer.getvalue()

    @classmethod
    def decode(cls, encoded: bytes, where: str = "speech") -> "Speech":
        """Any format of libsndfile (wav, flac, mp3, ogg); channels are averaged.

        Raises InputError if the bytes are no audio or hold no samples.
        """
        try:
            waveform, rate = soundfile.read(io.BytesIO(encoded), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            reason = str(error).rsplit(": ", 1)[-1]
            raise InputError(f"{where} is not audio that can be read (wav, flac, mp3 or ogg): {reason}") from None
        if not len(waveform):
            raise InputError(f"{where} holds no samples: record at least one word")
        return cls(waveform.mean(axis=1), rate)


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """What a producer is given. It has no poses, gloss or timing, so that none can leak.

    seconds: the length that the user asks for; None leaves it to the producer.
    """

    id: str
    text: str | None = None
    speech: Speech | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One utterance of a corpus; any of text, gloss, speech and poses may be absent.

    spoken_language is a BCP 47 tag, signed_language an ISO 639-3 code.
    """

    id: str
    split: str
    spoken_language: str
    signed_language: str
    text: str | None = None
    gloss: str | None = None
    speech: Speech | None = None
    poses: Poses | None = None

    def utterance(self, modality: str) -> Utterance:
        """Its ``text`` or its ``speech`` alone, or with "" neither, as a producer may see it."""
        return Utterance(self.id, **({modality: getattr(self, modality)} if modality else {}))
