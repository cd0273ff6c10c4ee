"""The deployment that speaks HTTP: it takes requests in, as many as it can work on, and has them signed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context

from ray import serve
from ray.serve.handle import DeploymentHandle
from ray.util.metrics import Counter, Gauge, Histogram

from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Poses
from serve import api
from serve.formats import DRAWN, FORMATS
from serve.model_replica import Served
from serve.orchestrator import Lost, SamplerPool, answer, sign
from serve.problems import restarting, too_many_requests
from serve.request_parsing import SignRequest
from serve.settings import Service

FRESH, PATIENCE = 1.0, 15.0  # seconds for which what is known of the model holds, and after which nobody will tell


@serve.ingress()
class Frontend:
    """What the routes of ``serve.api`` need of the rest."""

    def __init__(self, service: Service, samplers: DeploymentHandle, renderer: DeploymentHandle):
        self.service, self.renderer = service, renderer
        self.samplers = SamplerPool(samplers, service.max_batch_size, service.sampler_limit)
        self.keys = service.api_keys()
        self.working = 0
        self._served: Served | None = None
        self._told = 0.0
        self._asking: asyncio.Task[Served] | None = None
        self.requests = Counter("ms2sl_requests", "requests by what they ask for and how they end", tag_keys=("route", "status"))
        self.first_frame = Histogram(
            "ms2sl_first_frame_seconds", "from the request to its first frame", boundaries=[0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10]
        )
        self.signed = Counter("ms2sl_signed_seconds", "seconds of signing that were answered")
        self.at_work = Gauge("ms2sl_requests_at_work", "requests that are worked on now")

    def __serve_build_asgi_app__(self):
        return api.make(self)

    async def served(self) -> Served:
        """The model that is served now, or was a moment ago. Raises Problem if no sampler says so in time."""
        if self._served is not None and time.monotonic() - self._told <= FRESH:
            return self._served
        if self._asking is None or self._asking.done():  # asked once for all who wait, so in the context of none (``serve.batcher``)
            self._asking = asyncio.create_task(self._ask(), context=Context())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Served:
        try:
            self._served = await asyncio.wait_for(self.samplers.served(), PATIENCE)
        except TimeoutError:
            raise restarting() from None
        self._told = time.monotonic()
        return self._served

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Raises Problem if there are as many requests at work as there may be."""
        if self.working >= self.service.max_concurrent_requests:
            raise too_many_requests()
        self.working += 1
        self.at_work.set(self.working)
        try:
            yield
        finally:
            self.working -= 1
            self.at_work.set(self.working)

    async def sign(self, ask: SignRequest) -> AsyncIterator[tuple[Served, Poses]]:
        """The frames as they are finished, and the model that makes them. Raises Problem."""
        first = True
        async for served, poses in sign(ask, self.served, self.samplers, self.service.sampling):
            if first:
                self.first_frame.observe(time.perf_counter() - ask.came)
                first = False
            self.signed.inc(poses.seconds)
            if poses.n_frames:
                yield served, poses

    async def encode(self, poses: Poses, skeleton: Skeleton, kind: str) -> bytes:
        if kind in DRAWN:
            try:
                return await answer(lambda: self.renderer.draw.remote(poses, skeleton, kind))
            except Lost:  # not again: it may be what the renderer died of
                raise restarting() from None
        return await asyncio.to_thread(FORMATS[kind], poses, skeleton)
