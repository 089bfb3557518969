"""Tests of deadlines that end before the gateway has a call, or while it shuts down."""

from __future__ import annotations

import asyncio
import pathlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from callers import ASK
from gateway import LIMIT, Gateway
from test_waiting import until, until_async

import dashgate
from dashgate import AsyncClient, Client, Conversation, Error, _lanes
from dashgate._large_files import LARGE


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def slow(gateway: Gateway) -> Iterator[Gateway]:
    """A gateway that answers nothing."""
    over = threading.Event()
    gateway.silent, gateway.events = True, []
    gateway.converse = lambda _: over.wait(LIMIT)  # type: ignore[assignment,return-value]
    gateway.ended.wait = over.wait  # type: ignore[method-assign]
    yield gateway
    over.set()


def is_unreached(error: Error, address: str) -> None:
    assert error.code is grpc.StatusCode.UNAVAILABLE, error
    assert error.retryable
    assert error.message == f"{address}: no connection could be made in time"
    assert str(error).endswith(f" (request id {error.request_id})")


def is_late(error: Error) -> None:
    assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert error.raw_reason == "DEADLINE_EXCEEDED"
    assert not error.retryable
    assert error.request_id


def failure(call: Any) -> Error:
    with pytest.raises(Error) as caught:
        call()
    return caught.value


async def async_failure(call: Any) -> Error:
    with pytest.raises(Error) as caught:
        await call
    return caught.value


@pytest.mark.parametrize("scheme", ["", "dns:///"])
def test_a_gateway_that_shuts_down_during_a_slow_call(slow: Gateway, scheme: str) -> None:
    with Client(scheme + slow.address) as client, ThreadPoolExecutor() as pool:
        client.cancel_call("r")
        calls = [
            pool.submit(failure, lambda: client.converse(ASK, timeout=1.5)),
            pool.submit(failure, lambda: client.stream(ASK, timeout=1.5).final()),
            pool.submit(failure, lambda: client.stream(ASK, timeout=1.5, resume=False).final()),
        ]
        until(lambda: len(slow.requests) == len(calls))
        slow.shut_down()
        time.sleep(0.3)
        # It is refused, and the channel connects for it.
        other = failure(lambda: client.converse(ASK, timeout=0.3))
        assert other.code is grpc.StatusCode.UNAVAILABLE
        assert other.retryable
        for call in calls:
            is_late(call.result())


