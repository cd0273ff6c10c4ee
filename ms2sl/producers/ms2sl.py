"""MS2SL as a producer: utterances in, poses out."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ms2sl.checkpoint import ModelCard
from ms2sl.clip import Poses, Utterance
from ms2sl.collate import FRAME_MULTIPLE, Collate
from ms2sl.diffusion import SAMPLERS, SamplerName
from ms2sl.errors import InputError
from ms2sl.features import same_featurizer
from ms2sl.features.base import Featurizer
from ms2sl.features.text_bytes import plain
from ms2sl.model import task
from ms2sl.model.conditions import expected_frames
from ms2sl.model.ms2sl import MS2SL

MODALITIES = ("text", "speech")  # in the order of the features of an utterance
SHORTEST, LONGEST_SECONDS = 4, 120.0
BATCH = 32


class MS2SLProducer:
    """Samples a trained model.

    An utterance is conditioned on its text, its speech or both, whatever it has. Its noise depends on the seed and on
    what is said alone, so the same seed gives the same poses in whatever batch (up to rounding, below 1e-4 shoulder widths).
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
    ):
        if steps < 1:
            raise InputError(f"{steps} sampling steps are impossible: use 1 or more")
        if sampler not in SAMPLERS:
            raise InputError(f"there is no sampler '{sampler}'; there are: {', '.join(SAMPLERS)}")
        self.model, self.card = model.to(device), card
        self.steps, self.guidance, self.sampler, self.device = steps, guidance, sampler, torch.device(device)
        self.collate = Collate(card.skeleton, card.text, card.speech)
        self.seen = model.space.share_seen.cpu().numpy() > 0.01

    @classmethod
    def load(
        cls, folder: Path, *, steps: int = 8, guidance: float = 1.0, sampler: SamplerName = "ddim", device: str = "cpu"
    ) -> "MS2SLProducer":
        """From a checkpoint folder. Raises InputError if it holds no MS2SL model."""
        return cls(*task.load(Path(folder)), steps=steps, guidance=guidance, sampler=sampler, device=device)

    @property
    def skeleton(self):
        return self.card.skeleton

    @cached_property
    def _text(self) -> Featurizer:
        return same_featurizer(self.card.text, str(self.device))

    @cached_property
    def _speech(self) -> Featurizer:
        return same_featurizer(self.card.speech, str(self.device))

    def features(self, utterance: Utterance) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Features of its text and of its speech; None for what it lacks.

        Raises InputError if the model cannot say it: nothing to say, unknown letters, an impossible length.
        """
        if utterance.seconds is not None and not 0 < utterance.seconds <= LONGEST_SECONDS:
            raise InputError(
                f"{utterance.id}: a duration of {utterance.seconds} s is impossible; it must be above 0 and at most {LONGEST_SECONDS:.0f} s"
            )
        if utterance.text is None and utterance.speech is None:
            raise InputError(f"{utterance.id}: it has neither text nor speech")
        try:
            text = None if utterance.text is None else self._text_features(utterance.text)
            return text, None if utterance.speech is None else self._speech([utterance.speech])[0]
        except InputError as error:
            raise InputError(f"{utterance.id}: {error}") from None

    def _text_features(self, text: str) -> np.ndarray:
        unknown = sorted(set(plain(text)) - set(self.card.characters))
        if self.card.text.vocabulary and unknown:
            raise InputError(f"'{text}' has {', '.join(map(repr, unknown))} in it; the model learned only: {self.card.characters}")
        return self._text([text])[0]

    def produce(self, utterances: Sequence[Utterance], *, seed: int) -> list[Poses]:
        """Normalised poses at the model's fps, in the order of the utterances. Raises InputError as ``features`` does."""
        features = [self.features(utterance) for utterance in utterances]
        results: list[Poses | None] = [None] * len(utterances)
        given_by = [tuple(m for m, said in zip(MODALITIES, both, strict=True) if said is not None) for both in features]
        for given in sorted(set(given_by)):
            chosen = [i for i in range(len(utterances)) if given_by[i] == given]
            chosen.sort(key=lambda i: max(len(said) for said in features[i] if said is not None))
            for start in range(0, len(chosen), BATCH):
                indices = chosen[start : start + BATCH]
                batch = [utterances[i] for i in indices]
                for i, poses in zip(indices, self._batch(batch, [features[i] for i in indices], given, seed), strict=True):
                    results[i] = poses
        return results

    @torch.no_grad()
    def _batch(self, utterances, features, given: tuple[str, ...], seed: int) -> list[Poses]:
        batch = self.collate.batch([None] * len(features), *zip(*features, strict=True)).to(self.device)
        encoded = self.model.conditions(batch)
        conditions = [encoded[modality] for modality in given]
        frames = [
            round(utterance.seconds * self.card.fps) if utterance.seconds else round(expected)
            for utterance, expected in zip(utterances, expected_frames(conditions).tolist(), strict=True)
        ]
        frames = [int(np.clip(n, SHORTEST, LONGEST_SECONDS * self.card.fps)) for n in frames]
        noise = torch.zeros(len(frames), -(-max(frames) // FRAME_MULTIPLE) * FRAME_MULTIPLE, self.skeleton.n_joints * self.skeleton.dims)
        for row, n, said in zip(noise, frames, features, strict=True):
            row[:n] = torch.randn(n, row.shape[1], generator=torch.Generator().manual_seed(_seed(seed, said)))
        n_frames = torch.tensor(frames, device=self.device)
        poses = self.model.generate(conditions, n_frames, noise.to(self.device), self.steps, self.guidance, self.sampler).cpu().numpy()
        confidence = self.seen.astype(np.float32)
        return [
            Poses(joints[:n] * self.seen[:, None], np.broadcast_to(confidence, (n, len(confidence))), self.card.fps)
            for joints, n in zip(poses, frames, strict=True)
        ]


def _seed(seed: int, said: Sequence[np.ndarray | None]) -> int:
    content = b"".join(features.tobytes() for features in said if features is not None)
    digest = hashlib.blake2b(content, digest_size=7, salt=(seed % 2**64).to_bytes(8, "little"))
    return int.from_bytes(digest.digest(), "little")
