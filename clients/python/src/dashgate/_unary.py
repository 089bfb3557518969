"""Waiting for calls that have one response."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar, cast

import grpc
import grpc.aio

from dashgate._failure import from_rpc
from dashgate.errors import Error

_Response = TypeVar("_Response")
_Response_co = TypeVar("_Response_co", covariant=True)

# gRPC's message if the call was cancelled here and not by the server.
_CANCELLED_HERE = "Locally cancelled by application!"


class Pending(Protocol[_Response_co]):
    """The part of gRPC's future that is used."""

    def result(self) -> _Response_co:
        """Wait for the response."""

    def cancel(self) -> object:
        """Cancel the call."""

    def done(self) -> bool:
        """Return whether the call has ended."""


def waited(call: Pending[_Response], request_id: str) -> _Response:
    """Wait for the response of a call."""
    try:
        return call.result()
    except grpc.FutureCancelledError:
        raise concurrent.futures.CancelledError from None
    except grpc.RpcError as error:
        raise from_rpc(cast("Any", error), request_id) from None
    except BaseException:
        # Ctrl-C was pressed: the answer is not needed.
        call.cancel()
        raise


async def awaited(call: Awaitable[_Response], request_id: str) -> _Response:
    """Wait for the response of an asynchronous call."""
    try:
        return await call
    except asyncio.CancelledError:
        await raise_if_cancelled_there(call, request_id)
        raise
    except grpc.aio.AioRpcError as error:
        raise from_rpc(cast("Any", error), request_id) from None


async def raise_if_cancelled_there(call: Any, request_id: str) -> None:
    """Distinguish CANCELLED of a server or proxy, an error, from a cancellation by the caller."""
    if call.done() and (details := await call.details()) != _CANCELLED_HERE:
        raise Error(grpc.StatusCode.CANCELLED, details or "", request_id=request_id) from None
