"""MS2SL as a producer: utterances in, poses out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import pad

from ms2sl.data.collate import FRAME_MULTIPLE
from ms2sl.data.types import Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.inference.sampling_config import Sampling
from ms2sl.inference.sliding_window import SHORTEST, Window, WindowedGenerator, check_duration, sign_all
from ms2sl.nn.diffusion import SAMPLERS, SamplerName
from ms2sl.precision import Precision, uses_bf16
from ms2sl.systems.ms2sl import task
from ms2sl.systems.ms2sl.condition_cache import BATCH, ConditionEncoderCache, EncodedUtterance, SaidFeatures, one_after_another
from ms2sl.systems.ms2sl.model import MS2SL, InpaintingWindow
from ms2sl.training.checkpoint import ModelCard


class MS2SLProducer:
    """Samples a trained model.

    An utterance is conditioned on its text, its speech or both, whatever it has. Its noise depends on the seed and on
    what is said alone, so the same seed gives the same poses in whatever batch (up to rounding, below 1e-4 shoulder widths).
    What takes longer than the longest clip of its training is made window by window. precision: bf16 is twice as fast in large batches
    where the processor has it, and moves poses by some thousandths of a shoulder width; auto is bf16 there.
    """

    name = "ms2sl"

    def __init__(
        self,
        model: MS2SL,
        card: ModelCard,
        *,
        steps: int = 8,
        guidance: float = 1.0,
        sampler: SamplerName = "ddim",
        device: str = "cpu",
        precision: Precision = "fp32",
    ):
        if steps < 1:
            raise InputError(f"{steps} sampling steps are impossible: use 1 or more")
        if sampler not in SAMPLERS:
            raise InputError(f"there is no sampler '{sampler}'; there are: {', '.join(SAMPLERS)}")
        self.model, self.card, self.device = model.to(device), card, torch.device(device)
        self.steps, self.guidance, self.sampler = steps, guidance, sampler
        self.bf16 = uses_bf16(precision, self.device)
        self.hearing = ConditionEncoderCache(self.model, card, self.device)
        self.collate = self.hearing.collate
        self.seen = model.space.seen.cpu().numpy()

    @classmethod
    def load(cls, folder: Path, **options) -> "MS2SLProducer":
        """From a checkpoint folder, with the options of the class. Raises InputError if it holds no MS2SL model."""
        return cls(*task.load(Path(folder)), **options)

    @property
    def skeleton(self):
        return self.card.skeleton

    def features(self, utterance: Utterance) -> SaidFeatures:
        """Features of its text and of its speech; None for what it lacks.

        Raises InputError if the model cannot say it: nothing to say, unknown letters, an impossible length.
        """
        check_duration(utterance)
        return self.hearing.features(utterance)

    def measure(self, utterances: Sequence[Utterance]) -> list[float]:
        """Frames of the signing of each: as many as were asked for, or as the model expects. Raises InputError as ``features`` does."""
        return [
            max(SHORTEST, heard.frames) if utterance.seconds is None else utterance.seconds * self.card.fps
            for utterance, heard in zip(utterances, self.hearing(utterances), strict=True)
        ]

    def produce(self, utterances: Sequence[Utterance], *, seed: int) -> list[Poses]:
        """Normalised poses at the model's fps, in the order of the utterances. Raises InputError as ``features`` does."""
        sampling = Sampling(steps=self.steps, guidance=self.guidance, sampler=self.sampler)
        signings = [WindowedGenerator.of(utterance, self.card, seed) for utterance in utterances]
        return sign_all(signings, self.measure, lambda windows: self.sample(windows, sampling))

    @torch.no_grad()
    def sample(self, windows: Sequence[Window], sampling: Sampling) -> list[Poses]:
        """Normalised poses of each window, in order; windows of like length share a batch."""
        heard = [self.hearing(window.pieces) for window in windows]
        given = [tuple(pieces[0].conditions) for pieces in heard]
        results: list[Poses | None] = [None] * len(windows)
        for modalities in sorted(set(given)):
            alike = sorted((i for i in range(len(windows)) if given[i] == modalities), key=lambda i: windows[i].frames)
            for start in range(0, len(alike), BATCH):
                some = alike[start : start + BATCH]
                for i, poses in zip(some, self._batch([windows[i] for i in some], [heard[i] for i in some], sampling), strict=True):
                    results[i] = poses
        return results

    def _batch(self, windows: Sequence[Window], heard: Sequence[Sequence[EncodedUtterance]], sampling: Sampling) -> list[Poses]:
        conditions = [
            one_after_another([[each.conditions[modality] for each in pieces] for pieces in heard], [window.lengths for window in windows])
            for modality in heard[0][0].conditions
        ]
        size = -(-max(window.frames for window in windows) // FRAME_MULTIPLE) * FRAME_MULTIPLE
        noise = torch.stack([pad(self._noise(*both), (0, 0, 0, size - both[0].frames)) for both in zip(windows, heard, strict=True)])
        n_frames = torch.tensor([window.frames for window in windows], device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            made = self.model.generate(conditions, n_frames, noise.to(self.device), **sampling.model_dump(), part=self._part(windows, size))
        confidence = self.seen.astype(np.float32)
        return [
            Poses(row[:n] * self.seen[:, None], np.broadcast_to(confidence, (n, len(confidence))), self.card.fps)
            for row, n in zip(made.cpu().numpy(), n_frames.tolist(), strict=True)
        ]

    def _part(self, windows: Sequence[Window], size: int) -> InpaintingWindow:
        known = torch.zeros(len(windows), size, self.skeleton.n_joints, self.skeleton.dims)
        weight = torch.zeros(len(windows), size)
        for i, window in enumerate(windows):
            if window.known is not None:
                known[i, : len(window.known)] = torch.tensor(window.known)
                weight[i, : len(window.known)] = torch.tensor(window.weight)
        first = torch.tensor([window.first for window in windows], device=self.device)
        whole = torch.tensor([sum(window.lengths) for window in windows], device=self.device)
        return InpaintingWindow(first, whole, known.to(self.device), weight.to(self.device))

    def _noise(self, window: Window, heard: Sequence[EncodedUtterance]) -> torch.Tensor:
        """That of its frames ``(frames, joints * dims)``: each piece has its own, so that it is the same in all windows that touch it."""
        features = self.skeleton.n_joints * self.skeleton.dims
        pieces = [
            torch.randn(n, features, generator=torch.Generator().manual_seed(piece.noise_seed(window.seed)))
            for n, piece in zip(window.lengths, heard, strict=True)
        ]
        return torch.cat(pieces)[window.first : window.first + window.frames]
