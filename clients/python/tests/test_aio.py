"""Tests of the client for asyncio, against a scripted server."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Generator
from typing import Any

import grpc
import pytest
from gateway import FAILURE, INFO, LIMIT, STARTED, Gateway, answer, fail, text
from test_client import asks_for

from dashgate import AsyncClient, Conversation, Error, Tool, v1
from dashgate._unary import awaited

ASK = Conversation("m").user("hello?")


def test_a_client_is_made_outside_a_loop_and_used_in_several(gateway: Gateway) -> None:
    client = AsyncClient(gateway.address, api_key="k")

    async def ask() -> str:
        return (await client.converse(ASK)).text

    assert [asyncio.run(ask()) for _ in range(2)] == ["hello", "hello"]
    assert gateway.metadata[1]["authorization"] == "Bearer k"
    asyncio.run(client.close())
    with pytest.raises(ValueError, match="closed"):
        asyncio.run(ask())


def test_a_stream(gateway: Gateway) -> None:
    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            stream = client.stream(ASK)
            assert [piece async for piece in stream.text_deltas()] == ["hel", "lo"]
            assert (await stream.final()).text == "hello"
            async with client.stream(ASK) as events:
                assert len([event async for event in events]) == 4

    asyncio.run(main())


def test_many_at_once(gateway: Gateway) -> None:
    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            answers = await asyncio.gather(*(client.stream(ASK).final() for _ in range(30)))
        assert {one.text for one in answers} == {"hello"}

    asyncio.run(main())


def test_a_given_channel_stays_its_owners(gateway: Gateway) -> None:
    async def main() -> None:
        async with grpc.aio.insecure_channel(gateway.address) as channel:
            for _ in range(2):
                async with AsyncClient.from_channel(channel) as client:
                    assert (await client.converse(ASK)).text == "hello"

    asyncio.run(main())


def test_an_error_tells_all(gateway: Gateway) -> None:
    gateway.converse = lambda context: fail(context, grpc.StatusCode.ABORTED, "250", INFO, FAILURE)

    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            await client.converse(ASK, request_id="sent")

    with pytest.raises(Error) as caught:
        asyncio.run(main())
    error = caught.value
    assert (error.code, error.reason) == (grpc.StatusCode.ABORTED, v1.UPSTREAM_RATE)
    assert (error.request_id, error.retry_after) == ("sent", 0.25)


def test_a_servers_cancelled_is_an_error(gateway: Gateway) -> None:
    gateway.converse = lambda context: fail(context, grpc.StatusCode.CANCELLED, "-1")

    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            await client.converse(ASK)

    with pytest.raises(Error) as caught:
        asyncio.run(main())
    assert caught.value.code == grpc.StatusCode.CANCELLED


class Ending:
    """A call that ends as its task is cancelled."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self.ends_with = code

    def __await__(self) -> Generator[Any, Any, None]:
        return asyncio.sleep(LIMIT).__await__()

    async def read(self) -> None:
        await self

    def done(self) -> bool:
        return True

    def add_done_callback(self, _: object) -> None:
        pass

    def cancel(self) -> None:
        pass

    async def code(self) -> grpc.StatusCode:
        return self.ends_with

    async def details(self) -> str:
        return "it failed"


