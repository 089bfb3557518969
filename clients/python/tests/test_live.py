"""Tests of live sessions of both clients, against a scripted server."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from gateway import LIMIT, Gateway, fail, live_started
from google.rpc import error_details_pb2

from dashgate import AsyncClient, Client, Error, v1

# More than the flow control windows of both sides.
MUCH = 256
PIECE = bytes(256 * 1024)


def unread(started: threading.Event) -> Any:
    """Return a session that reads nothing until the event is set."""

    def play(requests: Iterator[Any], _context: Any) -> Iterator[v1.ConverseLiveResponse]:
        yield live_started()
        started.wait(LIMIT)
        for _ in requests:
            pass
        yield v1.ConverseLiveResponse(sequence=2, session_ended=v1.SessionEnded())

    return play


def test_messages_and_events_alternate(gateway: Gateway) -> None:
    with Client(gateway.address) as client, client.live("m") as session:
        assert next(session).HasField("session_started")
        assert (session.session_id, session.ended) == ("s", None)
        for text in ("one", "two"):
            session.send_text(text)
            assert next(session).response_delta.text == text
        session.finish()
        assert [event.WhichOneof("event") for event in session] == ["session_ended"]
        assert session.ended is not None
        assert session.ended.responses == 1
        with pytest.raises(ValueError, match=r"finished|ended"):
            session.send_text("late")
    assert gateway.requests[0].setup.model == "m"


def test_a_loop_that_is_left_does_not_end_the_session(gateway: Gateway) -> None:
    with Client(gateway.address) as client, client.live("m") as session:
        for _ in session:
            break
        session.send_text("still")
        assert next(session).response_delta.text == "still"


def test_sending_waits_while_the_gateway_reads_nothing(gateway: Gateway) -> None:
    reads = threading.Event()
    gateway.live = unread(reads)
    with Client(gateway.address) as client, client.live("m") as session:
        sent = []

        def speak() -> None:
            for number in range(MUCH):
                session.send_audio(PIECE)
                sent.append(number)
            session.finish()

        speaking = threading.Thread(target=speak)
        speaking.start()
        speaking.join(1)
        assert speaking.is_alive()
        assert len(sent) < MUCH
        reads.set()
        assert [event.WhichOneof("event") for event in session][-1] == "session_ended"
        speaking.join(LIMIT)
        assert len(sent) == MUCH


def test_closing_ends_readers_and_senders_of_other_threads(gateway: Gateway) -> None:
    gateway.live = unread(threading.Event())
    with Client(gateway.address) as client:
        session = client.live("m")
        next(session)
        threading.Timer(0.2, session.close).start()
        with pytest.raises(concurrent.futures.CancelledError):
            next(session)
        with pytest.raises(concurrent.futures.CancelledError):
            session.send_text("late")
    assert gateway.ended.wait(LIMIT)


def test_closing_while_another_stream_is_opened_ends_the_session(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def play(requests: Iterator[Any], context: Any) -> Iterator[v1.ConverseLiveResponse]:
        yield live_started()
        if len(gateway.requests) == 1:
            fail(context, grpc.StatusCode.UNAVAILABLE, "10")
        context.add_callback(over.set)
        over.wait(LIMIT)

    gateway.live = play
    with Client(gateway.address) as client:
        session = client.live("m")
        next(session)
        dial = session._dial

        def dial_and_close() -> Any:
            call = dial()
            session.close()
            return call

        monkeypatch.setattr(session, "_dial", dial_and_close)
        with pytest.raises(concurrent.futures.CancelledError):
            list(session)
        # The gateway may not have seen it.
        assert session._call.code() is grpc.StatusCode.CANCELLED


def test_a_session_that_is_garbage_ends(gateway: Gateway) -> None:
    with Client(gateway.address) as client:
        session = client.live("m")
        next(session)
        del session
        gc.collect()
        assert gateway.ended.wait(LIMIT)


def test_a_sender_resumes_the_session_alone(gateway: Gateway) -> None:
    broken = threading.Event()

    def play(requests: Iterator[Any], context: Any) -> Iterator[v1.ConverseLiveResponse]:
        if not broken.is_set():
            yield live_started()
            broken.set()
            info = error_details_pb2.ErrorInfo(reason="SHUTTING_DOWN", domain="dashgate")
            fail(context, grpc.StatusCode.UNAVAILABLE, "10", info)
        resume = gateway.requests[-1].setup.resume
        yield live_started(resumed=True, sequence=resume.last_sequence)
        texts = [request.text for request in requests]
        delta = v1.ResponseDelta(text=texts[-1])
        yield v1.ConverseLiveResponse(sequence=2, response_delta=delta)
        yield v1.ConverseLiveResponse(sequence=3, session_ended=v1.SessionEnded())

    gateway.live = play
    with Client(gateway.address) as client, client.live("m") as session:
        next(session)
        assert broken.wait(LIMIT)
        for number in range(100):
            session.send_text(str(number))
            threading.Event().wait(0.005)
        session.finish()
        events = list(session)
    assert [event.WhichOneof("event") for event in events] == [
        "session_started",
        "response_delta",
        "session_ended",
    ]
    assert events[1].response_delta.text == "99"
    assert gateway.requests[-1].setup.resume == v1.ResumeSession(
        session_id="s", token="t", last_sequence=1
    )


def test_asyncio_messages_and_events_alternate(gateway: Gateway) -> None:
    async def talk() -> None:
        async with AsyncClient(gateway.address) as client, client.live("m") as session:
            assert (await anext(session)).HasField("session_started")
            await session.send_text("one")
            async for event in session:
                assert event.response_delta.text == "one"
                break
            await session.finish()
            assert [event.WhichOneof("event") async for event in session] == ["session_ended"]
            with pytest.raises(ValueError, match="finished"):
                await session.send_text("late")

    asyncio.run(talk())


def test_asyncio_a_read_that_times_out_does_not_end_the_session(gateway: Gateway) -> None:
    async def talk() -> None:
        async with AsyncClient(gateway.address) as client, client.live("m") as session:
            await anext(session)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(session), 0.1)
            await session.send_text("one")
            assert (await anext(session)).response_delta.text == "one"
            assert session.resumes == 0

    asyncio.run(talk())


def test_asyncio_sending_waits_while_the_gateway_reads_nothing(gateway: Gateway) -> None:
    reads = threading.Event()
    gateway.live = unread(reads)

    async def talk() -> None:
        async with AsyncClient(gateway.address) as client, client.live("m") as session:

            async def speak() -> None:
                for _ in range(MUCH):
                    await session.send_audio(PIECE)

            await anext(session)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(speak(), 1)
            reads.set()
            await session.send_audio(PIECE)
            await session.finish()
            assert [event.WhichOneof("event") async for event in session] == ["session_ended"]

    asyncio.run(talk())


def test_asyncio_closing_ends_readers(gateway: Gateway) -> None:
    async def talk() -> None:
        async with AsyncClient(gateway.address) as client:
            session = client.live("m")
            await anext(session)
            asyncio.get_running_loop().call_later(0.1, session.cancel)
            # Not a cancellation, which would end a task that was not cancelled.
            for use in (lambda: anext(session), lambda: session.send_audio(PIECE)):
                with pytest.raises(Error) as caught:
                    await use()
                assert caught.value.code is grpc.StatusCode.CANCELLED
            await session.close()

    asyncio.run(talk())
    assert gateway.ended.wait(LIMIT)


def test_a_refusal_is_an_error_with_its_reason(gateway: Gateway) -> None:
    def play(_requests: Iterator[Any], context: Any) -> Iterator[v1.ConverseLiveResponse]:
        failure = v1.CallFailure(reason=v1.SESSION_TAKEN_OVER)
        info = error_details_pb2.ErrorInfo(reason="SESSION_TAKEN_OVER", domain="dashgate")
        fail(context, grpc.StatusCode.ABORTED, "-1", info, failure)
        yield live_started()

    gateway.live = play
    with Client(gateway.address) as client, client.live("m") as session:
        with pytest.raises(Error) as failed:
            next(session)
        assert failed.value.code is grpc.StatusCode.ABORTED
        assert failed.value.reason == v1.SESSION_TAKEN_OVER
        with pytest.raises(Error, match="SESSION_TAKEN_OVER"):
            session.send_text("late")
