"""An utterance of any length, signed by the samplers step by step."""

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
from ms2sl.data.types import Poses
from ms2sl.errors import InputError
from ms2sl.inference.producer import Session, StepReply, StepRequest
from ms2sl.systems.options import CallOptions
from ms2sl.systems.registry import system
from serve.batcher import Abandoned, Batcher
from serve.model_replica import InternalError, Refusal, Replaced, Served
from serve.problems import Problem, restarting, too_many_requests, unknown
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

    async def step(self, version: str, request: StepRequest, waits: bool = True) -> StepReply:
        """The reply to a step of a session. Raises Problem; and Replaced if the sampler that was asked does not have the version, unless
        it waits for one that has."""

        def ask() -> Awaitable:
            return self.batches((version, request.key), request.size, request)

        return unwrap_reply(await (self._of_some(ask) if waits else ask()))

    async def _of_some(self, ask: Callable[[], Awaitable]) -> Any:
        """The answer of some sampler that has the version; one that has started since it was replaced does not."""
        for pause in PAUSES:
            try:
                return await ask()
            except Replaced:
                await asyncio.sleep(pause)
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the model was replaced meanwhile: try again", {"Retry-After": "1"})

    async def _call(self, key: tuple, requests: Sequence[StepRequest]) -> list:
        version, _ = key
        try:
            return await retry_on_actor_death(lambda: self.handle.step.remote(version, requests))
        except RayTaskError as error:
            raise error.cause from None


async def sign(
    ask: SignRequest, serving: Callable[[], Awaitable[Served]], samplers: SamplerPool, defaults: CallOptions
) -> AsyncIterator[tuple[Served, Poses]]:
    """The frames of an utterance, at the fps that is asked for, as they are finished, and the model that makes them all.

    serving: tells the model that is served; asked again where a sampler does not have it. defaults: of options that are not asked for.
    Raises Problem.
    """
    try:
        served, session, reply = await begin(ask, serving, samplers, defaults)
        resampler = Resampler(ask.fps or served.card.fps)
        while True:
            if (poses := session.receive(reply)) is not None:
                yield served, resampler(poses, last=session.ended)
            if session.ended:
                return
            reply = await samplers.step(served.version, await next_request(session, ask))
    except InputError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None


async def begin(
    ask: SignRequest, serving: Callable[[], Awaitable[Served]], samplers: SamplerPool, defaults: CallOptions
) -> tuple[Served, Session, StepReply]:
    """The first step, by a model that some sampler serves: while they go over to another, not all of them have the newest one."""
    for pause in PAUSES:
        served = await serving()
        known = system(served.card.kind)
        session = known.start(served.card, ask.utterance, ask.call_options(known, defaults), ask.seed)
        try:
            return served, session, await samplers.step(served.version, await next_request(session, ask), waits=False)
        except Replaced:
            await asyncio.sleep(pause)
    raise restarting()


async def next_request(session: Session, ask: SignRequest) -> StepRequest:
    """Of a recording in a thread, since it may be long."""
    return session.request() if ask.utterance.speech is None else await asyncio.to_thread(session.request)


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
