"""Batches of whatever waits: a batch begins as soon as the one before it ends, and takes along what came meanwhile.

So nothing waits for company while there is nothing to do, and batches grow with the load. Only where several were answered together, the
next batch waits a moment for them: those who ask again and again would else split into groups that wait for each other.

A batch belongs to none of its callers. A task inherits the context variables of whoever creates it, and Ray takes a call that is made with
those of a request for a child of that request, which it cancels when the client leaves. So batches run in a context of their own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

MOMENT = 0.015  # seconds
Item = TypeVar("Item")
Result = TypeVar("Result")
Run = Callable[[Hashable, Sequence[Item]], Awaitable[Sequence[Result]]]


class Abandoned(Exception):
    """The batch was cancelled, by none of its callers: ask again."""


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
    went away is dropped. What ``run`` raises reaches all callers of its batch; if it is cancelled, that is Abandoned.
    """

    def __init__(self, run: Run, most: int, at_once: int = 1, ahead: int = 0):
        self._run, self._most, self._at_once, self._ahead = run, most, at_once, ahead
        self._waiting: list[_Waiting[Item, Result]] = []
        self._working: set[asyncio.Task] = set()
        self._expected = 0  # items of the last batch, while their callers are waited for
        self._moment: asyncio.TimerHandle | None = None

    async def __call__(self, key: Hashable, size: int, item: Item, weight: int = 1) -> Result:
        waiting = _Waiting(key, size, item, weight)
        self._waiting.append(waiting)
        # Not at once, so that what comes together goes together. Tasks and callbacks inherit the empty context from here.
        asyncio.get_running_loop().call_soon(self._begin, context=Context())
        return await waiting.result

    def _begin(self) -> None:
        if len(self._waiting) < min(self._expected, self._most // 2):
            return
        self._expected = 0
        while self._may_begin() and (batch := self._next()):
            task = asyncio.create_task(self._work(batch))
            self._working.add(task)
            task.add_done_callback(partial(self._ended, len(batch)))

    def _may_begin(self) -> bool:
        full = sum(waiting.weight for waiting in self._waiting) >= self._most
        return len(self._working) < self._at_once + (self._ahead if full else 0)

    def _ended(self, items: int, task: asyncio.Task) -> None:
        self._working.discard(task)
        self._expected = items if items > 1 else 0
        if self._moment is not None:
            self._moment.cancel()
        self._moment = asyncio.get_running_loop().call_later(MOMENT, self._moment_over)
        self._begin()

    def _moment_over(self) -> None:  # no look at the clock: timers may be early, and nobody else may come to begin
        self._expected = 0
        self._begin()

    async def _work(self, batch: Sequence[_Waiting[Item, Result]]) -> None:
        error: Exception = Abandoned()
        try:
            results = await self._run(batch[0].key, [waiting.item for waiting in batch])
            for waiting, result in list(zip(batch, results, strict=True)):
                if not waiting.result.done():
                    waiting.result.set_result(result)
        except Exception as raised:
            error = raised
        finally:
            for waiting in batch:
                if not waiting.result.done():
                    waiting.result.set_exception(error)

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
