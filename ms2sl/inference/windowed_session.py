"""The signing of one utterance window by window, as a session that any replica can go on with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ms2sl.config import Config
from ms2sl.data.types import Poses, Utterance
from ms2sl.inference.sliding_window import ASKED, Window, WindowedGenerator


@dataclass(frozen=True, slots=True, eq=False)
class WindowRequest:
    """The lengths of these pieces, and the next window, unless they turn out to be too few for one.

    state: of the session, before the lengths. all: whether no pieces come after these.
    """

    state: WindowedGenerator
    pieces: Sequence[Utterance]
    all: bool
    options: Config

    @property
    def key(self) -> Config:
        return self.options

    @property
    def size(self) -> int:
        return self.state.size

    @property
    def prepares(self) -> bool:
        return bool(self.pieces)


@dataclass(frozen=True, slots=True, eq=False)
class WindowReply:
    """Frames of the signing of each piece; the window."""

    lengths: Sequence[float]
    poses: Poses | None


class WindowedSession:
    """A session of windows."""

    def __init__(self, generator: WindowedGenerator, options: Config):
        self.generator, self.options = generator, options

    @property
    def ended(self) -> bool:
        return self.generator.ended

    def request(self) -> WindowRequest:
        pieces = self.generator.pending_lengths()
        return WindowRequest(self.generator.snapshot(), pieces, len(pieces) < ASKED, self.options)

    def receive(self, reply: WindowReply) -> Poses | None:
        if reply.lengths:
            self.generator.set_lengths(reply.lengths)
        return None if reply.poses is None else self.generator.commit(reply.poses)


def measure_pieces(requests: Sequence[WindowRequest], measure: Callable[[Sequence[Utterance]], Sequence[float]]) -> list[WindowReply]:
    """Measures the pieces of all requests together, and makes no windows."""
    measured = iter(measure([piece for request in requests for piece in request.pieces]))
    return [WindowReply([next(measured) for _ in request.pieces], None) for request in requests]


def step_windows(
    requests: Sequence[WindowRequest],
    measure: Callable[[Sequence[Utterance]], Sequence[float]],
    sample: Callable[[Sequence[Window], Config], Sequence[Poses]],
) -> list[WindowReply]:
    """Measures the pieces of all requests together, then samples the windows of like options together."""
    lengths = [reply.lengths for reply in measure_pieces(requests, measure)]
    windows: dict[Config, dict[int, Window]] = {}
    for i, request in enumerate(requests):
        state = request.state.snapshot()
        if lengths[i]:
            state.set_lengths(lengths[i])
        if state.can_begin(request.all):
            windows.setdefault(request.options, {})[i] = state.window()
    made = {i: poses for options, some in windows.items() for i, poses in zip(some, sample(list(some.values()), options), strict=True)}
    return [WindowReply(lengths[i], made.get(i)) for i in range(len(requests))]
