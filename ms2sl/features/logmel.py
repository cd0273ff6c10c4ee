"""Speech as its log-mel spectrogram: no weights to download, any language."""

from collections.abc import Sequence

import numpy as np
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from ms2sl.audio.speech import SAMPLE_RATE, Speech
from ms2sl.errors import InputError
from ms2sl.features.base import FeaturizerConfig, without_weights

WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms every 10 ms
BANDS = 80
# Mean and deviation of log10 power of speech at ordinary loudness, so that features lie near unit scale.
CENTRE, SPREAD = -4.0, 3.0
FLOOR, FLOOR_AT_LEVEL = 1e-10, 1e-7  # power below which nothing is told apart; where the level is known, what is hidden by 8-bit noise


class LogMel:
    """80 mel bands every 10 ms, float16 ``(frames, 80)``; brought to one level and resampled to 16 kHz first."""

    def __init__(self, config: FeaturizerConfig, device: str = "cpu"):
        self.features = without_weights(config, modality="speech", dim=BANDS, rate=SAMPLE_RATE / HOP, level=config.level)
        self._floor = FLOOR if config.level is None else FLOOR_AT_LEVEL
        self._filters = mel_filter_bank(FFT // 2 + 1, BANDS, 20.0, SAMPLE_RATE / 2, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
        self._window = window_function(WINDOW, "hann")

    def __call__(self, inputs: Sequence[Speech]) -> list[np.ndarray]:
        return [self._encode(speech) for speech in inputs]

    def _encode(self, speech: Speech) -> np.ndarray:
        waveform = speech.at_level(self.features.level).resampled(SAMPLE_RATE).waveform
        if len(waveform) < WINDOW:
            raise InputError(f"the speech lasts {speech.seconds:.3f} s: record at least one word")
        if not np.isfinite(waveform).all():
            raise InputError("the speech holds NaN or infinite samples")
        mel = spectrogram(
            waveform,
            self._window,
            WINDOW,
            HOP,
            FFT,
            power=2.0,
            mel_filters=self._filters,
            mel_floor=self._floor,
            log_mel="log10",
            center=False,
        )
        return ((mel.T - CENTRE) / SPREAD).astype(np.float16)
