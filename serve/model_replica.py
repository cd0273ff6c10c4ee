"""The deployment that holds the model and samples windows, many requests' at a time.

It keeps nothing of a request: any replica can make any window, so what one that dies had in hand is asked of another.
"""

import asyncio
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from ray.util.metrics import Counter, Gauge, Histogram

from ms2sl.data.types import Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.inference.sampling_config import Sampling
from ms2sl.inference.sliding_window import Window, WindowedGenerator
from ms2sl.precision import Precision
from ms2sl.systems.ms2sl.producer import MS2SLProducer
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


@dataclass(frozen=True, slots=True)
class FirstWindowRequest:
    """The first pieces of an utterance, or all of them; how its signing begins, unless they turn out to be too few for a window."""

    pieces: Sequence[Utterance]
    all: bool
    seed: int


@dataclass(frozen=True, slots=True)
class FirstWindowResponse:
    """Frames of the signing of each piece; poses of the first window."""

    lengths: Sequence[float]
    poses: Poses | None


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
        self.producers: dict[str, MS2SLProducer] = {}
        self.failure = ""
        self._loading: asyncio.Task | None = None
        self._wanted: dict[str, str | None] | None = None  # to be loaded next
        self.batches = Batcher(in_thread(self._together), batch)  # one at a time, since they share what a model remembers
        self.windows = Histogram("ms2sl_batch_windows", "windows sampled together", boundaries=[1, 2, 4, 8, 16, 32, 64])
        self.frames = Counter("ms2sl_frames", "frames sampled")
        self.failures = Gauge("ms2sl_model_failed", "1 while the newest model could not be loaded and an older one is served")

    async def reconfigure(self, wanted: dict[str, str | None]) -> None:
        """wanted: ``model`` and ``tracking`` as in ``Service``. The first one is there at the end; another is loaded while this one serves
        on, and one that cannot be loaded leaves it serving. One is loaded at a time, since each takes memory: what is wanted while another
        is loaded has its turn next, or never if something newer is wanted by then."""
        if not self.producers:
            self._serve(*await asyncio.to_thread(self._load, wanted))
            return
        self._wanted = wanted
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._replace())

    async def _replace(self) -> None:
        while self._wanted is not None:
            wanted, self._wanted = self._wanted, None
            try:
                version, producer = await asyncio.to_thread(self._load, wanted)
                if self._wanted is None:
                    self._serve(version, producer)
                del producer
            except Exception as error:
                log.error("%s cannot be loaded; still serving %s: %s", wanted["model"], self.version, error)
                if self._wanted is None:
                    self.failure = f"the model that was deployed last could not be loaded; still serving {self.version}"
            self.failures.set(bool(self.failure))

    def _serve(self, version: str, producer: MS2SLProducer) -> None:
        before = [(known, loaded) for known, loaded in self.producers.items() if known != version][-1:]
        self.producers, self.failure = dict([*before, (version, producer)]), ""

    def _load(self, wanted: dict[str, str | None]) -> tuple[str, MS2SLProducer]:
        asked = Service.parse({"model": wanted["model"], "tracking": wanted.get("tracking")})
        pinned = find(asked.model, asked.tracking)
        if pinned.version in self.producers:
            return pinned.version, self.producers[pinned.version]
        with pinned.folder() as folder:
            self.producers = dict(list(self.producers.items())[-1:])  # no more than two of them in memory
            producer = MS2SLProducer.load(folder, device=self.device, precision=self.precision)
        warm_up(producer, self.most)
        return pinned.version, producer

    @property
    def version(self) -> str:
        return list(self.producers)[-1]

    def served(self) -> Served:
        return Served(self.version, self.producers[self.version].card, self.failure)

    async def open(
        self, version: str, sampling: Sampling, openings: Sequence[FirstWindowRequest]
    ) -> list[FirstWindowResponse | Refusal | InternalError]:
        """What ``measure`` and ``sample`` would say one after the other, at once. Raises Replaced."""
        return await self.batches(("open", version, sampling), 0, openings, len(openings))

    async def measure(self, version: str, asked: Sequence[Sequence[Utterance]]) -> list[list[float] | Refusal | InternalError]:
        """Frames of the signing of each piece that each asks for. Raises Replaced."""
        return await self.batches(("measure", version), 0, asked, len(asked))

    async def sample(self, version: str, sampling: Sampling, windows: Sequence[Window]) -> list[Poses | InternalError]:
        """Poses of windows whose pieces were measured. Raises Replaced."""
        return await self.batches(("sample", version, sampling), max(window.frames for window in windows), windows, len(windows))

    def _together(self, key: tuple, groups: Sequence[Sequence]) -> list[list]:
        """What several frontends ask for, in one call; what fails is tried again one by one, so that it fails alone. Raises Replaced."""
        try:
            results = iter(self._run(key, [item for group in groups for item in group]))
            return [[next(results) for _ in group] for group in groups]
        except Replaced:
            raise
        except Exception as error:
            log_fault(error)
            return [[self._alone(key, item) for item in group] for group in groups]

    def _alone(self, key: tuple, item: Any) -> Any:
        try:
            return self._run(key, [item])[0]
        except Exception as error:
            log_fault(error)
            return InternalError()

    def _run(self, key: tuple, items: Sequence) -> Sequence:
        method, *arguments = key
        return {"open": self._open, "measure": self._measure, "sample": self._sample}[method](*arguments, items)

    def _producer(self, version: str) -> MS2SLProducer:
        try:
            return self.producers[version]
        except KeyError:
            raise Replaced(version) from None

    def _open(self, version: str, sampling: Sampling, openings: Sequence[FirstWindowRequest]) -> list[FirstWindowResponse | Refusal]:
        card = self._producer(version).card
        measured = self._measure(version, [opening.pieces for opening in openings])
        windows = {}
        for i, (opening, lengths) in enumerate(zip(openings, measured, strict=True)):
            if isinstance(lengths, Refusal):
                continue
            signing = WindowedGenerator(opening.pieces, card.longest, card.fps, opening.seed)
            signing.pending_lengths()
            signing.set_lengths(lengths)
            if signing.can_begin(opening.all):
                windows[i] = signing.window()
        made = dict(zip(windows, self._sample(version, sampling, list(windows.values())), strict=True)) if windows else {}
        return [
            lengths if isinstance(lengths, Refusal) else FirstWindowResponse(lengths, made.get(i)) for i, lengths in enumerate(measured)
        ]

    def _measure(self, version: str, asked: Sequence[Sequence[Utterance]]) -> list[list[float] | Refusal]:
        producer = self._producer(version)
        try:
            lengths = iter(producer.measure([piece for pieces in asked for piece in pieces]))
            return [[next(lengths) for _ in pieces] for pieces in asked]
        except InputError as error:
            if len(asked) == 1:
                return [Refusal(str(error))]
            return [self._measure(version, [pieces])[0] for pieces in asked]

    def _sample(self, version: str, sampling: Sampling, windows: Sequence[Window]) -> list[Poses]:
        self.windows.observe(len(windows))
        made = self._producer(version).sample(windows, sampling)
        self.frames.inc(sum(poses.n_frames for poses in made))
        return made
