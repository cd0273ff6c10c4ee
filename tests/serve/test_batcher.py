"""Batches of what waits, with a ``run`` that waits until it is told to go on."""

import asyncio
import threading
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from serve.batcher import MOMENT, Abandoned, Batcher, in_thread

REQUEST = ContextVar("request", default="none")  # as Ray keeps what request is worked on


class Runner:
    """Doubles numbers; notes each batch, and works only while ``gate`` is open."""

    def __init__(self):
        self.batches: list[tuple[object, list]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, key: object, items: Sequence[int]) -> list[int]:
        self.batches.append((key, list(items)))
        assert self.gate.wait(10)
        if "wrong" in items:
            raise ValueError("a batch that fails")
        return [2 * item for item in items]

    async def begun(self, batches: int = 1) -> None:
        """Waits until so many batches have begun."""
        async with asyncio.timeout(10):
            while len(self.batches) < batches:
                await asyncio.sleep(0.001)


def within_seconds(asking):
    return asyncio.run(asyncio.wait_for(asking, 10))


@pytest.fixture
def runner() -> Runner:
    return Runner()


async def while_busy(runner: Runner, batcher: Batcher, asked: list[tuple]) -> list[asyncio.Task]:
    """Tasks for all that is asked, which came while a batch of 0 was at work; that batch has ended."""
    runner.gate.clear()
    first = asyncio.create_task(batcher("busy", 0, 0))
    await runner.begun()
    tasks = [asyncio.create_task(batcher(*each)) for each in asked]
    await asyncio.sleep(0)
    runner.gate.set()
    await first
    return tasks


def batches_of(runner: Runner, most: int, asked: list[tuple]) -> list[tuple[object, list]]:
    """The batches that are made of what came while another was at work."""

    async def ask():
        tasks = await while_busy(runner, Batcher(in_thread(runner), most), asked)
        assert await asyncio.gather(*tasks) == [2 * each[2] for each in asked]

    within_seconds(ask())
    return runner.batches[1:]


def test_a_batch_begins_at_once_when_nothing_is_at_work(runner):
    async def ask():
        batcher = Batcher(in_thread(runner), 8)
        async with asyncio.timeout(5):
            return [await batcher("key", 1, item) for item in (1, 2)]

    assert within_seconds(ask()) == [2, 4]
    assert runner.batches == [("key", [1]), ("key", [2])]


def test_what_comes_while_a_batch_is_at_work_is_the_next_batch(runner):
    assert batches_of(runner, 8, [("key", 1, item) for item in (1, 2, 3)]) == [("key", [1, 2, 3])]


def test_a_batch_is_of_one_key(runner):
    batches = batches_of(runner, 8, [("a", 1, 1), ("b", 1, 2), ("a", 1, 3), ("b", 1, 4)])
    assert batches == [("a", [1, 3]), ("b", [2, 4])]


def test_a_batch_is_never_larger_than_the_most(runner):
    batches = batches_of(runner, 3, [("key", 1, item) for item in range(1, 9)])
    assert [len(items) for _, items in batches] == [3, 3, 2]


def test_weights_count_and_one_that_is_too_heavy_goes_alone(runner):
    weights = {1: 2, 2: 1, 3: 3, 4: 9, 5: 1}
    batches = batches_of(runner, 4, [("key", 1, item, weight) for item, weight in weights.items()])
    assert all(len(items) == 1 or sum(weights[item] for item in items) <= 4 for _, items in batches)
    assert batches[0] == ("key", [1, 2])
    assert ("key", [4]) in batches


def test_what_comes_together_goes_together_though_nothing_is_at_work(runner):
    async def ask():
        batcher = Batcher(in_thread(runner), 8)
        return await asyncio.gather(*(batcher("key", 1, item) for item in (1, 2, 3)))

    assert within_seconds(ask()) == [2, 4, 6]
    assert runner.batches == [("key", [1, 2, 3])]


