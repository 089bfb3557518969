"""Calls that have one response."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar, cast

import grpc
import grpc.aio

from dashgate._exit import is_finalizing
from dashgate._failure import from_rpc
from dashgate._headers import header_texts
from dashgate._log import is_logged
from dashgate._reach import AsyncReach, Attempt, Reach
from dashgate._retry import Retries
from dashgate.errors import Error

_Response = TypeVar("_Response")
_Response_co = TypeVar("_Response_co", covariant=True)

# gRPC's message if the call was cancelled here and not by the server.
_CANCELLED_HERE = "Locally cancelled by application!"


class Pending(Protocol[_Response_co]):
    """The part of gRPC's future that is used."""

    def result(self) -> _Response_co:
        """Wait for the response."""

    def exception(self) -> BaseException | None:
        """Wait for the end of the call."""

    def cancel(self) -> object:
        """Cancel the call."""

    def done(self) -> bool:
        """Return whether the call has ended."""


class Running(Generic[_Response]):
    """A call of the synchronous client. It is made again while somebody waits for its result."""

    def __init__(
        self,
        begin: Callable[[float | None], Any],
        retries: Retries,
        request_id: str,
        reach: Reach,
    ) -> None:
        self.request_id = request_id
        self._reach = reach
        self._begin = begin
        self._retries = retries
        self._cancelled = threading.Event()
        # Held by the thread that waits, for all that do.
        self._waiting = threading.Lock()
        self._ended = False
        self._error: Exception | None = None
        self._call: Any = None
        self._open()

    def result(self) -> _Response:
        """Wait for the response."""
        with self._waiting:
            if self._error is not None:
                raise self._error
            try:
                response = self._wait()
            except Exception as error:
                self._error = error
                self._retries.log.ended(error)
                raise
            finally:
                self._ended = True
            self._retries.log.ended()
            return response

    def headers(self) -> Mapping[str, str]:
        """Return the metadata of the response, which has come."""
        return header_texts(self._call.initial_metadata(), self._call.trailing_metadata())

    def cancel(self) -> None:
        """Cancel the call."""
        if is_finalizing():
            return
        self._cancelled.set()
        self._call.cancel()

    def done(self) -> bool:
        """Return whether `result` returns at once."""
        return self._ended or (self._call.done() and not self._is_repeated(self._call))

    def _open(self) -> None:
        self._call = self._begin(self._retries.deadline.remaining())
        self._attempt = self._reach.attempt(self._call)
        if is_logged():
            # It may end before a thread waits for it, or without one.
            self._call.add_done_callback(self._log_end)

    def _log_end(self, call: Any) -> None:
        if not self._is_repeated(call):
            self._retries.log.ended(self._failure(call))

    def _is_repeated(self, call: Any) -> bool:
        """Return whether a call that has ended may be made again."""
        failure = self._failure(call)
        return isinstance(failure, Error) and self._retries.may_repeat(failure)

    def _failure(self, call: Any) -> BaseException | None:
        if call.cancelled():
            return concurrent.futures.CancelledError()
        failed = call.exception()
        if isinstance(failed, grpc.RpcError):
            error = from_rpc(cast("Any", failed), self.request_id)
            return self._reach.explained(error, self._attempt)
        return cast("BaseException | None", failed)

    def _wait(self) -> _Response:
        while True:
            try:
                return cast("_Response", waited(self._attempt, self.request_id, self._reach))
            except Error as error:
                delay = self._retries.delay(error)
            if not self._cancelled.wait(delay):
                self._open()
            # Also if it was cancelled while the call was made.
            if self._cancelled.is_set():
                self._call.cancel()
                raise concurrent.futures.CancelledError


def waited(attempt: Attempt, request_id: str, reach: Reach) -> Any:
    """Wait for the response of a call."""
    call: Pending[Any] = attempt.call
    try:
        return call.result()
    except grpc.FutureCancelledError:
        raise concurrent.futures.CancelledError from None
    except grpc.RpcError as error:
        raise reach.explained(from_rpc(cast("Any", error), request_id), attempt) from None
    except BaseException:
        # Ctrl-C was pressed: the answer is not needed.
        call.cancel()
        raise


async def completed(
    begin: Callable[[float | None], Any], retries: Retries, request_id: str, reach: AsyncReach
) -> tuple[Any, Mapping[str, str]]:
    """Make a call of the client for asyncio. Return the response and its metadata."""
    try:
        while True:
            call = begin(retries.deadline.remaining())
            try:
                response = await awaited(reach.attempt(call), request_id, reach)
            except Error as error:
                delay = retries.delay(error)
            else:
                break
            await asyncio.sleep(delay)
        headers = header_texts(await call.initial_metadata(), await call.trailing_metadata())
    except BaseException as error:
        retries.log.ended(error)
        raise
    retries.log.ended()
    return response, headers


async def awaited(attempt: Attempt, request_id: str, reach: AsyncReach) -> Any:
    """Wait for the response of an asynchronous call."""
    call, before = attempt.call, cancellations()
    try:
        return await call
    except asyncio.CancelledError:
        if cancellations() > before:
            raise
        await raise_if_cancelled_there(call, request_id)
        if is_cancelled_task() is False:
            raise closed_error(request_id) from None
        raise
    except grpc.aio.AioRpcError as error:
        raise await reach.explained(from_rpc(cast("Any", error), request_id), attempt) from None


async def raise_if_cancelled_there(call: Any, request_id: str) -> None:
    """Distinguish CANCELLED of a server or proxy, an error, from a cancellation by the caller."""
    if not call.done() or await call.code() is not grpc.StatusCode.CANCELLED:
        return
    if (details := await call.details()) != _CANCELLED_HERE:
        raise Error(grpc.StatusCode.CANCELLED, details or "", request_id=request_id) from None


def cancellations() -> int:
    """Return how often the current task was cancelled. Python 3.10 does not know it: 0.

    One that comes while a task waits ends the wait, whatever else ends it at the same time.
    """
    return getattr(asyncio.current_task(), "cancelling", lambda: 0)()


def is_cancelled_task() -> bool | None:
    """Return whether the current task is cancelled. Python 3.10 does not know it: None."""
    cancelling = getattr(asyncio.current_task(), "cancelling", None)
    return None if cancelling is None else cancelling() > 0


def closed_error(request_id: str) -> Error:
    """Return the error of a call whose channel was closed. Its task was not cancelled."""
    return Error(
        grpc.StatusCode.CANCELLED, "the client was closed during the call", request_id=request_id
    )


def left_error(request_id: str, what: str = "stream") -> Error:
    """Return the error of a stream, or a session, that is used after it was left."""
    return Error(
        grpc.StatusCode.CANCELLED, f"the {what} was left before its end", request_id=request_id
    )


def once_only(fault: BaseException, request_id: str) -> BaseException:
    """Return what a stream that has failed raises when it is read again.

    A cancellation, or what ended the program, was that of the first reader.
    """
    return fault if isinstance(fault, Exception) else left_error(request_id)
