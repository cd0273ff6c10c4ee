"""A recording as a mono waveform: decoded, resampled, brought to a level."""

import io
from dataclasses import dataclass, replace

import numpy as np
import soundfile
import soxr

from ms2sl.audio.decoding import LONGEST, decode
from ms2sl.audio.loudness import speech_level
from ms2sl.errors import InputError

SAMPLE_RATE = 16_000  # samples a second at which speech is kept


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """Mono waveform, float32 ``(samples,)`` in [-1, 1], at ``rate`` samples a second; what was odd about its file.

    level: dBFS of the recording that it is a piece of; None if it is none, and has its own level.
    """

    waveform: np.ndarray
    rate: int
    remarks: tuple[str, ...] = ()
    level: float | None = None

    @property
    def seconds(self) -> float:
        return len(self.waveform) / self.rate

    def resampled(self, rate: int) -> "Speech":
        """At another sampling rate, by soxr. Raises InputError if its own rate is impossible."""
        if self.rate <= 0:
            raise InputError(f"speech of {self.rate} samples a second is impossible")
        return self if self.rate == rate else replace(self, waveform=soxr.resample(self.waveform, self.rate, rate), rate=rate)

    def at_level(self, level: float | None) -> "Speech":
        """As loud as ``level`` dBFS (see ``speech_level``), perhaps beyond [-1, 1], and without constant offset; None leaves it as it is.
        Silence is not made louder."""
        if level is None or not len(self.waveform):
            return self
        own = speech_level(self.waveform, self.rate) if self.level is None else self.level
        gain = 1.0 if own is None else 10 ** ((level - own) / 20)
        return replace(self, waveform=(self.waveform - np.median(self.waveform)) * np.float32(gain), level=None if own is None else level)

    @property
    def pcm(self) -> np.ndarray:
        """int16 ``(samples,)``, rounded and bounded as libsndfile does."""
        return np.rint(self.waveform * np.float32(32768)).clip(-32768, 32767).astype(np.int16)

    @classmethod
    def of_pcm(cls, samples: np.ndarray, rate: int = SAMPLE_RATE) -> "Speech":
        """int16 ``(samples,)`` as what comes out of a FLAC file that holds them."""
        return cls(samples.astype(np.float32) / 32768, rate)

    def to_flac(self) -> bytes:
        return flac(self.pcm, self.rate)

    @classmethod
    def decode(cls, encoded: bytes, where: str = "speech", longest: float = LONGEST, rate: int | None = None) -> "Speech":
        """Any usual format (wav, flac, mp3, ogg, m4a, webm, …); see ``ms2sl.audio.decoding.decode``, whose InputErrors it raises."""
        return cls(*decode(encoded, where, longest, rate))


def flac(samples: np.ndarray, rate: int = SAMPLE_RATE) -> bytes:
    """int16 ``(samples,)`` without loss."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
