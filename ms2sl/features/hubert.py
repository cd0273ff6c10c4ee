"""Speech as the frame states of HuBERT (Hsu et al. 2021), or of any encoder of its family: wav2vec 2.0, WavLM, UniSpeech, data2vec."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from transformers import AutoFeatureExtractor

from ms2sl.audio.speech import Speech
from ms2sl.errors import InputError
from ms2sl.features.base import Features, FeaturizerConfig
from ms2sl.features.pretrained import by_length, digest, load, resolve_precision

FRAMES_PER_BATCH = {"cpu": 400, "cuda": 15_000}  # 8 seconds fit the caches of a CPU


class Hubert:
    """Hidden states, averaged in time to ``rate`` a second, float16 ``(frames, dim)``.

    The convolutions of the base models normalise over the whole recording, so padding would change what they say. They run on each
    recording alone; the transformer behind them, with most of the work, runs on recordings of like length with the padding masked. The
    states are those of the recording alone.
    """

    def __init__(self, config: FeaturizerConfig, device: str = "cpu"):
        self.device = torch.device(device)
        self.model, self.extractor = load(config, "speech", AutoFeatureExtractor, self.device)
        if not hasattr(self.model, "feature_extractor") or not hasattr(self.model.config, "conv_stride"):
            raise InputError(f"{config.weights} is a {type(self.model).__name__}, which is not of the family of HuBERT and wav2vec 2.0")
        hashed, precision = digest(self.model), resolve_precision(config, self.device)
        self.model.to(torch.bfloat16 if precision == "bf16" else torch.float32)
        self.convolutions, self.model.feature_extractor = self.model.feature_extractor, nn.Identity()
        own = self.extractor.sampling_rate / float(np.prod(self.model.config.conv_stride))
        rate = own if config.rate is None else config.rate
        self.pooled = round(own / rate)
        if not self.pooled or abs(own / self.pooled - rate) > 1e-6:
            raise InputError(f"--speech.rate {rate:g} does not divide the {own:g} states a second of {config.weights}: try {own / 4:g}")
        given = config.model_dump() | {"precision": precision, "rate": rate}
        self.features = Features(**given, modality="speech", dim=self.model.config.hidden_size, digest=hashed)

    def __call__(self, inputs: Sequence[Speech]) -> list[np.ndarray]:
        waves = [self._wave(speech) for speech in inputs]
        features: list[np.ndarray] = [np.empty(0)] * len(waves)
        counts = [self._frames(wave.shape[-1]) for wave in waves]
        for batch in by_length(counts, FRAMES_PER_BATCH[self.device.type]):
            states = self._states([waves[i] for i in batch], max(counts[i] for i in batch))
            for i, state in zip(batch, states, strict=True):
                features[i] = self._pool(state[: counts[i]])
        return features

    def _wave(self, speech: Speech) -> torch.Tensor:
        wave = speech.at_level(self.features.level).resampled(self.extractor.sampling_rate).waveform
        if not np.isfinite(wave).all():
            raise InputError("the speech holds NaN or infinite samples")
        if self._frames(len(wave)) < 1:
            raise InputError(f"the speech lasts {speech.seconds:.3f} s: record at least one word")
        values = self.extractor(wave, sampling_rate=self.extractor.sampling_rate, return_tensors="pt").input_values
        return values.to(self.device, self.model.dtype)

    def _frames(self, samples: int) -> int:
        """How many states a recording has."""
        return int(self.model._get_feat_extract_output_lengths(torch.tensor(samples)))

    @torch.inference_mode()
    def _states(self, waves: list[torch.Tensor], frames: int) -> torch.Tensor:
        convolved = [nn.functional.pad(found, (0, frames - found.shape[-1])) for found in map(self.convolutions, waves)]
        mask = torch.zeros(len(waves), max(wave.shape[-1] for wave in waves), dtype=torch.long, device=self.device)
        for row, wave in zip(mask, waves, strict=True):
            row[: wave.shape[-1]] = 1
        wanted = self.features.layer
        output = self.model(torch.cat(convolved), attention_mask=mask, output_hidden_states=wanted != -1)
        return output.last_hidden_state if wanted == -1 else output.hidden_states[wanted]

    def _pool(self, states: torch.Tensor) -> np.ndarray:
        """Means of groups of states; the last group has what is left."""
        groups = states.float().split(self.pooled)
        return torch.stack([group.mean(dim=0) for group in groups]).to(torch.float16).cpu().numpy()
