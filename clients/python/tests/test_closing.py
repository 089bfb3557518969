"""Tests of clients and channels that are closed while they are used."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from callers import ASK
from gateway import INFO, LIMIT, STARTED, Gateway, answer, fail

from dashgate import AsyncClient, Client, Error, v1
from dashgate._pool import PooledChannel
from dashgate.v1.call_service_pb2_grpc import CallServiceStub

# gRPC ends the process if a registered method is looked up in a closed channel.
CLOSED = """
import grpc, dashgate
channel = grpc.insecure_channel("127.0.0.1:1")
client = dashgate.Client.from_channel(channel)
channel.close()
ask = dashgate.Conversation("m").user("hello?")
calls = [
    lambda: client.converse(ask),
    lambda: client.stream(ask).final(),
    lambda: client.upload("m", b"x"),
    lambda: next(client.live("m")),
    lambda: next(client.list_models()),
    lambda: client.conversations.Converse(dashgate.v1.ConverseRequest()),
]
for call in calls:
    try:
        call()
    except ValueError as error:
        assert "closed" in str(error)
    else:
        raise AssertionError("it was called")
"""


EXIT = """
import sys, dashgate
from dashgate import _lanes
if sys.argv[2] == "waiting":
    _lanes.CALLS_PER_CONNECTION = _lanes.MAX_CONNECTIONS = 1
client = dashgate.Client(sys.argv[1])
ask = dashgate.Conversation("m").user("hello?")
first = client.stream(ask)
if sys.argv[2] == "live":
    session = client.live("m")
    next(session)
else:
    next(iter(first))
    second, future = client.stream(ask), client.converse_future(ask)
