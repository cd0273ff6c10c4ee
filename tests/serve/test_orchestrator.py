"""Calls between replicas that are not answered."""

import asyncio

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from ray.exceptions import ActorDiedError, TaskCancelledError
from ray.serve.exceptions import DeploymentUnavailableError, RequestCancelledError

from serve import orchestrator
from serve.batcher import Abandoned
from serve.orchestrator import retry_on_actor_death
from serve.problems import Problem

LOST = [
    ActorDiedError(),
    DeploymentUnavailableError("x"),
    TaskCancelledError(),
    RequestCancelledError(),
    Abandoned(),
    asyncio.CancelledError(),
    AioRpcError(StatusCode.UNAVAILABLE, Metadata(), Metadata()),
    AioRpcError(StatusCode.CANCELLED, Metadata(), Metadata()),
]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(orchestrator, "PAUSES", (0, 0, 0))


def asked(*answers: BaseException | int) -> tuple[int, int]:
    """What a call that is answered so comes to, and how often it was made."""
    coming, calls = iter(answers), 0

    async def call() -> int:
        nonlocal calls
        calls += 1
        answer = next(coming)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return asyncio.run(asyncio.wait_for(retry_on_actor_death(call), 10)), calls


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_what_nobody_answers_is_asked_again(error):
    assert asked(error, error, 7) == (7, 3)


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_what_is_lost_again_and_again_is_a_problem(error):
    with pytest.raises(Problem) as problem:
        asked(error, error, error)
    assert problem.value.status == 503
    assert problem.value.headers["Retry-After"]


def test_a_message_that_is_too_large_is_not_sent_again():
    error = AioRpcError(StatusCode.RESOURCE_EXHAUSTED, Metadata(), Metadata())
    with pytest.raises(AioRpcError):
        asked(error, 7)


def test_a_caller_that_leaves_does_not_ask_again():
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(60)

    async def ask():
        task = asyncio.create_task(retry_on_actor_death(call))
        while not calls:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=10)
        return task.cancelled()

    assert asyncio.run(ask())
    assert calls == 1