def test_a_gateway_that_shuts_down_during_the_first_tasks(slow: Gateway) -> None:
    async def main() -> None:
        async with AsyncClient(slow.address) as client:
            calls = [
                asyncio.create_task(async_failure(client.converse(ASK, timeout=1.5))),
                asyncio.create_task(async_failure(client.stream(ASK, timeout=1.5).final())),
            ]
            await until_async(lambda: len(slow.requests) == len(calls))
            slow.shut_down()
            await asyncio.sleep(0.3)
            other = await async_failure(client.converse(ASK, timeout=0.3))
            assert other.code is grpc.StatusCode.UNAVAILABLE
            for error in await asyncio.gather(*calls):
                is_late(error)

    asyncio.run(main())


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection with one place."""
    monkeypatch.setattr(_lanes, "CALLS_PER_CONNECTION", 1)
    monkeypatch.setattr(_lanes, "MAX_CONNECTIONS", 1)


@pytest.mark.usefixtures("narrow")
def test_calls_that_wait_for_a_place(silent: str) -> None:
    with Client(silent) as client:
        first = client.converse_future(ASK)
        for call in (
            lambda: client.converse(ASK, timeout=0.2),
            lambda: client.stream(ASK, timeout=0.2).final(),
            lambda: client.upload("m", b"x", timeout=0.2),
            lambda: next(client.live("m", timeout=0.2)),
        ):
            is_unreached(failure(call), silent)
        first.cancel()


@pytest.mark.usefixtures("narrow")
def test_tasks_that_wait_for_a_place(silent: str) -> None:
    async def main() -> None:
        async with AsyncClient(silent) as client:
            first = asyncio.create_task(client.converse(ASK))
            await asyncio.sleep(0.1)
            for call in (
                client.converse(ASK, timeout=0.2),
                client.stream(ASK, timeout=0.2).final(),
                client.upload("m", b"x", timeout=0.2),
                client.live("m", timeout=0.2).__anext__(),
            ):
                is_unreached(await async_failure(call), silent)
            first.cancel()

    asyncio.run(main())


@pytest.fixture
def large(tmp_path: pathlib.Path) -> Conversation:
    path = tmp_path / "long.wav"
    path.write_bytes(b"RIFF....WAVE".ljust(LARGE + 1, b"\0"))
    return Conversation("m").user(dashgate.audio(path), "What is it?")


TIMEOUTS = [0.3, 0.3, 0.5, 0.8]


# One of the calls uploads the file, the others wait for it.
def test_calls_that_wait_for_an_upload(silent: str, large: Conversation) -> None:
    with Client(silent) as client, ThreadPoolExecutor() as pool:
        calls = [
            pool.submit(failure, lambda limit=limit: client.converse(large, timeout=limit))
            for limit in TIMEOUTS
        ]
        for call in calls:
            is_unreached(call.result(), silent)


def test_tasks_that_wait_for_an_upload(silent: str, large: Conversation) -> None:
    async def main() -> None:
        async with AsyncClient(silent) as client:
            calls = [async_failure(client.converse(large, timeout=limit)) for limit in TIMEOUTS]
            calls.append(async_failure(client.stream(large, timeout=0.3).final()))
            for error in await asyncio.gather(*calls):
                is_unreached(error, silent)

    asyncio.run(main())


def test_an_upload_of_another_call_that_is_slow(gateway: Gateway, large: Conversation) -> None:
    over = threading.Event()
    gateway.uploading = lambda _: (over.wait(LIMIT), None)[1]

    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            calls = [async_failure(client.converse(large, timeout=1)) for _ in range(2)]
            for error in await asyncio.gather(*calls):
                is_late(error)

    with Client(gateway.address) as client, ThreadPoolExecutor() as pool:
        calls = [pool.submit(failure, lambda: client.converse(large, timeout=1)) for _ in range(2)]
        for call in calls:
            is_late(call.result())
    asyncio.run(main())
    over.set()


# Nothing was sent, so that there is no call to end at the gateway.
def test_closing_does_not_wait_for_streams_without_a_connection(silent: str) -> None:
    client = Client(silent)
    left, running = client.stream(ASK), client.stream(ASK)
    failure(lambda: client.stream(ASK, timeout=0.1).final())
    left.close()
    begun = time.monotonic()
    client.close()
    assert time.monotonic() - begun < 1.5
    running.close()


def test_closing_does_not_wait_for_streams_of_a_loop_without_a_connection(silent: str) -> None:
    async def main() -> float:
        client = AsyncClient(silent)
        left, running = client.stream(ASK), client.stream(ASK)
        collected = client.stream(ASK)
        await async_failure(client.stream(ASK, timeout=0.1).final())
        left.cancel()
        del collected
        begun = time.monotonic()
        await client.close()
        running.cancel()
        return time.monotonic() - begun

    assert asyncio.run(main()) < 1.5


def test_a_stream_that_is_left_before_its_headers_ends_its_call(slow: Gateway) -> None:
    async def main() -> None:
        async with AsyncClient(slow.address) as client:
            stream = client.stream(ASK, request_id="b")
            await until_async(lambda: len(slow.requests) == 2)
            stream.cancel()

    with Client(slow.address) as client:
        stream = client.stream(ASK, request_id="a")
        assert slow.came.wait(LIMIT)
        stream.close()
    asyncio.run(main())
    assert slow.cancelled == ["a", "b"]