"""


@pytest.mark.parametrize("kind", ["stream", "live", "waiting"])
def test_a_program_ends_with_what_it_has_left_open(gateway: Gateway, kind: str) -> None:
    gateway.events, gateway.silent = [STARTED], True
    command = [sys.executable, "-W", "error", "-c", EXIT, gateway.address, kind]
    done = subprocess.run(command, check=True, timeout=LIMIT, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert gateway.ended.wait(LIMIT)


def test_a_channel_that_its_owner_has_closed_is_an_error() -> None:
    subprocess.run([sys.executable, "-c", CLOSED], check=True, timeout=LIMIT)


def test_a_channel_of_asyncio_that_its_owner_has_closed_is_an_error() -> None:
    async def main() -> None:
        channel = grpc.aio.insecure_channel("127.0.0.1:1")
        client = AsyncClient.from_channel(channel)
        await channel.close()
        for call in (
            lambda: client.converse(ASK),
            lambda: client.upload("m", b"x"),
            lambda: anext(client.list_models()),
            lambda: client.live("m").__aenter__(),
        ):
            with pytest.raises(ValueError, match="the channel is closed"):
                await call()
        with pytest.raises(ValueError, match="the channel is closed"):
            client.stream(ASK)

    asyncio.run(main())


def test_a_thread_that_closes_the_client_before_a_call_of_another_one() -> None:
    class Channel:
        """A channel that is closed while a call is made."""

        def unary_unary(self, *_: Any, **__: Any) -> Callable[..., Any]:
            def call(*_: Any, **__: Any) -> None:
                pool.close()
                raise ValueError("Cannot invoke RPC: Channel closed!")

            return call

        def close(self) -> None:
            pass

    pool = PooledChannel(Channel)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the client is closed"):
        CallServiceStub(pool).CancelCall(v1.CancelCallRequest(request_id="a"))


async def _slow(gateway: Gateway) -> AsyncIterator[bytes]:
    yield b"x"
    while not gateway.ended.is_set():  # noqa: ASYNC110 - an event of a thread
        await asyncio.sleep(0.01)


class Reader:
    """A reader whose second read waits."""

    def __init__(self, gateway: Gateway) -> None:
        self.pieces = _slow(gateway)

    async def read(self, _: int, /) -> bytes:
        return await anext(self.pieces, b"")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a task does not know if it is cancelled")
@pytest.mark.parametrize("closed", ["client", "channel"])
@pytest.mark.parametrize("method", ["converse", "stream", "upload", "live"])
def test_closing_is_no_cancellation_of_a_task(gateway: Gateway, method: str, closed: str) -> None:
    over = threading.Event()

    def wait(_: grpc.ServicerContext) -> Any:
        gateway.came.set()
        over.wait(LIMIT)
        return answer("late")

    gateway.converse = wait
    gateway.uploading = wait
    gateway.events, gateway.silent = [STARTED], True

    async def call(client: AsyncClient) -> None:
        if method == "converse":
            await client.converse(ASK)
        elif method == "stream":
            await client.stream(ASK).final()
        elif method == "upload":
            await client.upload("m", b"x")
        else:
            async with client.live("m") as session:
                async for _ in session:
                    pass

    async def main() -> None:
        channel = grpc.aio.insecure_channel(gateway.address)
        client = AsyncClient(gateway.address)
        if closed == "channel":
            client = AsyncClient.from_channel(channel)
        task = asyncio.create_task(call(client))
        assert await asyncio.to_thread(gateway.came.wait, LIMIT)
        await (client if closed == "client" else channel).close()
        with pytest.raises(Error) as caught:
            await asyncio.wait_for(task, LIMIT)
        assert caught.value.code is grpc.StatusCode.CANCELLED
        over.set()
        await channel.close()

    asyncio.run(main())


@pytest.mark.parametrize("method", ["upload", "live"])
def test_a_stream_of_requests_that_is_closed_at_once_ends(gateway: Gateway, method: str) -> None:
    # gRPC waits for ever for the connection of such a call.
    async def call(client: AsyncClient) -> None:
        if method == "upload":
            await client.upload("m", Reader(gateway))
        else:
            async with client.live("m") as session:
                await session.send_text("a")
                await session.__anext__()

    async def main() -> None:
        for turns in range(8):
            client = AsyncClient(gateway.address)
            task = asyncio.create_task(call(client))
            for _ in range(turns):
                await asyncio.sleep(0)
            await client.close()
            with pytest.raises((Error, ValueError, asyncio.CancelledError)):
                await asyncio.wait_for(task, LIMIT)

    asyncio.run(main())


def test_an_upload_has_the_error_that_ends_it(gateway: Gateway) -> None:
    # Also while a chunk is written, or read from a reader that waits.
    def refuse(self: Gateway, requests: Any, context: Any) -> Any:
        next(requests)
        fail(context, grpc.StatusCode.PERMISSION_DENIED, "-1", INFO)

    gateway.reading = refuse

    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            sources: list[Any] = [bytes(20_000_000)] * 10
            for source in [*sources, Reader(gateway)]:
                with pytest.raises(Error) as caught:
                    await asyncio.wait_for(client.upload("m", source), LIMIT)
                assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED
                assert caught.value.raw_reason == "UPSTREAM_RATE"

    asyncio.run(main())


def test_threads_may_close_a_client_that_others_use(gateway: Gateway) -> None:
    """The stress of it, for a moment: a crash of gRPC ends the process of the tests."""
    faults: list[BaseException] = []

    def use(client: Client, begun: threading.Barrier) -> None:
        begun.wait(LIMIT)
        while True:
            try:
                client.converse(ASK)
                client.stream(ASK).final()
                client.upload("m", b"x")
            except Exception as error:
                if "closed" in str(error):
                    return
                if not isinstance(error, Error):
                    faults.append(error)

    for _ in range(10):
        client = Client(gateway.address)
        begun = threading.Barrier(5)
        threads = [threading.Thread(target=use, args=(client, begun)) for _ in range(4)]
        for thread in threads:
            thread.start()
        begun.wait(LIMIT)
        threading.Timer(0.02, client.close).start()
        client.close()
        for thread in threads:
            thread.join(LIMIT)
            assert not thread.is_alive()
    assert not [fault for fault in faults if type(fault).__name__ != "CancelledError"]
