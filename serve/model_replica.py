"""The deployment that holds the model and computes steps of sessions, many requests' at a time.

It keeps nothing of a request: any replica can compute any step, so what one that dies had in hand is asked of another.
"""

import asyncio
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from ray.util.metrics import Counter, Gauge, Histogram

from ms2sl.errors import InputError
from ms2sl.inference.producer import Producer, StepReply, StepRequest
from ms2sl.precision import Precision
from ms2sl.systems.registry import Context, load_producer
from ms2sl.training.checkpoint import ModelCard
from serve.batcher import Batcher, in_thread
from serve.middleware import log_fault
from serve.models import find
from serve.settings import Service
from serve.warmup import warm_up

log = logging.getLogger("ray.serve")
SHAPES = "64"  # of batches for which oneDNN keeps code and buffers; of its own 1024 they would take some 200 MiB before all were met


@dataclass(frozen=True, slots=True)
class Served:
    """The model that is served: what it is known by, its card, and why a newer one is not served, if one could not be loaded."""

    version: str
    card: ModelCard
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer instead of a result; a returned one is not logged as a raised one is, and it may quote the user."""

    reason: str


class InternalError:
    """A fault of ours instead of a result; the log has the place."""


class Replaced(Exception):
    """The version that is asked for is not here: not yet, or no more."""


class Sampler:
    """``reconfigure`` loads a model; the one before it goes on for those whose signing has begun with it."""

    def __init__(self, threads: int, batch: int, device: str, precision: Precision):
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", SHAPES)  # which is read when it first computes
        torch.set_num_threads(threads)
        self.device, self.precision, self.most = device, precision, batch
        self.loaded: dict[str, Producer] = {}  # by version
        self.failure = ""
        self._loading: asyncio.Task | None = None
        self._wanted: dict[str, str | None] | None = None  # to be loaded next
        self.batches = Batcher(in_thread(self._together), batch)  # one at a time, since they share what a model remembers
        self.steps = Histogram("ms2sl_batch_windows", "steps of sessions computed together", boundaries=[1, 2, 4, 8, 16, 32, 64])
        self.frames = Counter("ms2sl_frames", "frames sampled")
        self.failures = Gauge("ms2sl_model_failed", "1 while the newest model could not be loaded and an older one is served")

    async def reconfigure(self, wanted: dict[str, str | None]) -> None:
        """wanted: ``model`` and ``tracking`` as in ``Service``. The first one is there at the end; another is loaded while this one serves
        on, and one that cannot be loaded leaves it serving. One is loaded at a time, since each takes memory: what is wanted while another
        is loaded has its turn next, or never if something newer is wanted by then."""
        if not self.loaded:
            self._serve(*await asyncio.to_thread(self._load, wanted))
            return
        self._wanted = wanted
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._replace())

    async def _replace(self) -> None:
        while self._wanted is not None:
            wanted, self._wanted = self._wanted, None
            try:
                version, loaded = await asyncio.to_thread(self._load, wanted)
                if self._wanted is None:
                    self._serve(version, loaded)
                del loaded
            except Exception as error:
                log.error("%s cannot be loaded; still serving %s: %s", wanted["model"], self.version, error)
                if self._wanted is None:
                    self.failure = f"the model that was deployed last could not be loaded; still serving {self.version}"
            self.failures.set(bool(self.failure))

    def _serve(self, version: str, loaded: Producer) -> None:
        before = [(known, earlier) for known, earlier in self.loaded.items() if known != version][-1:]
        self.loaded, self.failure = dict([*before, (version, loaded)]), ""

    def _load(self, wanted: dict[str, str | None]) -> tuple[str, Producer]:
        asked = Service.parse({"model": wanted["model"], "tracking": wanted.get("tracking")})
        pinned = find(asked.model, asked.tracking)
        if pinned.version in self.loaded:
            return pinned.version, self.loaded[pinned.version]
        with pinned.folder() as folder:
            self.loaded = dict(list(self.loaded.items())[-1:])  # no more than two of them in memory
            loaded = load_producer(folder, Context(self.device, self.precision))
        warm_up(loaded, self.most)
        return pinned.version, loaded

    @property
    def version(self) -> str:
        return list(self.loaded)[-1]

    def served(self) -> Served:
        return Served(self.version, self.loaded[self.version].card, self.failure)

    async def step(self, version: str, requests: Sequence[StepRequest]) -> list[StepReply | Refusal | InternalError]:
        """The reply to each request, all of one key; a Refusal or an InternalError in place of one that cannot be had. Raises Replaced."""
        return await self.batches((version, requests[0].key), max(request.size for request in requests), requests, len(requests))

    def _together(self, key: tuple, groups: Sequence[Sequence[StepRequest]]) -> list[list]:
        """What several frontends ask for, in one call; what fails is tried again one by one, so that it fails alone. Raises Replaced."""
        version, _ = key
        if version not in self.loaded:
            raise Replaced(version)
        try:
            replies = iter(self._run(version, [request for group in groups for request in group]))
            return [[next(replies) for _ in group] for group in groups]
        except InputError:
            pass
        except Exception as error:
            log_fault(error)
        return [[self._alone(version, request) for request in group] for group in groups]

    def _alone(self, version: str, request: StepRequest) -> StepReply | Refusal | InternalError:
        try:
            return self._run(version, [request])[0]
        except InputError as error:
            return Refusal(str(error))
        except Exception as error:
            log_fault(error)
            return InternalError()

    def _run(self, version: str, requests: Sequence[StepRequest]) -> list[StepReply]:
        self.steps.observe(len(requests))
        replies = self.loaded[version].step(requests)
        if frames := sum(reply.poses.n_frames for reply in replies if reply.poses is not None):
            self.frames.inc(frames)
        return replies
