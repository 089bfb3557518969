"""Tests of the calls that end other calls."""

from __future__ import annotations

import threading
import time
from typing import Any

import grpc
import pytest
from gateway import LIMIT

from dashgate import v1
from dashgate._leaving import Leaving
from dashgate._pool import PooledChannel
from dashgate.v1.call_service_pb2_grpc import CallServiceStub


def test_leaving_a_stream_does_not_wait_for_grpc() -> None:
    locked = threading.Event()

    class Stub:
        class CancelCall:
            @staticmethod
            def future(*_arguments: Any, **_options: Any) -> Any:
                locked.wait(LIMIT)
                raise ValueError("the channel is closed")

    leaving = Leaving(Stub)  # type: ignore[arg-type]
    begun = time.monotonic()
    leaving.leave("a", (), lambda: True)
    leaving.leave("b", (), lambda: True)
    assert time.monotonic() - begun < LIMIT / 2
    locked.set()
    leaving.finish()
    assert not leaving._waiting


def test_a_thread_that_leaves_a_stream_as_the_second_one_finds_the_call_of_the_first() -> None:
    sent: list[str] = []
    claimed, second_begins = threading.Event(), threading.Event()

    class Stub:
        class CancelCall:
            @staticmethod
            def future(request: Any, **_options: Any) -> Any:
                sent.append(request.request_id)
                raise ValueError("the channel is closed")

    def first() -> bool:
        claimed.set()
        return second_begins.wait(LIMIT)

    leaving = Leaving(Stub)  # type: ignore[arg-type]
    thread = threading.Thread(target=leaving.leave, args=("a", (), first))
    thread.start()
    assert claimed.wait(LIMIT)
    second_begins.set()
    leaving.leave("a", (), lambda: False)
    leaving.finish()
    assert sent == ["a"]
    thread.join(LIMIT)


def test_a_thread_that_cannot_be_started_is_not_waited_for(monkeypatch: Any) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    leaving = Leaving(object())  # type: ignore[arg-type]
    monkeypatch.setattr(threading.Thread, "start", refuse)
    begun = time.monotonic()
    leaving.leave("a", (), lambda: True)
    leaving.finish()
    assert time.monotonic() - begun < LIMIT / 2


def test_a_closed_client_refuses_calls_of_all_threads() -> None:
    # Without it, gRPC would crash the process.
    def dial() -> grpc.Channel:
        return grpc.insecure_channel("127.0.0.1:1")

    channel = PooledChannel(dial)
    stub = CallServiceStub(channel)
    channel.close()
    with pytest.raises(ValueError, match="the client is closed"):
        stub.CancelCall(v1.CancelCallRequest(request_id="a"))
