"""Signing of any length, window by window: each goes on from the frames before it, so motion joins and memory stays flat."""

import copy
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np

from ms2sl.data.types import Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.inference.segmentation import segment, split_in_two
from ms2sl.training.checkpoint import ModelCard

BEFORE, BLEND = 0.64, 0.96  # seconds
ASKED = 4  # pieces
SHORTEST = 4  # frames of a signing
LONGEST_SECONDS = 3600.0  # that may be asked for


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Consecutive frames of the signing of utterances one after another.

    pieces, lengths: the utterances that it touches, and the frames of each. first: frame of them at which it begins; frames: how many.
    known: the normalised poses of its first frames, made before, and weight ``(frames,)``: how far to keep to them.
    """

    pieces: tuple[Utterance, ...]
    lengths: tuple[int, ...]
    first: int
    frames: int
    known: Poses | None
    weight: np.ndarray
    seed: int


class WindowedGenerator:
    """The way through the signing of pieces, one after another: set the lengths of the pieces in ``pending_lengths`` until there are none,
    make the next ``window``, ``commit`` its poses, and so on until there is no window any more.

    size: frames of a window, or more where that is too short. A window begins ``BEFORE`` the end of what is finished and keeps to it;
    through ``BLEND``, which the window before it made without knowing what follows, it departs from that little by little. A piece that
    takes longer than a window is halved.
    """

    def __init__(self, pieces: Iterable[Utterance], size: int, fps: float, seed: int):
        self.before, self.blend = round(BEFORE * fps), round(BLEND * fps)
        self.size, self.seed = max(size, 2 * (self.before + self.blend)), seed
        self._waiting = iter(pieces)
        self._again: deque[Utterance] = deque()  # pieces to be measured before those that wait
        self._asked: list[Utterance] = []
        self._ahead: deque[tuple[Utterance, int]] = deque()  # pieces with their frames, from the one in which the window begins
        self._exact, self._counted = 0.0, 0  # frames of all that was measured
        self._first = 0
        self._known: Poses | None = None
        self._weight = np.zeros(0, np.float32)
        self.ended = False

    @classmethod
    def of(cls, utterance: Utterance, card: ModelCard, seed: int) -> "WindowedGenerator":
        """Of an utterance of any length, by a model. Raises InputError if the length that is asked for is impossible."""
        asked = utterance.seconds
        if asked is not None:
            if not 0 < asked <= LONGEST_SECONDS:
                raise InputError(
                    f"{utterance.id}: a duration of {asked} s is impossible; it must be above 0 and at most {LONGEST_SECONDS:.0f} s"
                )
            utterance = replace(utterance, seconds=max(asked, SHORTEST / card.fps))
        return cls(segment(utterance, card), card.longest, card.fps, seed)

    def snapshot(self) -> "WindowedGenerator":
        """As it is now, without the pieces that nobody has asked for yet: enough to make the next window, and small."""
        copied = copy.copy(self)
        copied._waiting, copied._again, copied._ahead = iter(()), deque(), deque(self._ahead)
        return copied

    def can_begin(self, everything: bool) -> bool:
        """Whether what is measured makes a window. everything: whether the pieces that it was given are all that there are."""
        total = sum(n for _, n in self._ahead)
        return total > self._first + self.size or (everything and not self.pending_lengths())

    def pending_lengths(self) -> Sequence[Utterance]:
        """The pieces whose lengths must be known before the next window; none if it can be made."""
        if not self._asked and sum(n for _, n in self._ahead) <= self._first + self.size:
            self._asked = list(islice(chain(_popping(self._again), self._waiting), ASKED))
        return self._asked

    def set_lengths(self, lengths: Sequence[float]) -> None:
        """Frames of each that was ``pending_lengths``; they are rounded such that their sum is right."""
        again: list[Utterance] = []
        for piece, frames in zip(self._asked, lengths, strict=True):
            halves = split_in_two(piece) if frames > self.size else ()
            if again or halves:
                again += halves or (piece,)
                continue
            self._exact += frames
            n = round(round(self._exact, 6)) - self._counted
            self._counted += n
            if n:
                self._ahead.append((piece, n))
        self._again.extendleft(reversed(again))
        self._asked = []

    def window(self) -> Window | None:
        """The next one; None if all is made."""
        if self.ended:
            return None
        begin, end, touched = 0, self._first + self.size, []
        for piece, frames in self._ahead:
            if begin < end:
                touched.append((piece, frames))
            begin += frames
        pieces, lengths = zip(*touched, strict=True)
        return Window(pieces, lengths, self._first, min(self.size, begin - self._first), self._known, self._weight, self.seed)

    def commit(self, poses: Poses) -> Poses:
        """The frames that are finished by the poses of the window."""
        total, hard = sum(n for _, n in self._ahead), int((self._weight == 1).sum())
        self.ended = self._first + poses.n_frames == total
        end = poses.n_frames - (0 if self.ended else self.blend)
        self._known = Poses(poses.joints[end - self.before :], poses.confidence[end - self.before :], poses.fps)
        self._weight = np.concatenate([np.ones(self.before), np.linspace(1, 0, self.blend + 2)[1:-1]]).astype(np.float32)
        self._first += end - self.before
        while self._ahead and self._ahead[0][1] <= self._first:
            self._first -= self._ahead.popleft()[1]
        return Poses(poses.joints[hard:end], poses.confidence[hard:end], poses.fps)


def _popping(pieces: deque[Utterance]) -> Iterator[Utterance]:
    while pieces:
        yield pieces.popleft()