@pytest.mark.parametrize("at_once", [1, 3])
def test_as_many_batches_are_at_work_as_may_be(at_once):
    working, most = set(), []

    async def run(key: object, items: Sequence[int]) -> Sequence[int]:
        working.add(items[0])
        most.append(len(working))
        await asyncio.sleep(0.01)
        working.discard(items[0])
        return items

    async def ask():
        batcher = Batcher(run, 1, at_once)
        return await asyncio.gather(*(batcher("key", 1, item) for item in range(10)))

    assert within_seconds(ask()) == list(range(10))
    assert max(most) == at_once


def test_alike_sizes_are_batched_together(runner):
    sizes = {1: 10, 2: 500, 3: 12, 4: 480, 5: 11, 6: 520}
    batches = batches_of(runner, 3, [("key", size, item) for item, size in sizes.items()])
    assert [sorted(items) for _, items in batches] == [[1, 3, 5], [2, 4, 6]]


def test_the_oldest_is_in_the_next_batch_however_odd_its_size_and_key(runner):
    asked = [("odd", 9999, 1), *(("key", 1, item) for item in range(2, 12))]
    assert batches_of(runner, 2, asked)[0] == ("odd", [1])
    assert batches_of(Runner(), 2, [("key", 9999, 1), *asked[1:]])[0][1][0] == 1


def test_nobody_starves_while_others_keep_coming(runner):
    async def ask():
        batcher = Batcher(in_thread(runner), 2)

        async def crowd(item: int):
            for _ in range(20):
                await batcher("key", 1, item)

        others = [asyncio.create_task(crowd(item)) for item in range(1, 6)]
        await runner.begun()
        before = len(runner.batches)
        await batcher("key", 9999, 7)
        came = next(i for i, (_, items) in enumerate(runner.batches) if 7 in items)
        await asyncio.gather(*others)
        return came - before

    assert within_seconds(ask()) <= 4


