"""Tests of calls that are made again: throttled ones, and new conversations."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from callers import ASK, Caller
from gateway import COMPLETED, INFO, LIMIT, STARTED, Event, Gateway, answer, fail, text

from dashgate import AsyncClient, Client, Error, v1
from dashgate._backoff import Deadline
from dashgate._log import CallLog
from dashgate._retry import Retries

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def throttled(times: int, pushback: str = "1") -> Any:
    """Answer a call after it was throttled some times."""
    left = iter([True] * times)

    def play(context: grpc.ServicerContext) -> v1.ConverseResponse:
        if next(left, False):
            fail(context, EXHAUSTED, pushback, INFO)
        return answer("at last")

    return play


def test_a_throttled_call_is_made_again(gateway: Gateway, call: Caller) -> None:
    gateway.converse = throttled(2)
    assert call("converse", ASK, max_retries=2).text == "at last"
    assert len(gateway.requests) == 3
    assert len({request.request_id for request in gateway.requests}) == 1


def test_a_call_has_the_retries_of_its_client(gateway: Gateway, call: Caller) -> None:
    gateway.converse = throttled(1)
    assert call.on({"max_retries": 1}, "converse", ASK).text == "at last"
    gateway.converse = throttled(1)
    with pytest.raises(Error):
        call.on({"max_retries": 1}, "converse", ASK, max_retries=0)


def test_a_retry_after_the_deadline_is_not_waited_for(gateway: Gateway, call: Caller) -> None:
    gateway.converse = throttled(1, "60000")
    with pytest.raises(Error) as caught:
        call("converse", ASK, max_retries=5, timeout=20)
    assert (caught.value.retry_after, caught.value.retryable) == (60.0, True)
    assert len(gateway.requests) == 1


def test_a_throttled_stream_is_made_again_before_its_first_event(
    gateway: Gateway, call: Caller
) -> None:
    def refused(context: Any) -> Iterator[Event]:
        yield from ()
        fail(context, EXHAUSTED, "1", INFO)

    def begun(context: Any) -> Iterator[Event]:
        yield STARTED
        fail(context, EXHAUSTED, "1", INFO)

    gateway.parts = [refused, lambda _: iter([STARTED, text("a"), COMPLETED])]
    assert call("stream", ASK, max_retries=1).text == "a"
    assert [request.after_sequence for request in gateway.requests] == [0, 0]
    gateway.parts = [begun]
    with pytest.raises(Error):
        call("stream", ASK, max_retries=1)
    assert len(gateway.requests) == 3


def test_a_future_has_ended_when_it_is_not_made_again(gateway: Gateway) -> None:
    gateway.converse = throttled(1)
    with Client(gateway.address) as client:
        pending = client.converse_future(ASK, max_retries=1)
        assert gateway.ended.wait(LIMIT)
        assert not pending.done()
        assert pending.result().text == "at last"
        assert pending.done()
        assert pending.result().text == "at last"


def test_the_wait_before_a_retry_is_cancelled(gateway: Gateway) -> None:
    gateway.converse = throttled(1, "60000")
    with Client(gateway.address) as client:
        pending = client.converse_future(ASK, max_retries=1)
        with concurrent.futures.ThreadPoolExecutor() as threads:
            result = threads.submit(pending.result)
            assert gateway.ended.wait(LIMIT)
            pending.cancel()
            with pytest.raises(concurrent.futures.CancelledError):
                result.result(LIMIT)
    assert pending.done()

    async def main() -> None:
        gateway.ended.clear()
        async with AsyncClient(gateway.address) as later:
            task = asyncio.create_task(later.converse(ASK, max_retries=1))
            await asyncio.to_thread(gateway.ended.wait, LIMIT)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    gateway.converse = throttled(1, "60000")
    asyncio.run(main())
    assert len(gateway.requests) == 2


@pytest.mark.parametrize(
    ("method", "arguments", "conversation_id", "calls"),
    [
        ("create_conversation", [], "", 1),
        ("create_conversation", [], "a", 2),
        ("fork_conversation", ["conversations/b"], "", 1),
        ("fork_conversation", ["conversations/b"], "a", 2),
    ],
)
def test_a_conversation_is_created_again_only_with_an_id(
    gateway: Gateway,
    call: Caller,
    method: str,
    arguments: list[str],
    conversation_id: str,
    calls: int,
) -> None:
    gateway.refusals = [(UNAVAILABLE, "1", INFO)]
    new = v1.Conversation(name="conversations/a")
    gateway.managed = lambda request: (
        v1.CreateConversationResponse(conversation=new)
        if isinstance(request, v1.CreateConversationRequest)
        else v1.ForkConversationResponse(conversation=new)
    )
    if calls == 1:
        with pytest.raises(Error):
            call(method, *arguments, conversation_id=conversation_id)
    else:
        assert call(method, *arguments, conversation_id=conversation_id) == new
    assert len(gateway.requests) == calls


def retries(timeout: float | None = None, **options: Any) -> Retries:
    return Retries(CallLog("Converse", "r", "here"), Deadline(timeout), **options)


def test_retries_of_throttled_calls_have_a_jitter() -> None:
    state = retries(max_retries=20)
    error = Error(EXHAUSTED, "", retry_after=10.0)
    delays = {state.delay(error) for _ in range(20)}
    assert len(delays) > 1
    assert all(10 <= delay <= 11 for delay in delays)
    with pytest.raises(Error):
        state.delay(error)


def test_retries_of_unavailable_follow_the_service_config() -> None:
    state = retries(retries_unavailable=True)
    error = Error(UNAVAILABLE, "")
    delays = [state.delay(error) for _ in range(4)]
    for delay, expected in zip(delays, [0.5, 1, 2, 4], strict=True):
        assert expected * 0.8 <= delay <= expected * 1.2
    with pytest.raises(Error):
        state.delay(error)
    with pytest.raises(Error):
        retries(retries_unavailable=True).delay(Error(UNAVAILABLE, "", retry_forbidden=True))
    assert not retries().may_repeat(error)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_negative_number_of_retries_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        kind(max_retries=-1)
