"""Tests of every form of call against servers that are not there, in both clients."""

from __future__ import annotations

import asyncio
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
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"127.0.0.1:{port}"


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
