"""An utterance of any length, signed by the samplers window by window."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any

from grpc import StatusCode
from grpc.aio import AioRpcError
from ray.exceptions import RayActorError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RequestCancelledError
from ray.serve.handle import DeploymentHandle

from ms2sl.data.resampling import Resampler
from ms2sl.data.types import Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.inference.sampling_config import Sampling
from ms2sl.inference.sliding_window import ASKED, Window, WindowedGenerator
from serve.batcher import Abandoned, Batcher
from serve.model_replica import FirstWindowRequest, FirstWindowResponse, InternalError, Refusal, Replaced, Served
from serve.problems import Problem, unknown
from serve.request_parsing import SignRequest

log = logging.getLogger("ray.serve")
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # seconds
# A call between replicas that died, left or was cancelled on its way; behind HAProxy calls go by gRPC.
UNANSWERED = (RayActorError, DeploymentUnavailableError, TaskCancelledError, RequestCancelledError, Abandoned)
# Codes of gRPC for a connection or a stream that broke; of others (a message that is too large) a second call would end alike.
BROKEN = {StatusCode.UNAVAILABLE, StatusCode.CANCELLED, StatusCode.ABORTED, StatusCode.INTERNAL, StatusCode.UNKNOWN}


class Lost(Exception):
    """Nobody will answer this call; it says why."""


class SamplerPool:
    """All of them, asked in batches: a call for each request would cost more than what it asks for.

    most: requests a batch; number: of samplers, each of which gets a call at once, and another if it is full.
    """

    def __init__(self, handle: DeploymentHandle, most: int, number: int):
        self.handle = handle
        self.batches = Batcher(self._call, most, at_once=number, ahead=number)

    async def served(self) -> Served:
        return await retry_on_actor_death(self.handle.served.remote)

    async def open(self, version: str, sampling: Sampling, opening: FirstWindowRequest) -> FirstWindowResponse:
        """Raises Replaced if the sampler that was asked does not have the version, and Problem."""
        return unwrap_reply(await self.batches(("open", version, sampling), 0, opening))

    async def measure(self, version: str, pieces: Sequence[Utterance]) -> list[float]:
        return unwrap_reply(await self._of_some(lambda: self.batches(("measure", version), 0, pieces)))

    async def sample(self, version: str, sampling: Sampling, window: Window) -> Poses:
        return unwrap_reply(await self._of_some(lambda: self.batches(("sample", version, sampling), window.frames, window)))

    async def _of_some(self, ask: Callable[[], Awaitable]) -> Any:
        """The answer of some sampler that has the version; one that has started since it was replaced does not."""
        for pause in PAUSES:
            try:
                return await ask()
            except Replaced:
                await asyncio.sleep(pause)
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the model was replaced meanwhile: try again", {"Retry-After": "1"})

    async def _call(self, key: tuple, items: Sequence) -> list:
        method, *arguments = key
        try:
            return await retry_on_actor_death(lambda: getattr(self.handle, method).remote(*arguments, items))
        except RayTaskError as error:
            raise error.cause from None


async def sign(ask: SignRequest, serving: Callable[[], Awaitable[Served]], samplers: SamplerPool) -> AsyncIterator[tuple[Served, Poses]]:
    """The frames of an utterance, at the fps that is asked for, as they are finished, and the model that makes them all.

    serving: tells the model that is served; asked again where a sampler does not have it. Raises Problem.
    """
    sampling = ask.sampling
    try:
        served, signing, opened = await begin(ask, serving, samplers)
        resampler, version = Resampler(ask.fps or served.card.fps), served.version
        signing.set_lengths(opened.lengths)
        poses = opened.poses
        while True:
            if poses is None:
                while pieces := await unmeasured(signing, ask):
                    signing.set_lengths(await samplers.measure(version, pieces))
            window = signing.window()
            if window is None:
                return
            if poses is None:
                poses = await samplers.sample(version, sampling, window)
            yield served, resampler(signing.commit(poses), last=signing.ended)
            poses = None
    except InputError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None


async def begin(
    ask: SignRequest, serving: Callable[[], Awaitable[Served]], samplers: SamplerPool
) -> tuple[Served, WindowedGenerator, FirstWindowResponse]:
    """By a model that some sampler serves: while they go over to another, not all of them have the newest one."""
    for pause in PAUSES:
        served = await serving()
        signing = WindowedGenerator.of(ask.utterance, served.card, ask.seed)
        pieces = await unmeasured(signing, ask)
        try:
            return (
                served,
                signing,
                await samplers.open(served.version, ask.sampling, FirstWindowRequest(pieces, len(pieces) < ASKED, ask.seed)),
            )
        except Replaced:
            await asyncio.sleep(pause)
    raise restarting()


async def unmeasured(signing: WindowedGenerator, ask: SignRequest) -> Sequence[Utterance]:
    """Of a recording in a thread, since it may be long."""
    return signing.pending_lengths() if ask.utterance.speech is None else await asyncio.to_thread(signing.pending_lengths)


def unwrap_reply(reply: Any) -> Any:
    """Raises Problem for a Refusal or a Failure."""
    if isinstance(reply, Refusal):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, reply.reason)
    if isinstance(reply, InternalError):
        raise unknown()
    return reply


async def retry_on_actor_death(call: Callable[[], Awaitable]) -> Any:
    """What the call returns; it is made again where the replica that had it in hand died. Raises Problem if it is in vain."""
    for pause in PAUSES:
        try:
            return await answer(call)
        except Lost as lost:
            log.warning("asked for again: %s", lost)
            await asyncio.sleep(pause)
    raise restarting()


async def answer(call: Callable[[], Awaitable]) -> Any:
    """What the call of a handle returns. Raises Lost, and Problem if there is no room for it."""
    try:
        return await call()
    except BackPressureError:
        raise too_many_requests() from None
    except UNANSWERED as error:
        raise Lost(type(error).__name__) from None
    except AioRpcError as error:
        if error.code() not in BROKEN:
            raise
        raise Lost(f"gRPC {error.code().name}") from None
    except asyncio.CancelledError:
        if asyncio.current_task().cancelling():
            raise
        raise Lost("cancelled, and not by us") from None


def restarting() -> Problem:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the samplers are restarting: try again", {"Retry-After": "5"})


def too_many_requests() -> Problem:
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, "too many requests at once: try again in a second", {"Retry-After": "1"})
