"""Tests of calls that wait because all connections of the pool are full, in both clients."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from callers import ASK
from gateway import COMPLETED, LIMIT, STARTED, Gateway, answer, text
from test_options import Interceptor

from dashgate import AsyncClient, Client, Conversation, Error, _lanes, v1


class Door:
    """What the calls of the gateway wait for."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.opens = threading.Event()
        self.came: list[str] = []
        gateway.converse = self.converse

    def converse(self, _: grpc.ServicerContext) -> v1.ConverseResponse:
        self.gateway.came.set()
        assert self.opens.wait(LIMIT)
        return answer("hello")


@pytest.fixture
def door(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """One connection with one place, which a call takes."""
    monkeypatch.setattr(_lanes, "CALLS_PER_CONNECTION", 1)
    monkeypatch.setattr(_lanes, "MAX_CONNECTIONS", 1)
    found = Door(gateway)
    yield found
    found.opens.set()


def waiting(client: Any) -> int:
    channel = client._connections.here().channel
    starter = getattr(channel, "_starter", None) or channel._channel._starter
    return len(starter.lanes.waiting)


def places(client: Any) -> list[int]:
    channel = client._connections.here().channel
    return [lane.calls for lane in channel._starter.lanes.all]


def until(holds: Any) -> None:
    end = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


async def until_async(holds: Any) -> None:
    end = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("interceptors", [(), (Interceptor("a", []),)])
def test_calls_wait_in_their_order(gateway: Gateway, door: Door, interceptors: Any) -> None:
    with Client(gateway.address, interceptors=interceptors) as client:
        futures = [client.converse_future(ASK, request_id=str(number)) for number in range(5)]
        assert waiting(client) == 4
        assert not futures[4].done()
        assert len(gateway.requests) <= 1
        door.opens.set()
        assert [future.result().text for future in futures] == ["hello"] * 5
        assert waiting(client) == 0
        until(lambda: sum(places(client)) == 0 if not interceptors else True)
    assert [request.request_id for request in gateway.requests] == list("01234")


def test_tasks_wait_in_their_order(gateway: Gateway, door: Door) -> None:
    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            tasks = []
            for number in range(5):
                tasks.append(asyncio.create_task(client.converse(ASK, request_id=str(number))))
                await asyncio.sleep(0)
            await until_async(lambda: waiting(client) == 4)
            door.opens.set()
            assert [each.text for each in await asyncio.gather(*tasks)] == ["hello"] * 5
            await until_async(lambda: places(client) == [0])

    asyncio.run(main())
    assert [request.request_id for request in gateway.requests] == list("01234")


def test_another_connection_is_opened_before_calls_wait(
    gateway: Gateway, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lanes, "MAX_CONNECTIONS", 2)
    with Client(gateway.address) as client:
        futures = [client.converse_future(ASK) for _ in range(4)]
        assert (places(client), waiting(client)) == ([1, 1], 2)
        door.opens.set()
        assert all(future.result().text == "hello" for future in futures)


def test_all_kinds_of_calls_wait(gateway: Gateway, door: Door) -> None:
    with Client(gateway.address) as client, ThreadPoolExecutor() as pool:
        first = client.converse_future(ASK)
        stub = client.conversations
        given = v1.ConverseRequest(conversation=ASK.raw)
        calls: list[Any] = [
            pool.submit(stub.Converse, given, 60, client.metadata),
            pool.submit(stub.Converse.with_call, given),
            pool.submit(client.upload, "m", b"x"),
            pool.submit(lambda: client.stream(ASK).final()),
            pool.submit(lambda: list(stub.ConverseStream(v1.ConverseStreamRequest()))),
        ]
        with client.live("m") as session:
            session.send_text("a")
            session.finish()
            until(lambda: waiting(client) == 6)
            door.opens.set()
            assert len(list(session)) == 3
        assert first.result().text == "hello"
        whole, (response, call), uploaded, streamed, events = (each.result() for each in calls)
        assert whole == response == answer("hello")
        assert call.code() is grpc.StatusCode.OK
        assert (uploaded.size_bytes, streamed.text, len(events)) == (1, "hello", 4)


def test_all_kinds_of_calls_of_asyncio_wait(gateway: Gateway, door: Door) -> None:
    async def talk(client: AsyncClient) -> int:
        async with client.live("m") as session:
            await session.send_text("a")
            await session.finish()
            return len([event async for event in session])

    async def events(client: AsyncClient) -> int:
        call = client.conversations.ConverseStream(v1.ConverseStreamRequest())
        return len([event async for event in call])

    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            first = asyncio.create_task(client.converse(ASK))
            assert await asyncio.to_thread(gateway.came.wait, LIMIT)
            stub = client.conversations
            others = asyncio.gather(
                talk(client),
                events(client),
                client.upload("m", b"x"),
                client.stream(ASK).final(),
                stub.Converse(v1.ConverseRequest(conversation=ASK.raw), timeout=60),
            )
            await until_async(lambda: waiting(client) == 5)
            door.opens.set()
            live, streamed, uploaded, final, whole = await others
            assert (live, streamed, uploaded.size_bytes, final.text) == (3, 4, 1, "hello")
            assert whole == answer("hello")
            assert (await first).text == "hello"
            await until_async(lambda: places(client) == [0])

    asyncio.run(main())


def test_the_deadline_runs_while_a_call_waits(gateway: Gateway, door: Door) -> None:
    def check(error: Error) -> None:
        assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert error.raw_reason == "DEADLINE_EXCEEDED"

    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            first = asyncio.create_task(client.converse(ASK))
            assert await asyncio.to_thread(gateway.came.wait, LIMIT)
            for call in (
                client.converse(ASK, timeout=0.05),
                client.stream(ASK, timeout=0.05).final(),
                client.upload("m", b"x", timeout=0.05),
                client.live("m", timeout=0.05).__anext__(),
            ):
                with pytest.raises(Error) as caught:
                    await asyncio.wait_for(call, LIMIT)
                check(caught.value)
            assert waiting(client) == 0
            door.opens.set()
            await first

    with Client(gateway.address) as client:
        first = client.converse_future(ASK)
        # The deadline of a call is not that of one before it.
        later = client.converse_future(ASK, timeout=60)
        for call in (
            lambda: client.converse(ASK, timeout=0.05),
            lambda: client.stream(ASK, timeout=0.05).final(),
            lambda: client.upload("m", b"x", timeout=0.05),
            lambda: next(client.live("m", timeout=0.05)),
        ):
            with pytest.raises(Error) as caught:
                call()
            check(caught.value)
        assert waiting(client) == 1
        door.opens.set()
        assert first.result().text == later.result().text == "hello"
    door.opens.clear()
    gateway.came.clear()
    asyncio.run(main())
    assert not gateway.cancelled


@pytest.mark.parametrize("interceptors", [(), (Interceptor("a", []),)])
def test_a_stub_has_an_error_of_grpc(gateway: Gateway, door: Door, interceptors: Any) -> None:
    request = v1.ConverseRequest(conversation=ASK.raw)
    with Client(gateway.address, interceptors=interceptors) as client:
        first = client.converse_future(ASK)
        stub = client.conversations
        for call in (
            lambda: stub.Converse(request, 0.05, ()),
            lambda: stub.Converse.with_call(request, timeout=0.05, metadata=()),
            lambda: stub.Converse.future(request, timeout=0.05, metadata=()).result(),
            lambda: next(stub.ConverseStream(v1.ConverseStreamRequest(), 0.05, ())),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            error: Any = caught.value
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert error.details() == "Deadline Exceeded"
        door.opens.set()
        assert first.result().text == "hello"


def test_the_deadline_of_the_call_is_what_is_left(gateway: Gateway, door: Door) -> None:
    left: list[float] = []

    def converse(context: grpc.ServicerContext) -> v1.ConverseResponse:
        left.append(context.time_remaining())
        return door.converse(context)

    gateway.converse = converse
    with Client(gateway.address) as client:
        futures = [client.converse_future(ASK, timeout=4) for _ in range(2)]
        time.sleep(0.3)
        door.opens.set()
        for future in futures:
            future.result()
    # gRPC rounds it.
    assert left[1] < left[0] - 0.2


def test_the_idle_clock_does_not_run_while_a_stream_waits(gateway: Gateway, door: Door) -> None:
    async def main() -> None:
        async with AsyncClient(gateway.address, idle_timeout=0.2) as client:
            first = asyncio.create_task(client.converse(ASK))
            assert await asyncio.to_thread(gateway.came.wait, LIMIT)
            stream = asyncio.create_task(client.stream(ASK).final())
            await asyncio.sleep(0.5)
            door.opens.set()
            assert (await stream).text == (await first).text == "hello"

    with Client(gateway.address, idle_timeout=0.2) as client, ThreadPoolExecutor() as pool:
        first = client.converse_future(ASK)
        stream = pool.submit(client.stream(ASK).final)
        time.sleep(0.5)
        door.opens.set()
        assert stream.result().text == first.result().text == "hello"
    door.opens.clear()
    gateway.came.clear()
    asyncio.run(main())
    # The clock runs when the call has begun.
    over = threading.Event()

    def silent(_: Any) -> Iterator[v1.ConverseStreamResponse]:
        yield STARTED
        over.wait(LIMIT)

    gateway.parts = [silent]
    with Client(gateway.address, idle_timeout=0.2) as client:
        door.opens.clear()
        first = client.converse_future(ASK)
        slow = client.stream(ASK)
        door.opens.set()
        with pytest.raises(Error) as caught:
            slow.final()
        assert caught.value.raw_reason == "STREAM_IDLE"
        over.set()


def test_a_call_that_waits_can_be_cancelled(gateway: Gateway, door: Door) -> None:
    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            first = asyncio.create_task(client.converse(ASK))
            assert await asyncio.to_thread(gateway.came.wait, LIMIT)
            left = asyncio.create_task(client.converse(ASK))
            stream = client.stream(ASK)
            reading = asyncio.create_task(stream.final())
            await until_async(lambda: waiting(client) == 2)
            left.cancel()
            stream.cancel()
            with pytest.raises(asyncio.CancelledError):
                await left
            with pytest.raises(Error, match="left before its end"):
                await reading
            assert waiting(client) == 0
            client.stream(ASK)
            gc.collect()
            assert waiting(client) == 0
            door.opens.set()
            await first

    with Client(gateway.address) as client, ThreadPoolExecutor() as pool:
        first = client.converse_future(ASK)
        future, stream = client.converse_future(ASK), client.stream(ASK)
        results = [pool.submit(future.result), pool.submit(stream.final)]
        future.cancel()
        stream.cancel()
        for result in results:
            with pytest.raises(concurrent.futures.CancelledError):
                result.result(LIMIT)
        assert future.done()
        with client.live("m") as session:
            assert waiting(client) == 1
        with pytest.raises(concurrent.futures.CancelledError):
            next(session)
        # One that nothing refers to is left.
        client.stream(ASK)
        client.converse_future(ASK)
        client.conversations.ConverseStream(v1.ConverseStreamRequest())
        gc.collect()
        assert waiting(client) == 0
        door.opens.set()
        assert first.result().text == "hello"
        assert client.converse(ASK).text == "hello"
    assert len(gateway.requests) == 2
    # The gateway does not have the calls that never began.
    assert not gateway.cancelled
    door.opens.clear()
    gateway.came.clear()
    asyncio.run(main())
    assert not gateway.cancelled


def test_closing_the_client_ends_the_calls_that_wait(gateway: Gateway, door: Door) -> None:
    async def main() -> None:
        client = AsyncClient(gateway.address)
        first = asyncio.create_task(client.converse(ASK))
        assert await asyncio.to_thread(gateway.came.wait, LIMIT)
        tasks = [
            asyncio.create_task(call)
            for call in (
                client.converse(ASK),
                client.stream(ASK).final(),
                client.upload("m", b"x"),
                client.live("m").__anext__(),
            )
        ]
        await until_async(lambda: waiting(client) == 4)
        await client.close()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, Error)
            assert result.code is grpc.StatusCode.CANCELLED
        door.opens.set()
        await asyncio.gather(first, return_exceptions=True)

    client = Client(gateway.address)
    first = client.converse_future(ASK)
    with ThreadPoolExecutor() as pool:
        results: list[Any] = [
            pool.submit(client.converse, ASK),
            pool.submit(lambda: client.stream(ASK).final()),
            pool.submit(client.upload, "m", b"x"),
            pool.submit(lambda: next(client.live("m"))),
        ]
        until(lambda: waiting(client) == 4)
        client.close()
        for result in results:
            with pytest.raises((Error, concurrent.futures.CancelledError)) as caught:
                result.result(LIMIT)
            assert getattr(caught.value, "code", None) in {None, grpc.StatusCode.CANCELLED}
    with pytest.raises(Error):
        first.result()
    door.opens.set()
    door.opens = threading.Event()
    gateway.came.clear()
    asyncio.run(main())


def test_many_calls_that_wait_leave_nothing(
    gateway: Gateway, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lanes, "CALLS_PER_CONNECTION", 4)
    door.opens.set()

    def ask(client: Client, number: int) -> None:
        try:
            if number % 3 == 0:
                client.converse(Conversation("m").user("a"), timeout=0.001 * (number % 60) + 0.001)
            elif number % 3 == 1:
                for _ in client.stream(ASK):
                    break
            else:
                future = client.converse_future(ASK)
                future.cancel()
        except Error:
            pass

    with Client(gateway.address) as client, ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: ask(client, number), range(300)))
        until(lambda: (places(client), waiting(client)) == ([0], 0))
        gateway.events = [STARTED, text("hello"), COMPLETED]
        assert client.stream(ASK).final().text == "hello"


