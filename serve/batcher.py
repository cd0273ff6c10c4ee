"""Batches of whatever waits: a batch begins as soon as the one before it ends, and takes along what came meanwhile.

So nothing waits for company while there is nothing to do, and batches grow with the load. Only where several were answered together, the
next batch waits a moment for them: those who ask again and again would else split into groups that wait for each other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

MOMENT = 0.015  # seconds
Item, Result = TypeVar("Item"), TypeVar("Result")
Run = Callable[[Hashable, Sequence[Item]], Awaitable[Sequence[Result]]]


@dataclass(eq=False)
class _Waiting(Generic[Item, Result]):
    key: Hashable
    size: int
    item: Item
    weight: int
    result: asyncio.Future[Result] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher(Generic[Item, Result]):
    """``run(key, items)`` on items of one key: on what waits longest, and with it on what is most like it in size.

    most: weight of a batch, unless a single item weighs more; at_once: batches; ahead: batches more, if they are full. An item whose caller
    went away is dropped. What ``run`` raises reaches all callers of its batch.
    """

    def __init__(self, run: Run, most: int, at_once: int = 1, ahead: int = 0):
        self._run, self._most, self._at_once, self._ahead = run, most, at_once, ahead
        self._waiting: list[_Waiting[Item, Result]] = []
        self._working: set[asyncio.Task] = set()
        self._answered, self._moment = 0, 0.0  # items of the last batch, and until when they are waited for

    async def __call__(self, key: Hashable, size: int, item: Item, weight: int = 1) -> Result:
        waiting = _Waiting(key, size, item, weight)
        self._waiting.append(waiting)
        asyncio.get_running_loop().call_soon(self._begin)  # and not at once, so that what comes together goes together
        return await waiting.result

    def _begin(self) -> None:
        if len(self._waiting) < min(self._answered, self._most // 2) and asyncio.get_running_loop().time() < self._moment:
            return
        self._answered = 0
        while self._may_begin() and (batch := self._next()):
            task = asyncio.create_task(self._work(batch))
            self._working.add(task)
            task.add_done_callback(self._ended)

    def _may_begin(self) -> bool:
        full = sum(waiting.weight for waiting in self._waiting) >= self._most
        return len(self._working) < self._at_once + (self._ahead if full else 0)

    def _ended(self, task: asyncio.Task) -> None:
        self._working.discard(task)
        loop = asyncio.get_running_loop()
        self._answered, self._moment = task.result(), loop.time() + MOMENT
        loop.call_at(self._moment, self._begin)
        self._begin()

    async def _work(self, batch: Sequence[_Waiting[Item, Result]]) -> int:
        try:
            results = await self._run(batch[0].key, [waiting.item for waiting in batch])
            outcomes = [(waiting.result.set_result, result) for waiting, result in zip(batch, results, strict=True)]
        except Exception as error:
            outcomes = [(waiting.result.set_exception, error) for waiting in batch]
        for waiting, (tell, outcome) in zip(batch, outcomes, strict=True):
            if not waiting.result.done():
                tell(outcome)
        return len(batch) if len(batch) > 1 else 0

    def _next(self) -> list[_Waiting[Item, Result]]:
        self._waiting = [waiting for waiting in self._waiting if not waiting.result.done()]
        if not self._waiting:
            return []
        oldest = self._waiting[0]
        batch, weight = [], 0
        for waiting in sorted((w for w in self._waiting if w.key == oldest.key), key=lambda w: abs(w.size - oldest.size)):
            weight += waiting.weight
            if batch and weight > self._most:
                break
            batch.append(waiting)
        chosen = set(map(id, batch))
        self._waiting = [waiting for waiting in self._waiting if id(waiting) not in chosen]
        return batch


def in_thread(run: Callable[[Hashable, Sequence[Item]], Sequence[Result]]) -> Run:
    """The same function in a thread of its own, one call after another."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="batches")

    async def awaited(key: Hashable, items: Sequence[Item]) -> Sequence[Result]:
        return await asyncio.get_running_loop().run_in_executor(thread, run, key, items)

    return awaited