def test_what_nobody_waits_for_any_more_is_not_run(runner):
    async def ask():
        batcher = Batcher(in_thread(runner), 2)
        runner.gate.clear()
        first = asyncio.create_task(batcher("key", 1, 0))
        await runner.begun()
        tasks = [asyncio.create_task(batcher("key", 1, item)) for item in (1, 2, 3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
        runner.gate.set()
        await first
        return await asyncio.gather(*tasks, return_exceptions=True)

    gone, *others = within_seconds(ask())
    assert isinstance(gone, asyncio.CancelledError)
    assert others == [4, 6]
    assert runner.batches[1:] == [("key", [2, 3])]


def test_a_caller_that_leaves_while_its_batch_is_at_work_does_not_disturb_the_others(runner):
    async def ask():
        batcher = Batcher(in_thread(runner), 4)
        tasks = await while_busy(runner, batcher, [("key", 1, 1), ("key", 1, 2)])
        runner.gate.clear()
        await runner.begun(2)
        tasks[0].cancel()
        await asyncio.sleep(0)
        runner.gate.set()
        return await tasks[1], await batcher("key", 1, 3)

    assert within_seconds(ask()) == (4, 6)


def test_a_batch_runs_in_the_context_of_none_of_its_callers():
    """Neither the first one, nor one that begins as another ends, nor one that begins after its moment."""
    seen = []

    async def run(key: object, items: Sequence[int]) -> Sequence[int]:
        seen.append((sorted(items), REQUEST.get()))
        await asyncio.sleep(MOMENT / 3)
        return items

    async def ask():
        batcher = Batcher(run, 4)

        async def request(item: int, after: float) -> int:
            REQUEST.set(f"request {item}")
            await asyncio.sleep(after)
            return await batcher("key", 1, item)

        came = await asyncio.gather(
            *(request(item, after) for item, after in [(1, 0), (2, 0), (3, MOMENT / 6), (4, MOMENT / 2), (5, MOMENT)])
        )
        assert REQUEST.get() == "none"
        return came

    assert within_seconds(ask()) == [1, 2, 3, 4, 5]
    assert len(seen) >= 2
    assert {context for _, context in seen} == {"none"}


class EarlyLoop(asyncio.SelectorEventLoop):
    """Its timers are early, as those of uvloop sometimes are, which counts in milliseconds."""

    def call_at(self, when: float, *arguments, **more) -> asyncio.TimerHandle:
        return super().call_at(when - 0.001, *arguments, **more)


def test_one_of_those_who_were_answered_together_is_answered_though_nobody_else_comes_back(runner):
    async def ask():
        batcher = Batcher(in_thread(runner), 8)
        await asyncio.gather(*(batcher("key", 1, item) for item in (1, 2, 3)))
        return await asyncio.wait_for(batcher("key", 1, 4), 5)

    with asyncio.Runner(loop_factory=EarlyLoop) as loop:
        assert loop.run(ask()) == 8


@pytest.mark.parametrize("cancel", ["within", "task"])
def test_all_callers_of_a_cancelled_batch_hear_of_it_and_the_next_batch_begins(cancel):
    """As when what ``run`` awaits is cancelled elsewhere, or the batch itself is."""
    begun = asyncio.Event()

    async def run(key: object, items: Sequence[int]) -> Sequence[int]:
        if 0 in items:
            begun.set()
            if cancel == "within":
                raise asyncio.CancelledError
            await asyncio.sleep(60)
        return items

    async def ask():
        batcher = Batcher(run, 8)
        tasks = [asyncio.create_task(batcher("key", 1, item)) for item in (0, 1, 2)]
        others = set(asyncio.all_tasks())
        await begun.wait()
        if cancel == "task":
            (batch,) = asyncio.all_tasks() - others
            batch.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True), await batcher("key", 1, 3)

    heard, after = within_seconds(ask())
    assert [type(each) for each in heard] == [Abandoned] * 3
    assert after == 3


def test_nothing_is_run_when_all_have_left(runner):
    async def ask():
        batcher = Batcher(in_thread(runner), 4)
        runner.gate.clear()
        first = asyncio.create_task(batcher("key", 1, 0))
        await runner.begun()
        alone = asyncio.create_task(batcher("key", 1, 1))
        await asyncio.sleep(0)
        alone.cancel()
        runner.gate.set()
        await first
        return await batcher("key", 1, 2)

    assert within_seconds(ask()) == 4
    assert [items for _, items in runner.batches] == [[0], [2]]


def test_an_error_reaches_all_of_its_batch_and_no_other(runner):
    async def ask():
        batcher = Batcher(in_thread(runner), 8)
        tasks = await while_busy(runner, batcher, [("key", 1, "wrong"), ("key", 1, 1), ("other", 1, 2)])
        return await asyncio.gather(*tasks, return_exceptions=True), await batcher("key", 1, 3)

    (first, second, other), after = within_seconds(ask())
    assert str(first) == str(second) == "a batch that fails"
    assert (other, after) == (4, 6)


def test_a_run_that_loses_results_is_an_error_and_not_a_wrong_answer():
    async def ask():
        batcher = Batcher(in_thread(lambda key, items: items[1:]), 8)
        async with asyncio.timeout(5):
            return await asyncio.gather(*(batcher("key", 1, item) for item in (1, 2)), return_exceptions=True)

    assert all(isinstance(answer, ValueError) for answer in within_seconds(ask()))


def test_run_is_never_at_work_twice_at_once():
    working, most = [0], [0]

    def run(key: object, items: Sequence[int]) -> Sequence[int]:
        working[0] += 1
        most[0] = max(most[0], working[0])
        threading.Event().wait(0.01)
        working[0] -= 1
        return items

    async def ask():
        batcher = Batcher(in_thread(run), 2)
        await asyncio.gather(*(batcher(item % 3, 1, item) for item in range(20)))

    within_seconds(ask())
    assert most == [1]
