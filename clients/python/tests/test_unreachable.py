"""Tests of every form of call against servers that are not there, in both clients."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from callers import ASK, Caller
from gateway import LIMIT, Gateway

import dashgate
from dashgate import AsyncClient, Client, Error, Tool
from dashgate._reach import _unreached

# Every retry would take seconds, and is tested elsewhere.
OPTIONS = {"channel_options": [("grpc.enable_retries", 0)]}

CALLS: dict[str, tuple[Any, ...]] = {
    "converse": (ASK,),
    "stream": (ASK,),
    "run_tools": (ASK, [Tool("f", "", "", str)]),
    "stream_tools": (ASK, [Tool("f", "", "", str)]),
    "upload": ("m", b"x"),
    "list_models": (),
    "get_model": ("m",),
    "cancel_call": ("r",),
    # Without an id, so that it is not retried.
    "create_conversation": (),
    "list_turns": ("conversations/a",),
}


@contextmanager
def closed() -> Iterator[str]:
    # Below the ports that the system chooses for others.
    yield "127.0.0.1:5999"


@contextmanager
def closes_at_once() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    server.accept()[0].close()
                except TimeoutError:
                    continue

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        over.set()
        thread.join(LIMIT)


@contextmanager
def no_name() -> Iterator[str]:
    yield "dns:///no-such-host.invalid:1"


PLACES = [closed, closes_at_once, no_name]


def is_unreachable(error: Error) -> bool:
    return (error.code, error.raw_reason, error.retry_after, error.retryable) == (
        grpc.StatusCode.UNAVAILABLE,
        "",
        None,
        True,
    )


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("method", CALLS)
def test_a_gateway_that_is_not_there(method: str, place: Any, is_async: bool) -> None:
    with place() as address, pytest.raises(Error) as caught:
        Caller(address, is_async=is_async).on(OPTIONS, method, *CALLS[method])
    assert is_unreachable(caught.value)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("method", ["live", "speak"])
def test_a_session_of_a_gateway_that_is_not_there(method: str, place: Callable[[], Any]) -> None:
    async def read(address: str) -> None:
        async with AsyncClient(address) as client, getattr(client, method)("m") as session:
            async for _ in session:
                pass

    with place() as address:
        with (
            Client(address) as client,
            getattr(client, method)("m") as session,
            pytest.raises(Error) as caught,
        ):
            next(session)
        assert is_unreachable(caught.value)
        with pytest.raises(Error) as caught:
            asyncio.run(read(address))
        assert is_unreachable(caught.value)


def test_tls_to_a_port_without(gateway: Gateway, call: Caller) -> None:
    call.address = f"https://{gateway.address}"
    with pytest.raises(Error) as caught:
        call.on({**OPTIONS, "tls": dashgate.TLS()}, "converse", ASK)
    assert is_unreachable(caught.value)


@contextmanager
def half_open() -> Iterator[str]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


CAUSES: list[tuple[Any, str]] = [
    (closed, "(?i)connection refused"),
    (half_open, "no connection could be made in time"),
    (no_name, "no-such-host.invalid"),
]


def is_explained(error: Error, address: str, cause: str) -> bool:
    assert re.search(cause, error.message), error.message
    assert address.removeprefix("dns:///") in error.message
    assert is_unreachable(error)
    return str(error).endswith(f" (request id {error.request_id})")


# The deadline ends between the retries of gRPC.
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(("place", "cause"), CAUSES)
@pytest.mark.parametrize("method", CALLS)
def test_a_deadline_before_the_gateway_is_reached(
    method: str, place: Any, cause: str, is_async: bool
) -> None:
    with place() as address, pytest.raises(Error) as caught:
        Caller(address, is_async=is_async)(method, *CALLS[method], timeout=0.7)
    assert is_explained(caught.value, address, cause)


@pytest.mark.parametrize(("place", "cause"), CAUSES)
@pytest.mark.parametrize("method", ["live", "speak"])
def test_a_session_whose_deadline_ends_before(method: str, place: Any, cause: str) -> None:
    async def read(address: str) -> None:
        async with (
            AsyncClient(address) as client,
            getattr(client, method)("m", timeout=0.5) as session,
        ):
            await anext(session)

    with place() as address:
        with (
            Client(address) as client,
            getattr(client, method)("m", timeout=0.5) as session,
            pytest.raises(Error) as caught,
        ):
            next(session)
        assert is_explained(caught.value, address, cause)
        with pytest.raises(Error) as caught:
            asyncio.run(read(address))
        assert is_explained(caught.value, address, cause)


@pytest.mark.parametrize("is_async", [False, True])
def test_an_idle_timeout_before_the_gateway_is_reached(is_async: bool) -> None:
    with half_open() as address, pytest.raises(Error) as caught:
        Caller(address, is_async=is_async).on({"idle_timeout": 0.3}, "stream", ASK)
    assert is_explained(caught.value, address, "no connection could be made in time")


def test_a_slow_gateway_that_was_reached(gateway: Gateway, call: Caller) -> None:
    gateway.silent, gateway.events = True, []
    gateway.converse = lambda _: gateway.ended.wait(LIMIT)  # type: ignore[assignment,return-value]
    for method in ("converse", "stream"):
        gateway.ended.clear()
        with pytest.raises(Error) as caught:
            # A busy machine connects within it.
            call(method, ASK, timeout=2)
        assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert caught.value.raw_reason == "DEADLINE_EXCEEDED"
        assert not caught.value.retryable
        # Otherwise its end may be taken for that of the next call.
        assert gateway.ended.wait(LIMIT)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("method", ["converse", "stream", "upload", "create_conversation"])
def test_the_log_has_the_cause(
    method: str, is_async: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DASHGATE_LOG", "debug")
    with closed() as address, pytest.raises(Error):
        Caller(address, is_async=is_async)(method, *CALLS[method], timeout=0.7)
    lines = [line for line in caplog.messages if "attempt failed" in line]
    assert len(lines) == 1 + sum(" retry in " in line for line in caplog.messages)
    assert all("UNAVAILABLE: " in line and "onnection refused" in line for line in lines)
    assert sum(" ms, request id" in line and "retry" not in line for line in caplog.messages) == 1


_STATES = grpc.ChannelConnectivity


@pytest.mark.parametrize(
    ("states", "found"),
    [
        ([_STATES.TRANSIENT_FAILURE, _STATES.IDLE], (0, True)),
        ([_STATES.IDLE, _STATES.CONNECTING], (1, False)),
        ([_STATES.CONNECTING, _STATES.TRANSIENT_FAILURE], (1, True)),
        ([_STATES.TRANSIENT_FAILURE, _STATES.READY], None),
        ([_STATES.IDLE], None),
        ([None, _STATES.CONNECTING], None),
        ([], None),
    ],
)
def test_connections_that_their_calls_have_left(states: Any, found: Any) -> None:
    assert _unreached(list(enumerate(states))) == found
