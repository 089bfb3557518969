"""Tests of partial answers and of the metadata of responses, in both clients."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from callers import ASK, Caller
from gateway import COMPLETED, INFO, STARTED, Event, Gateway, answer, fail, text
from grpc import StatusCode

from dashgate import AsyncClient, AsyncToolStream, Client, Error, ToolStream, v1

HEARTBEAT = Event(heartbeat=v1.Heartbeat())


def played(*events: Event, code: StatusCode | None = None) -> Any:
    def play(context: Any) -> Iterator[Event]:
        context.send_initial_metadata((("x-first", "a"), ("x-first", "b"), ("x-raw-bin", b"c")))
        yield from events
        if code is not None:
            fail(context, code, "-1", INFO)
        context.set_trailing_metadata((("x-last", "d"),))

    return play


def test_a_partial_answer_is_there_after_each_event(gateway: Gateway) -> None:
    gateway.parts = [played(HEARTBEAT, STARTED, text("a"), text("b"), COMPLETED)]

    def so_far() -> str | None:
        return stream.partial.text if stream.partial is not None else None

    with Client(gateway.address) as client:
        stream = client.stream(ASK)
        partials = [so_far(), *(so_far() for _ in stream)]
        assert stream.headers == {"x-first": "a, b", "x-last": "d"}
        assert stream.final().headers == stream.headers
    assert partials == [None, None, "", "a", "ab", "ab"]


@pytest.mark.parametrize("way", ["error", "left"])
def test_a_partial_answer_stays_after_the_end(gateway: Gateway, way: str) -> None:
    events = [STARTED, text("a")]
    code = StatusCode.ABORTED if way == "error" else None

    async def tasks() -> Any:
        async with AsyncClient(gateway.address) as client:
            stream = client.stream(ASK)
            if way == "error":
                with pytest.raises(Error) as caught:
                    await stream.final()
                assert caught.value.headers["x-first"] == "a, b"
            else:
                async for event in stream:
                    if event.delta.text:
                        break
                stream.cancel()
            return stream.partial, stream.headers

    gateway.parts = [played(*events, code=code)]
    partial, headers = asyncio.run(tasks())
    assert (partial.text, partial.finish_reason) == ("a", v1.FINISH_REASON_UNSPECIFIED)
    assert headers["x-first"] == "a, b"
    gateway.parts = [played(*events, code=code)]
    with Client(gateway.address) as client:
        stream = client.stream(ASK)
        if way == "error":
            with pytest.raises(Error) as caught:
                stream.final()
            assert caught.value.headers["x-first"] == "a, b"
        else:
            for event in stream:
                if event.delta.text:
                    break
        assert stream.partial is not None
        assert stream.partial.text == "a"
        assert stream.headers["x-first"] == "a, b"


def test_an_answer_has_the_metadata_of_its_response(gateway: Gateway, call: Caller) -> None:
    def play(context: Any) -> v1.ConverseResponse:
        context.send_initial_metadata((("x-first", "a"),))
        context.set_trailing_metadata((("x-last", "b"),))
        return answer("hello")

    gateway.converse = play
    assert call("converse", ASK).headers == {"x-first": "a", "x-last": "b"}


def test_a_tool_loop_has_what_the_stream_of_its_round_has(gateway: Gateway) -> None:
    gateway.events = [STARTED, text("a"), text("b"), COMPLETED]

    def check(loop: ToolStream | AsyncToolStream) -> None:
        assert loop.partial is not None
        assert loop.partial.text == "a"
        assert loop.headers == loop.current.headers
        assert (loop.request_id, loop.resumes) == (loop.current.request_id, 0)

    async def tasks() -> None:
        async with AsyncClient(gateway.address) as client:
            loop = client.stream_tools(ASK, [])
            assert loop.partial is None
            async for _ in loop.text_deltas():
                check(loop)
                break

    with Client(gateway.address) as client:
        loop = client.stream_tools(ASK, [])
        assert loop.partial is None
        for _ in loop.text_deltas():
            check(loop)
            break
    asyncio.run(tasks())
