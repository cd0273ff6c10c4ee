"""Anything that turns utterances into poses, one step of many sessions at a time."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ms2sl.config import Config
from ms2sl.data.resampling import joined
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Poses, Utterance
from ms2sl.training.checkpoint import ModelCard


class NoOptions(Config):
    """Of a system whose calls have no choices."""


class StepRequest(Protocol):
    """What the next step of a session is computed from: it is pickled to whoever computes it, and small.

    key: requests of one key can share a batch. size: frames, so that those of like size do. prepares: whether there is something to be
    found out, quickly, before frames can be computed (see ``Producer.prepare``).
    """

    @property
    def key(self) -> Hashable: ...

    @property
    def size(self) -> int: ...

    @property
    def prepares(self) -> bool: ...


class StepReply(Protocol):
    """What a step has computed. poses: the frames among it, if any."""

    @property
    def poses(self) -> Poses | None: ...


class Session(Protocol):
    """The signing of one utterance on its way. It holds all state and no weights, so any replica can compute any step of it."""

    @property
    def ended(self) -> bool: ...

    def request(self) -> StepRequest:
        """What the next step needs; the same until ``receive``. Raises InputError for what cannot be signed."""
        ...

    def receive(self, reply: StepReply) -> Poses | None:
        """The frames that are finished by the reply to the request, normalised; None where there are none yet."""
        ...


class Producer(ABC):
    """name: stands in tables. card: of a trained model alone. skeleton, fps: of all that it produces. Options: of a call. options: of a
    call that names none; None for the defaults of the class."""

    name: str
    card: ModelCard
    skeleton: Skeleton
    fps: float
    Options: type[Config] = NoOptions
    options: Config | None = None

    @abstractmethod
    def start(self, utterance: Utterance, options: Config | None = None, *, seed: int) -> Session:
        """options: of the class ``Options``. Raises InputError for an impossible utterance."""

    @abstractmethod
    def step(self, requests: Sequence[StepRequest]) -> list[StepReply]:
        """The reply to each request, in order, computed together. Raises InputError if one of them cannot be produced."""

    def prepare(self, requests: Sequence[StepRequest]) -> list[StepReply]:
        """The replies to requests that prepare, without frames, so that sessions that go side by side are all ready for their frames."""
        return self.step(requests)

    def produce(self, utterances: Sequence[Utterance], options: Config | None = None, *, seed: int) -> list[Poses]:
        """Normalised poses of each utterance, in order. Raises InputError for one that it cannot produce."""
        return run_to_end(self, [self.start(utterance, options, seed=seed) for utterance in utterances])


def run_to_end(producer: Producer, sessions: Sequence[Session]) -> list[Poses]:
    """Goes through sessions side by side, so that their steps share batches; returns all that each of them made."""
    finished: list[list[Poses]] = [[] for _ in sessions]
    while requests := {i: session.request() for i, session in enumerate(sessions) if not session.ended}:
        while unready := [i for i, request in requests.items() if request.prepares]:
            for i, reply in zip(unready, producer.prepare([requests[i] for i in unready]), strict=True):
                sessions[i].receive(reply)
                requests[i] = sessions[i].request()
        for i, reply in zip(requests, producer.step(list(requests.values())), strict=True):
            if (poses := sessions[i].receive(reply)) is not None:
                finished[i].append(poses)
    return [joined(parts) for parts in finished]


@dataclass(frozen=True, slots=True)
class WholeRequest:
    """An utterance to be produced in one step."""

    utterance: Utterance
    options: Config
    seed: int

    @property
    def key(self) -> Hashable:
        return self.options, self.seed

    @property
    def size(self) -> int:
        return 0

    @property
    def prepares(self) -> bool:
        return False


@dataclass(frozen=True, slots=True, eq=False)
class WholeReply:
    """An utterance that was produced."""

    poses: Poses


class WholeSession:
    """A session of one step."""

    def __init__(self, request: WholeRequest):
        self._request, self.ended = request, False

    def request(self) -> WholeRequest:
        return self._request

    def receive(self, reply: WholeReply) -> Poses:
        self.ended = True
        return reply.poses


class WholeProducer(Producer):
    """A producer that makes each utterance in one step."""

    @abstractmethod
    def sign(self, utterances: Sequence[Utterance], options: Config, seed: int) -> list[Poses]:
        """Normalised poses of each utterance, in order. Raises InputError for one that it cannot produce."""

    def start(self, utterance: Utterance, options: Config | None = None, *, seed: int) -> WholeSession:
        return WholeSession(WholeRequest(utterance, options or self.options or self.Options(), seed))

    def step(self, requests: Sequence[WholeRequest]) -> list[WholeReply]:
        made: dict[int, Poses] = {}
        for key in dict.fromkeys(request.key for request in requests):
            alike = [i for i, request in enumerate(requests) if request.key == key]
            made |= zip(alike, self.sign([requests[i].utterance for i in alike], *key), strict=True)
        return [WholeReply(made[i]) for i in range(len(requests))]