def test_a_call_that_ends_another_one_does_not_wait(gateway: Gateway, door: Door) -> None:
    over = threading.Event()

    def resumable(context: grpc.ServicerContext) -> Iterator[v1.ConverseStreamResponse]:
        context.send_initial_metadata((("dashgate-resumable", "true"),))
        yield v1.ConverseStreamResponse(started=v1.Started(model="m", resumable=True))
        over.wait(LIMIT)

    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            stream = client.stream(ASK, request_id="c")
            events = aiter(stream)
            await anext(events)
            waits = [asyncio.create_task(client.converse(ASK)) for _ in range(2)]
            await until_async(lambda: waiting(client) == 2)
            await client.cancel_call("d")
            stream.cancel()
            await until_async(lambda: "c" in gateway.cancelled)
            door.opens.set()
            await asyncio.gather(*waits)

    gateway.parts = [resumable, resumable]
    with Client(gateway.address) as client:
        stream = client.stream(ASK, request_id="a")
        events = iter(stream)
        next(events)
        waits = [client.converse_future(ASK) for _ in range(2)]
        client.cancel_call("b")
        assert waiting(client) == 2
        stream.close()
        until(lambda: "a" in gateway.cancelled)
        door.opens.set()
        assert [each.result().text for each in waits] == ["hello", "hello"]
    door.opens.clear()
    asyncio.run(main())
    assert gateway.cancelled == ["b", "a", "d", "c"]
    over.set()
