"""MS2SL as a producer: utterances in, poses out."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from ms2sl.config import Config
from ms2sl.data.collate import FRAME_MULTIPLE
from ms2sl.data.types import Poses, Utterance
from ms2sl.inference.producer import Producer
from ms2sl.inference.sampling_config import Sampling
from ms2sl.inference.sliding_window import SHORTEST, Window, WindowedGenerator
from ms2sl.inference.windowed_session import WindowedSession, WindowReply, WindowRequest, measure_pieces, step_windows
from ms2sl.io.storage import AnyPath
from ms2sl.precision import Precision, uses_bf16
from ms2sl.systems.ms2sl import task
from ms2sl.systems.ms2sl.condition_cache import BATCH, ConditionEncoderCache, EncodedUtterance, SaidFeatures, one_after_another
from ms2sl.systems.ms2sl.model import MS2SL, InpaintingWindow
from ms2sl.training.checkpoint import ModelCard


def start(card: ModelCard, utterance: Utterance, options: Config | None, seed: int) -> WindowedSession:
    """Of an utterance of any length. Raises InputError if the length that is asked for is impossible."""
    return WindowedSession(WindowedGenerator.of(utterance, card, seed), options or Sampling())


class MS2SLProducer(Producer):
    """Samples a trained model.

    An utterance is conditioned on its text, its speech or both, whatever it has. Its noise depends on the seed and on
    what is said alone, so the same seed gives the same poses in whatever batch (up to rounding, below 1e-4 shoulder widths).
    What takes longer than the longest clip of its training is made window by window. precision: bf16 is twice as fast in large batches
    where the processor has it, and moves poses by some thousandths of a shoulder width; auto is bf16 there.
    """

    name = "ms2sl"
    Options = Sampling

    def __init__(
        self, model: MS2SL, card: ModelCard, *, device: str = "cpu", precision: Precision = "fp32", options: Sampling | None = None
    ):
        self.model, self.card, self.device, self.options = model.to(device), card, torch.device(device), options
        self.skeleton, self.fps = card.skeleton, card.fps
        self.bf16 = uses_bf16(precision, self.device)
        self.hearing = ConditionEncoderCache(self.model, card, self.device)
        self.collate = self.hearing.collate

    @classmethod
    def load(
        cls, folder: AnyPath, *, device: str = "cpu", precision: Precision = "fp32", options: Sampling | None = None
    ) -> "MS2SLProducer":
        """From a checkpoint folder, with the options of the class. Raises InputError if it holds no MS2SL model."""
        return cls(*task.load(folder), device=device, precision=precision, options=options)

    def features(self, utterance: Utterance) -> SaidFeatures:
        """Features of its text and of its speech; None for what it lacks.

        Raises InputError if the model cannot say it: nothing to say, unknown letters.
        """
        return self.hearing.features(utterance)

    def measure(self, utterances: Sequence[Utterance]) -> list[float]:
        """Frames of the signing of each: as many as were asked for, or as the model expects. Raises InputError as ``features`` does."""
        return [
            max(SHORTEST, heard.frames) if utterance.seconds is None else utterance.seconds * self.card.fps
            for utterance, heard in zip(utterances, self.hearing(utterances), strict=True)
        ]

    def start(self, utterance: Utterance, options: Config | None = None, *, seed: int) -> WindowedSession:
        return start(self.card, utterance, options or self.options, seed)

    def step(self, requests: Sequence[WindowRequest]) -> list[WindowReply]:
        """Raises InputError as ``features`` does."""
        return step_windows(requests, self.measure, self.sample)

    def prepare(self, requests: Sequence[WindowRequest]) -> list[WindowReply]:
        return measure_pieces(requests, self.measure)

    @torch.no_grad()
    def embed(self, utterances: Sequence[Utterance], modality: str) -> np.ndarray:
        """Unit vectors ``(utterances, embedding)`` of their text or speech, in the space of signing too. Raises InputError as ``features``
        does."""
        vectors = []
        for start in range(0, len(utterances), BATCH):
            features = [self.features(utterance) for utterance in utterances[start : start + BATCH]]
            batch = self.collate.batch([None] * len(features), *zip(*features, strict=True)).to(self.device)
            vectors.append(self.model.conditions(batch)[modality].embedding.cpu().numpy())
        return np.concatenate(vectors)

    @torch.no_grad()
    def embed_signing(self, clips: Sequence[Poses]) -> np.ndarray:
        """Unit vectors ``(clips, embedding)`` of normalised poses."""
        vectors = []
        for start in range(0, len(clips), BATCH):
            some = clips[start : start + BATCH]
            batch = self.collate.batch(some, [None] * len(some), [None] * len(some)).to(self.device)
            vectors.append(self.model.embed_signs(batch).cpu().numpy())
        return np.concatenate(vectors)

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
        white = torch.stack([pad(self._noise(*both), (0, 0, 0, size - both[0].frames)) for both in zip(windows, heard, strict=True)])
        n_frames = torch.tensor([window.frames for window in windows], device=self.device)
        chosen = torch.cat([pieces[0].chosen for pieces in heard])
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            noise, part = self.model.noise(white.to(self.device)), self._part(windows, size)
            made = self.model.generate(conditions, n_frames, noise, **sampling.model_dump(), part=part, chosen=chosen)
        poses, seen = (each.cpu().numpy() for each in self.model.decode(made))
        return [
            Poses(row[:n] * there[:n, :, None], there[:n].astype(np.float32), self.card.fps)
            for row, there, n in zip(poses, seen, n_frames.tolist(), strict=True)
        ]

    def _part(self, windows: Sequence[Window], size: int) -> InpaintingWindow:
        known = torch.zeros(len(windows), size, self.skeleton.n_joints, self.skeleton.dims)
        weight, seen = torch.zeros(len(windows), size), torch.zeros(len(windows), size, self.skeleton.n_joints, dtype=torch.bool)
        for i, window in enumerate(windows):
            if window.known is not None:
                frames = window.known.n_frames
                known[i, :frames] = torch.tensor(window.known.joints)
                seen[i, :frames] = torch.tensor(window.known.confidence) > 0
                weight[i, :frames] = torch.tensor(window.weight)
        first = torch.tensor([window.first for window in windows], device=self.device)
        lengths = pad_sequence([torch.tensor(window.lengths) for window in windows], batch_first=True).to(self.device)
        return InpaintingWindow(first, lengths, *(each.to(self.device) for each in (known, seen, weight)))

    def _noise(self, window: Window, heard: Sequence[EncodedUtterance]) -> torch.Tensor:
        """White noise of its frames and of those before them ``(overhang + frames, features)``: each piece has its own, so that it is the
        same in all windows that touch it."""
        pieces = [
            torch.randn(n, self.model.features, generator=torch.Generator().manual_seed(piece.noise_seed(window.seed)))
            for n, piece in zip(window.lengths, heard, strict=True)
        ]
        before = torch.randn(
            self.model.overhang, self.model.features, generator=torch.Generator().manual_seed(heard[0].noise_seed(window.seed + 1))
        )
        return torch.cat([before, *pieces])[window.first : window.first + self.model.overhang + window.frames]
