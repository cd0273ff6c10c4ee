"""An utterance of any length, signed by the samplers window by window."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from ms2sl.clip import Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.producers.sampling import Sampling
from ms2sl.producers.windows import ASKED, Signing, Window
from ms2sl.resampling import Resampler
from serve.asking import Ask
from serve.batcher import Batcher
from serve.problems import Problem
from serve.sampler import Opened, Opening, Refusal, Replaced, Served

log = logging.getLogger("ray.serve")
TRIES, PAUSE, LONGEST_PAUSE = 10, 0.1, 1.0  # seconds, doubled each time


class Samplers:
    """All of them, asked in batches: a call for each request would cost more than what it asks for.

    most: requests a batch; at_once: calls.
    """

    def __init__(self, handle: DeploymentHandle, most: int, at_once: int):
        self.handle = handle
        self.batches = Batcher(self._ask, most, at_once)

    async def served(self) -> Served:
        return await again_if_lost(self.handle.served.remote)

    async def open(self, version: str, sampling: Sampling, opening: Opening) -> Opened:
        return accepted(await self.batches(("open", version, sampling), 0, opening))

    async def measure(self, version: str, pieces: Sequence[Utterance]) -> list[float]:
        return accepted(await self.batches(("measure", version), 0, pieces))

    async def sample(self, version: str, sampling: Sampling, window: Window) -> Poses:
        return await self.batches(("sample", version, sampling), window.frames, window)

    async def _ask(self, key: tuple, items: Sequence) -> list:
        method, *arguments = key
        return await again_if_lost(lambda: getattr(self.handle, method).remote(*arguments, items))


async def sign(ask: Ask, served: Served, samplers: Samplers) -> AsyncIterator[Poses]:
    """The frames of an utterance, at the fps that is asked for, as they are finished. Raises Problem."""
    version, sampling = served.version, ask.sampling
    try:
        signing, resampler = Signing.of(ask.utterance, served.card, ask.seed), Resampler(ask.fps or served.card.fps)
        pieces = await asyncio.to_thread(signing.unmeasured)  # in a thread, since recordings may be long
        opened = await samplers.open(version, sampling, Opening(pieces, len(pieces) < ASKED, ask.seed))
        signing.measured(opened.lengths)
        poses = opened.poses
        while True:
            if poses is None:
                while pieces := await asyncio.to_thread(signing.unmeasured):
                    signing.measured(await samplers.measure(version, pieces))
            window = signing.window()
            if window is None:
                return
            if poses is None:
                poses = await samplers.sample(version, sampling, window)
            yield resampler(signing.made(poses), last=signing.ended)
            poses = None
    except InputError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None


def accepted(reply):
    """Raises Problem for a Refusal."""
    if isinstance(reply, Refusal):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, reply.reason)
    return reply


async def again_if_lost(call):
    """What the call returns; it is made again where a sampler died, or has not loaded the version yet that others have."""
    for attempt in range(TRIES):
        try:
            return await call()
        except BackPressureError:
            raise busy() from None
        except (RayActorError, DeploymentUnavailableError, Replaced) as error:
            log.warning("a window is asked for again: %s", type(error).__name__)
            await asyncio.sleep(min(PAUSE * 2**attempt, LONGEST_PAUSE))
    raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the samplers are restarting, or the model was replaced: try again", {"Retry-After": "5"})


def busy() -> Problem:
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, "too many requests at once: try again in a second", {"Retry-After": "1"})
