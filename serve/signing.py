"""An utterance of any length, signed by the samplers window by window."""

import asyncio
import logging
from collections.abc import AsyncIterator
from http import HTTPStatus

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from ms2sl.clip import Poses
from ms2sl.errors import InputError
from ms2sl.producers.windows import ASKED, Signing
from ms2sl.resampling import Resampler
from serve.asking import Ask
from serve.problems import Problem
from serve.sampler import Opening, Refusal, Replaced, Served

log = logging.getLogger("ray.serve")
TRIES, PAUSE = 5, 0.2  # seconds, doubled each time


async def sign(ask: Ask, served: Served, samplers: DeploymentHandle) -> AsyncIterator[Poses]:
    """The frames of an utterance, at the fps that is asked for, as they are finished. Raises Problem."""
    try:
        signing, resampler = Signing.of(ask.utterance, served.card, ask.seed), Resampler(ask.fps or served.card.fps)
        pieces = await asyncio.to_thread(signing.unmeasured)  # in a thread, since recordings may be long
        opening = Opening(pieces, len(pieces) < ASKED, ask.seed)
        opened = accepted(await again_if_lost(lambda: samplers.open.remote(served.version, opening, ask.sampling)))
        signing.measured(opened.lengths)
        poses = opened.poses
        while True:
            if poses is None:
                while pieces := await asyncio.to_thread(signing.unmeasured):
                    lengths = await again_if_lost(lambda pieces=pieces: samplers.measure.remote(served.version, pieces))
                    signing.measured(accepted(lengths))
            window = signing.window()
            if window is None:
                return
            if poses is None:
                poses = await again_if_lost(lambda window=window: samplers.sample.remote(served.version, window, ask.sampling))
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
            await asyncio.sleep(PAUSE * 2**attempt)
    raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the samplers are restarting, or the model was replaced: try again", {"Retry-After": "5"})


def busy() -> Problem:
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, "too many requests at once: try again in a second", {"Retry-After": "1"})
