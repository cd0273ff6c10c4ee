"""Batches of whatever waits: a batch begins as soon as the one before it ends, and takes along what came meanwhile.

So nothing waits for company while the sampler is idle, and batches grow with the load.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")


@dataclass(eq=False)
class _Waiting(Generic[Item, Result]):
    key: Hashable
    size: int
    item: Item
    result: asyncio.Future[Result] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher(Generic[Item, Result]):
    """``run(key, items)`` in one thread, on items of one key: those that wait longest, and of these the ones of the most alike sizes.

    most: items a batch. An item whose caller went away is dropped. What ``run`` raises reaches all callers of its batch.
    """

    def __init__(self, run: Callable[[Hashable, Sequence[Item]], Sequence[Result]], most: int):
        self._run, self._most = run, most
        self._waiting: list[_Waiting[Item, Result]] = []
        self._worker: asyncio.Task | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")

    async def __call__(self, key: Hashable, size: int, item: Item) -> Result:
        waiting = _Waiting(key, size, item)
        self._waiting.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await waiting.result

    async def _work(self) -> None:
        while self._waiting:
            batch = self._next()
            if not batch:
                continue
            items = [waiting.item for waiting in batch]
            try:
                results = await asyncio.get_running_loop().run_in_executor(self._thread, self._run, batch[0].key, items)
                outcomes = [(waiting.result.set_result, result) for waiting, result in zip(batch, results, strict=True)]
            except Exception as error:
                outcomes = [(waiting.result.set_exception, error) for waiting in batch]
            for waiting, (tell, outcome) in zip(batch, outcomes, strict=True):
                if not waiting.result.done():
                    tell(outcome)

    def _next(self) -> list[_Waiting[Item, Result]]:
        """The oldest, with those that are nearest to it in size."""
        self._waiting = [waiting for waiting in self._waiting if not waiting.result.done()]
        if not self._waiting:
            return []
        oldest = self._waiting[0]
        alike = sorted((w for w in self._waiting if w.key == oldest.key), key=lambda w: abs(w.size - oldest.size))
        batch = alike[: self._most]
        chosen = set(map(id, batch))
        self._waiting = [waiting for waiting in self._waiting if id(waiting) not in chosen]
        return batch
