"""Tests of streams that are resumed, in both clients, against a scripted server."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from gateway import COMPLETED, LIMIT, STARTED, Event, Gateway, fail, text
from google.rpc import error_details_pb2

from dashgate import AsyncClient, Client, Conversation, Error, v1
from dashgate._backoff import RESUME_ATTEMPTS, Deadline
from dashgate._log import CallLog
from dashgate._resume import Resumption
from dashgate._retry import Retries

ASK = Conversation("m").user("hello?")
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE

Part = Callable[[Any], Iterator[Event]]


def numbered(first: int, *events: Event) -> list[Event]:
    """Give the events their sequence numbers. Started is resumable."""
    copies = [Event.FromString(event.SerializeToString()) for event in events]
    for number, event in enumerate(copies, first):
        event.sequence = number
        if event.HasField("started"):
            event.started.resumable = True
    return copies


def part(events: list[Event], code: grpc.StatusCode | None = None, reason: str = "") -> Part:
    """What one connection has of a stream."""

    def play(context: Any) -> Iterator[Event]:
        yield from events
        if code is not None:
            details = [error_details_pb2.ErrorInfo(reason=reason)] if reason else []
            # With this pushback, gRPC does not retry.
            fail(context, code, "-1", *details)

    return play


def lost(*events: Event) -> Part:
    return part(list(events), UNAVAILABLE)


def waits(*events: Event) -> Part:
    def play(context: Any) -> Iterator[Event]:
        yield from events
        over = threading.Event()
        context.add_callback(over.set)
        over.wait(LIMIT)
        context.abort(grpc.StatusCode.CANCELLED, "over")

    return play


class Streams:
    """The same tests for both clients."""

    def __init__(self, gateway: Gateway, *, is_async: bool) -> None:
        self.gateway = gateway
        self.is_async = is_async
        self.resumes = 0
        self.request_id = ""

    def final(self, **options: Any) -> str:
        if self.is_async:
            return asyncio.run(self._async_final(options))
        with Client(self.gateway.address) as client:
            stream = client.stream(ASK, **options)
            self.request_id = stream.request_id
            try:
                return stream.final().text
            finally:
                self.resumes = stream.resumes

    async def _async_final(self, options: dict[str, Any]) -> str:
        async with AsyncClient(self.gateway.address) as client:
            stream = client.stream(ASK, **options)
            self.request_id = stream.request_id
            try:
                return (await stream.final()).text
            finally:
                self.resumes = stream.resumes

    def leave(self, **options: Any) -> None:
        """Read one event, then leave the loop."""
        if self.is_async:
            asyncio.run(self._async_leave(options))
            return
        with Client(self.gateway.address, api_key="k") as client:
            stream = client.stream(ASK, **options)
            self.request_id = stream.request_id
            for _ in stream:
                break

    async def _async_leave(self, options: dict[str, Any]) -> None:
        async with AsyncClient(self.gateway.address, api_key="k") as client:
            stream = client.stream(ASK, **options)
            self.request_id = stream.request_id
            async with stream:
                async for _ in stream:
                    break


@pytest.fixture(params=["sync", "asyncio"])
def streams(request: pytest.FixtureRequest, gateway: Gateway) -> Streams:
    return Streams(gateway, is_async=request.param == "asyncio")


def test_a_stream_continues_after_a_lost_connection(streams: Streams) -> None:
    streams.gateway.parts = [
        lost(*numbered(1, STARTED, text("a"), text("b"))),
        part(numbered(4, text("c")), grpc.StatusCode.INTERNAL),
        # One that was received is not reported again.
        part(numbered(4, text("c"), text("d")), UNAVAILABLE, "SHUTTING_DOWN"),
        part(numbered(6, COMPLETED)),
    ]
    assert streams.final() == "abcd"
    assert [request.after_sequence for request in streams.gateway.requests] == [0, 3, 4, 5]
    assert {request.request_id for request in streams.gateway.requests} == {streams.request_id}
    assert streams.resumes == 3
    assert streams.gateway.cancelled == []


def test_headers_announce_that_a_stream_can_be_resumed(streams: Streams) -> None:
    def announces(context: Any) -> Iterator[Event]:
        context.send_initial_metadata((("dashgate-resumable", "true"),))
        yield from ()
        # gRPC for asyncio drops metadata that comes together with the status.
        time.sleep(0.2)
        fail(context, UNAVAILABLE, "-1")

    streams.gateway.parts = [announces, part(numbered(1, STARTED, text("a"), COMPLETED))]
    assert streams.final() == "a"
    assert [request.after_sequence for request in streams.gateway.requests] == [0, 0]
    assert streams.resumes == 1


def test_a_connection_that_is_lost_after_the_last_event(streams: Streams) -> None:
    streams.gateway.parts = [lost(*numbered(1, STARTED, text("a"), COMPLETED))]
    assert streams.final() == "a"
    assert streams.resumes == 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.OUT_OF_RANGE, "RESUME_GAP"),
        (grpc.StatusCode.NOT_FOUND, "CALL_NOT_FOUND"),
        (grpc.StatusCode.UNIMPLEMENTED, ""),
    ],
)
def test_a_call_that_is_gone_fails_with_the_first_error(
    streams: Streams, code: grpc.StatusCode, reason: str
) -> None:
    streams.gateway.parts = [lost(*numbered(1, STARTED, text("a"))), part([], code, reason)]
    with pytest.raises(Error) as raised:
        streams.final()
    assert raised.value.code is UNAVAILABLE
    assert raised.value.output_started
    assert streams.gateway.cancelled == []


def test_a_resumed_stream_with_missing_events_fails_with_the_first_error(streams: Streams) -> None:
    streams.gateway.parts = [
        lost(*numbered(1, STARTED, text("a"))),
        part(numbered(4, text("late"), COMPLETED)),
    ]
    with pytest.raises(Error) as raised:
        streams.final()
    assert raised.value.code is UNAVAILABLE


def test_the_connection_of_a_stream_with_missing_events_is_cancelled(gateway: Gateway) -> None:
    over = threading.Event()

    def late(context: Any) -> Iterator[Event]:
        context.add_callback(over.set)
        yield from numbered(4, text("late"))
        over.wait(LIMIT)

    gateway.parts = [lost(*numbered(1, STARTED)), late] * 2
    with Client(gateway.address) as client:
        stream = client.stream(ASK)
        with pytest.raises(Error):
            stream.final()
        assert over.wait(LIMIT / 2)
    over.clear()

    async def main() -> None:
        async with AsyncClient(gateway.address) as other:
            stream = other.stream(ASK)
            with pytest.raises(Error):
                await stream.final()
            assert await asyncio.to_thread(over.wait, LIMIT / 2)

    asyncio.run(main())


def test_other_errors_of_a_resumed_stream_are_its_errors(streams: Streams) -> None:
    streams.gateway.parts = [
        lost(*numbered(1, STARTED, text("a"))),
        part([], grpc.StatusCode.ABORTED, "CALL_CANCELLED"),
    ]
    with pytest.raises(Error) as raised:
        streams.final()
    assert raised.value.raw_reason == "CALL_CANCELLED"
    assert raised.value.output_started


@pytest.mark.parametrize(
    ("played", "options"),
    [
        (lost(*numbered(1, STARTED)), {"resume": False}),
        (lost(STARTED, text("older gateway")), {}),
        (part(numbered(1, STARTED), grpc.StatusCode.INTERNAL, "OWNER_LOST"), {}),
        (part(numbered(1, STARTED)), {}),
    ],
)
def test_a_stream_that_is_not_resumed(
    streams: Streams, played: Part, options: dict[str, Any]
) -> None:
    streams.gateway.parts = [played]
    with pytest.raises(Error):
        streams.final(**options)
    assert streams.resumes == 0
    assert len(streams.gateway.requests) == 1
    assert streams.gateway.cancelled == []


def resumption(timeout: float | None) -> Resumption:
    retries = Retries(CallLog("ConverseStream", "r", "here"), Deadline(timeout))
    return Resumption(v1.ConverseStreamRequest(resumable=True), retries, named=False)


def test_attempts_are_limited_and_the_first_error_is_raised() -> None:
    state = resumption(timeout=None)
    assert state.received(numbered(1, STARTED)[0])
    delays = [state.failed(Error(UNAVAILABLE, str(number))) for number in range(RESUME_ATTEMPTS)]
    assert all(delay is not None and delay <= 5 for delay in delays)
    with pytest.raises(Error, match="0"):
        state.failed(Error(UNAVAILABLE, "last"))


def test_a_delay_ends_at_the_deadline() -> None:
    state = resumption(timeout=0.05)
    assert state.received(numbered(1, STARTED)[0])
    delay = state.failed(Error(UNAVAILABLE, "", retry_after=3.0))
    assert delay is not None
    assert delay <= 0.05


def test_the_deadline_applies_to_all_connections(streams: Streams) -> None:
    streams.gateway.parts = [lost(*numbered(1, STARTED)), waits()]
    started = time.monotonic()
    with pytest.raises(Error) as raised:
        streams.final(timeout=0.8)
    assert raised.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < LIMIT
    assert streams.gateway.cancelled == [streams.request_id]


def test_a_deadline_does_not_cancel_a_call_with_a_given_id(streams: Streams) -> None:
    streams.gateway.parts = [waits(*numbered(1, STARTED))]
    with pytest.raises(Error):
        streams.final(timeout=0.3, request_id="mine")
    assert streams.gateway.cancelled == []


def test_leaving_a_stream_cancels_its_call(streams: Streams) -> None:
    streams.gateway.parts = [waits(*numbered(1, STARTED, text("a")))]
    streams.leave()
    # Closing the client has waited for it.
    assert streams.gateway.cancelled == [streams.request_id]
    assert streams.gateway.metadata[-1]["authorization"] == "Bearer k"


def test_leaving_cancels_nothing_that_ends_with_its_connection(streams: Streams) -> None:
    streams.gateway.parts = [waits(*numbered(1, STARTED)), waits(STARTED)]
    streams.leave(resume=False)
    streams.leave()
    assert streams.gateway.cancelled == []


def test_cancellation_ends_the_wait_for_another_attempt(gateway: Gateway) -> None:
    gateway.parts = [lost(*numbered(1, STARTED))]
    with Client(gateway.address) as client:
        stream = client.stream(ASK)
        begun = time.monotonic()
        threading.Timer(0.2, stream.cancel).start()
        gateway.parts += [part([], UNAVAILABLE)] * RESUME_ATTEMPTS
        with pytest.raises(concurrent.futures.CancelledError):
            stream.final()
        assert time.monotonic() - begun < LIMIT / 4
    assert gateway.cancelled == [stream.request_id]


def test_a_collected_stream_cancels_its_call(gateway: Gateway) -> None:
    gateway.parts = [waits(*numbered(1, STARTED))]
    with Client(gateway.address) as client:
        stream = client.stream(ASK)
        stream._next()
        del stream
        gc.collect()
        assert gateway.cancel_came.wait(LIMIT)


def test_a_collected_asynchronous_stream_cancels_its_call(gateway: Gateway) -> None:
    gateway.parts = [waits(*numbered(1, STARTED))]

    async def main() -> str:
        async with AsyncClient(gateway.address) as client:
            stream = client.stream(ASK)
            await stream._next()
            request_id = stream.request_id
            del stream
            gc.collect()
        return request_id

    request_id = asyncio.run(main())
    assert gateway.cancelled == [request_id]


def test_an_interrupted_reader_cancels_the_call(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.parts = [waits(*numbered(1, STARTED))]
    with Client(gateway.address) as client:
        stream = client.stream(ASK)
        stream._next()

        def interrupted() -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(stream, "_read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stream.final()
    assert gateway.cancelled == [stream.request_id]


def test_closing_the_client_cancels_the_calls_of_its_streams(gateway: Gateway) -> None:
    gateway.parts = [waits(*numbered(1, STARTED)), waits(*numbered(1, STARTED))]
    with Client(gateway.address) as client:
        stream = client.stream(ASK)
        stream._next()

    async def main() -> str:
        async with AsyncClient(gateway.address) as other:
            its_stream = other.stream(ASK)
            await its_stream._next()
        return its_stream.request_id

    request_id = asyncio.run(main())
    assert gateway.cancelled == [stream.request_id, request_id]


def test_cancelling_a_stream_that_has_failed_cancels_no_call(gateway: Gateway) -> None:
    gateway.parts = [waits(*numbered(1, STARTED))]
    with Client(gateway.address) as client:
        stream = client.stream(ASK, timeout=0.3, request_id="mine")
        with pytest.raises(Error):
            stream.final()
        stream.cancel()
    assert gateway.cancelled == []


def test_a_client_whose_close_is_cancelled_closes_its_channel(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.parts = [waits(*numbered(1, STARTED))]

    async def forever() -> None:
        await asyncio.Event().wait()

    async def main() -> grpc.ChannelConnectivity:
        client = AsyncClient(gateway.address)
        stream = client.stream(ASK)
        await stream._next()
        connection = stream._connection
        monkeypatch.setattr(connection.leaving, "finish", forever)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.close(), 0.2)
        return connection.channel.get_state()

    assert asyncio.run(main()) is grpc.ChannelConnectivity.SHUTDOWN


def test_a_call_is_cancelled_by_its_request_id(gateway: Gateway) -> None:
    with Client(gateway.address) as client:
        client.cancel_call("one")

    async def main() -> None:
        async with AsyncClient(gateway.address) as other:
            await other.cancel_call("two")

    asyncio.run(main())
    assert gateway.cancelled == ["one", "two"]