@pytest.mark.parametrize("kind", ["unary", "stream", "session"])
@pytest.mark.parametrize("code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED])
def test_a_call_that_ends_as_its_task_is_cancelled(code: grpc.StatusCode, kind: str) -> None:
    if sys.version_info < (3, 11) and code is grpc.StatusCode.CANCELLED:
        pytest.skip("a task does not know if it is cancelled")
    call: Any = Ending(code)

    async def wait(client: AsyncClient) -> None:
        if kind == "unary":
            reach = client._connections.here().reach
            await awaited(reach.attempt(call), "r", reach)
        elif kind == "stream":
            stream = client.stream(ASK)
            await stream._receive(call)
        else:
            session = client.live("m")
            await session._read(call)

    async def main() -> None:
        async with AsyncClient("127.0.0.1:1") as client:
            task = asyncio.create_task(wait(client))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_a_session_that_fails_as_its_task_is_cancelled(gateway: Gateway) -> None:
    """The reading task has ended when the task that waits for it is cancelled."""
    if sys.version_info < (3, 11):
        pytest.skip("a task does not know if it is cancelled")

    class Failing(Ending):
        async def read(self) -> None:
            await asyncio.sleep(0.05)
            waiting[0].cancel()
            raise asyncio.CancelledError

    waiting: list[asyncio.Task[None]] = []

    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            session = client.live("m")
            call = Failing(grpc.StatusCode.CANCELLED)
            waiting.append(asyncio.create_task(session._read(call)))
            with pytest.raises(asyncio.CancelledError):
                await waiting[0]

    asyncio.run(main())


def test_a_silent_stream_fails(gateway: Gateway) -> None:
    gateway.events, gateway.silent = [STARTED], True

    async def main() -> None:
        async with AsyncClient(gateway.address, idle_timeout=0.2) as client:
            await client.stream(ASK).final()

    with pytest.raises(Error) as caught:
        asyncio.run(main())
    assert caught.value.raw_reason == "STREAM_IDLE"
    assert gateway.ended.wait(LIMIT)


def test_a_stream_that_ends_early_fails(gateway: Gateway) -> None:
    gateway.events = [STARTED, text("hel")]

    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            stream = client.stream(ASK)
            for _ in range(2):
                with pytest.raises(Error) as caught:
                    await stream.final()
                assert caught.value.reason == v1.STREAM_TRUNCATED
                assert caught.value.output_started

    asyncio.run(main())


@pytest.mark.parametrize("way", ["break", "close", "with", "cancel"])
def test_leaving_a_stream_ends_the_call(gateway: Gateway, way: str) -> None:
    gateway.events, gateway.silent = [STARTED], True

    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            stream = client.stream(ASK)
            assert await asyncio.to_thread(gateway.came.wait, LIMIT)
            if way == "break":
                async for _ in stream:
                    break
            elif way == "close":
                await stream.close()
            elif way == "with":
                async with stream:
                    pass
            else:
                task = asyncio.ensure_future(stream.final())
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await asyncio.to_thread(gateway.ended.wait, LIMIT)

    asyncio.run(main())


def test_a_cancelled_task_ends_its_call(gateway: Gateway) -> None:
    def wait(_: grpc.ServicerContext) -> v1.ConverseResponse:
        gateway.ended.wait(LIMIT)
        return answer("too late")

    gateway.converse = wait

    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            task = asyncio.ensure_future(client.converse(ASK))
            assert await asyncio.to_thread(gateway.came.wait, LIMIT)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(gateway.ended.wait, LIMIT)

    asyncio.run(main())


class Later:
    """An asynchronous reader."""

    def __init__(self, data: bytes) -> None:
        self.inner = io.BytesIO(data)

    async def read(self, size: int, /) -> bytes:
        await asyncio.sleep(0)
        return self.inner.read(size)


class Broken:
    """A reader that fails in the middle."""

    def __init__(self) -> None:
        self.reads = 0

    def read(self, size: int, /) -> bytes:
        self.reads += 1
        if self.reads > 1:
            raise OSError("the disk is gone")
        return bytes(size)


@pytest.mark.parametrize("kind", ["bytes", "reader", "awaited"])
def test_an_upload(gateway: Gateway, kind: str) -> None:
    data = bytes(300_000)
    sources: dict[str, Any] = {"bytes": data, "reader": io.BytesIO(data), "awaited": Later(data)}

    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            uploaded = await client.upload("m", sources[kind], name="a.pcm")
            assert uploaded.size_bytes == len(data)
            with pytest.raises(OSError, match="disk is gone"):
                await client.upload("m", Broken())

    asyncio.run(main())
    assert gateway.requests[0][0].description.mime_type == "audio/pcm"


def test_a_stream_that_was_left_cancels_no_task(gateway: Gateway) -> None:
    async def left() -> Error:
        async with AsyncClient(gateway.address) as client:
            stream = client.stream(ASK)
            async for _ in stream:
                break
            with pytest.raises(Error) as caught:
                await stream.final()
            return caught.value

    assert asyncio.run(left()).code is grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("is_loop", [False, True])
def test_a_stream_whose_reader_was_cancelled_cancels_no_other(
    gateway: Gateway, is_loop: bool
) -> None:
    gateway.events, gateway.silent = [STARTED], True

    async def left() -> Error:
        async with AsyncClient(gateway.address) as client:
            stream = client.stream_tools(ASK, []) if is_loop else client.stream(ASK)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(stream.final(), 0.1)
            with pytest.raises(Error) as caught:
                await stream.final()
            return caught.value

    assert asyncio.run(left()).code is grpc.StatusCode.CANCELLED


def test_closed_loops_keep_no_channel(gateway: Gateway) -> None:
    client = AsyncClient(gateway.address)

    async def ask() -> str:
        return (await client.converse(ASK)).text

    for _ in range(5):
        assert asyncio.run(ask()) == "hello"
    assert len(client._connections._by_loop) == 1


def test_the_tool_loop_awaits(gateway: Gateway) -> None:
    turns = iter([asks_for("f"), asks_for("g"), answer("done")])
    gateway.converse = lambda _context: next(turns)

    async def slow(arguments: str) -> str:
        await asyncio.sleep(0)
        return arguments

    tools = [Tool("f", "", "", slow), Tool("g", "", "", str.upper)]
    conversation = Conversation("m").user("f")

    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            assert (await client.run_tools(conversation, tools)).text == "done"

    asyncio.run(main())
    results = [turn.content[0].text for turn in conversation.raw.messages if turn.tool_call_id]
    assert results == ['{"x":1}', '{"X":1}']
