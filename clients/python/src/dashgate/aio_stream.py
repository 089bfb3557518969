"""Streamed answers of the client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, TypeAlias, cast

import grpc.aio

from dashgate import v1
from dashgate._aio_connection import AsyncConnection
from dashgate._aio_waiting import has_begun, wait_until_begun
from dashgate._calls import check_complete, idle_error, note_output
from dashgate._failure import from_rpc
from dashgate._headers import header_texts
from dashgate._leaving import SentMetadata
from dashgate._resume import Resumption
from dashgate._unary import (
    cancellations,
    closed_error,
    is_cancelled_task,
    left_error,
    once_only,
    raise_if_cancelled_there,
)
from dashgate.answer import Answer
from dashgate.errors import Error

_Call: TypeAlias = "grpc.aio.UnaryStreamCall[v1.ConverseStreamRequest, v1.ConverseStreamResponse]"


class AsyncStream:
    """A streamed answer: an asynchronous iterator of events.

    It is read once. Leaving it early (`break`, `close`, the end of an `async with`, cancellation of
    the task, or garbage collection) cancels the call.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        idle_timeout: float,
        state: Resumption,
        metadata: SentMetadata,
        prepare: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._connection = connection
        self._idle_timeout = idle_timeout
        self._state = state
        self._metadata = metadata
        self._ended = True
        self._fault: BaseException | None = None
        self._expired = False
        self._cancelled = asyncio.Event()
        self.request_id = state.request_id
        """The request id of the call."""
        self._has_headers = False
        # What precedes the call when the stream is read, if the call cannot begin at once.
        self._prepare = prepare
        self._preparing: asyncio.Future[None] | None = None
        self._call = self._open() if prepare is None else None
        self._ended = False
        connection.streams.add(self)

    @property
    def resumes(self) -> int:
        """How often this stream was tried to be resumed."""
        return self._state.resumes

    @property
    def headers(self) -> Mapping[str, str]:
        """The metadata of the response, as in `Answer`. Empty until the first event was read."""
        return self._state.headers

    @property
    def partial(self) -> Answer | None:
        """The answer that the events so far make, also after an error or after leaving the stream.

        None before the first event that is no heartbeat. A choice that has not ended has no finish
        reason.
        """
        return self._state.partial()

    async def __aiter__(self) -> AsyncIterator[v1.ConverseStreamResponse]:
        try:
            while (event := await self._next()) is not None:
                yield event
        finally:
            self.cancel()

    async def text_deltas(self) -> AsyncIterator[str]:
        """Give the texts of the first choice as they come."""
        try:
            while (event := await self._next()) is not None:
                if event.delta.choice_index == 0 and event.delta.text:
                    yield event.delta.text
        finally:
            self.cancel()

    async def final(self) -> Answer:
        """Read the remaining events and return the complete answer."""
        while await self._next() is not None:
            pass
        return self._state.answer()

    def cancel(self) -> None:
        """Cancel the call, if it has not ended. Readers get an `Error` with `CANCELLED`."""
        if not self._ended:
            self._cancelled.set()
            self._cancel_call()
            self._state.log.ended(asyncio.CancelledError())
            self._leave(None)

    async def close(self) -> None:
        """Close the stream, and cancel the call if it has not ended."""
        self.cancel()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()

    def __del__(self) -> None:
        # gRPC cancels a call that is collected.
        if not self._ended and self._is_known() and self._state.must_leave(None):
            self._connection.leaving.leave_soon(self.request_id, self._metadata)

    def _open(self) -> _Call:
        call = self._connection.conversations.ConverseStream(
            self._state.request, timeout=self._state.deadline.remaining(), metadata=self._metadata
        )
        self._attempt = self._connection.reach.attempt(call)
        return call

    async def _next(self) -> v1.ConverseStreamResponse | None:
        if self._fault is not None:
            raise once_only(self._fault, self.request_id)
        if self._ended:
            return None
        try:
            event = await self._read_unless_left()
        except BaseException as fault:
            note_output(fault, self._state.fold)
            self._ended = True
            self._fault = fault
            self._state.log.ended(fault)
            # The call goes on if an event is missing.
            self._cancel_call()
            self._leave(fault)
            raise
        if event is None:
            self._state.log.ended()
            self._ended = True
        return event

    async def _read_unless_left(self) -> v1.ConverseStreamResponse | None:
        try:
            return await self._read()
        except asyncio.CancelledError:
            cancelled = is_cancelled_task()
            if cancelled or (cancelled is None and not self._cancelled.is_set()):
                raise
            # The task was not cancelled: asyncio would take it for cancelled.
            if not self._cancelled.is_set():
                raise closed_error(self.request_id) from None
            raise left_error(self.request_id) from None

    async def _begun(self) -> _Call:
        """Return the call, which begins now if something had to precede it."""
        if self._call is None:
            assert self._prepare is not None
            self._check_left()
            self._preparing = asyncio.ensure_future(self._prepare())
            await self._preparing
            self._check_left()
            self._call = self._open()
        return self._call

    def _check_left(self) -> None:
        if self._cancelled.is_set():
            raise left_error(self.request_id)

    async def _read(self) -> v1.ConverseStreamResponse | None:
        call = await self._begun()
        while True:
            try:
                event = await self._receive(call)
            except Error as error:
                if not self._state.started:
                    # The call has ended, so this does not wait.
                    self._state.announced(await call.initial_metadata())
                delay = self._state.failed(error)
                if delay is None:
                    return None
                await self._pause(delay)
                call = self._call = self._open()
                self._has_headers = False
                continue
            if event is None or self._state.received(event):
                return event

    async def _receive(self, call: _Call) -> v1.ConverseStreamResponse | None:
        # Not while the call waits for a connection.
        await wait_until_begun(call)
        timer = None
        if self._idle_timeout != float("inf"):
            timer = asyncio.get_running_loop().call_later(self._idle_timeout, self._expire)
        before = cancellations()
        try:
            event = await call.read()
        except asyncio.CancelledError:
            if cancellations() > before:
                raise
            if self._expired:
                raise await self._idle_error() from None
            await raise_if_cancelled_there(call, self.request_id)
            raise
        except grpc.aio.AioRpcError as error:
            failed = from_rpc(cast("Any", error), self.request_id)
            raise await self._connection.reach.explained(failed, self._attempt) from None
        finally:
            if timer is not None:
                timer.cancel()
        if isinstance(event, v1.ConverseStreamResponse):
            if not self._has_headers:
                self._state.headers = header_texts(await call.initial_metadata())
                self._has_headers = True
            return event
        self._state.headers = header_texts(
            await call.initial_metadata(), await call.trailing_metadata()
        )
        check_complete(self._state.fold, self.request_id)
        return None

    async def _idle_error(self) -> Error:
        idle = idle_error(self._idle_timeout, self.request_id)
        if self._has_headers:
            return idle
        return await self._connection.reach.explained(idle, self._attempt)

    async def _pause(self, delay: float) -> None:
        try:
            await asyncio.wait_for(self._cancelled.wait(), delay)
        except asyncio.TimeoutError:
            # It may have been set since.
            if not self._cancelled.is_set():
                return
        raise asyncio.CancelledError from None

    def _cancel_call(self) -> None:
        if self._call is not None:
            self._call.cancel()
        elif self._preparing is not None:
            self._preparing.cancel()

    def _leave(self, fault: BaseException | None) -> None:
        if self._is_known() and self._state.must_leave(fault):
            self._connection.leaving.leave(self.request_id, self._metadata)

    def _is_known(self) -> bool:
        """Return whether the gateway may have the call."""
        if self._call is None or self.resumes > 0:
            return self._call is not None
        return has_begun(self._call) and self._connection.reach.may_have(self._attempt)

    def _expire(self) -> None:
        self._expired = True
        self._cancel_call()
