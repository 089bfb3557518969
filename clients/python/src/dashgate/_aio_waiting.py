"""Calls of the client for asyncio that wait for a connection."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import grpc
import grpc.aio

from dashgate._exit import is_finalizing
from dashgate._lanes import Arguments, Lane, Lanes, Mark, Which


class AsyncWaitingCall:
    """A call that begins when there is a place for it. Then it is as the call that gRPC makes."""

    def __init__(self, starter: AsyncStarter, which: Which, arguments: Arguments) -> None:
        self.number = -1
        self.which = which
        self.sent_mark: Mark | None = None
        timeout = arguments.timeout
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self._starter = starter
        self._arguments = arguments
        self._call: Any = None
        self._end: tuple[grpc.StatusCode, str] | None = None
        self._fault: Exception | None = None
        self._settled: asyncio.Event = asyncio.Event()
        self._callbacks: list[Callable[[Any], object]] = []
        self._timer: asyncio.TimerHandle | None = None
        starter.lanes.wait(self)
        if timeout is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(timeout, _expire, weakref.ref(self))

    def __del__(self) -> None:
        if not is_finalizing():
            self._starter.lanes.leave(self)

    def begin(self, lane: Lane[Any], method: Any) -> None:
        """Make the call."""
        # Not a method of this object, which could not be collected while the call runs.
        starter = self._starter
        try:
            starter.lanes.note(lane)
            unnamed, named = self._arguments.within(self.time_remaining())
            self._call = method(*unnamed, **named)
        except Exception as error:
            starter.release(lane)
            self._fault = error
            self._finish(grpc.StatusCode.UNKNOWN, str(error))
            return
        self.sent_mark = starter.lanes.mark()
        self._call.add_done_callback(lambda _: starter.release(lane))
        self._settle()

    def expire(self) -> None:
        """End the call at its deadline."""
        if self._starter.lanes.leave(self):
            self._finish(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def close(self) -> None:
        """End the call because the client is closed."""
        self._finish(grpc.StatusCode.CANCELLED, "Channel closed!")

    async def wait_until_begun(self) -> None:
        """Wait until the call has begun, or has ended before."""
        try:
            await self._settled.wait()
        except asyncio.CancelledError:
            # As in gRPC, the call of a task that is cancelled is cancelled.
            self.cancel()
            raise

    @property
    def has_begun(self) -> bool:
        """Whether the call has begun."""
        return self._call is not None

    def _finish(self, code: grpc.StatusCode, details: str) -> None:
        self._end = code, details
        self._settle()

    def _settle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._settled.set()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self.add_done_callback(callback)

    async def _begun(self) -> Any:
        """Return the call, or raise the error of one that has not begun."""
        await self.wait_until_begun()
        if self._call is not None:
            return self._call
        if self._fault is not None:
            raise self._fault
        if self.cancelled():
            raise asyncio.CancelledError
        code, details = self._ended()
        raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)

    def _ended(self) -> tuple[grpc.StatusCode, str]:
        assert self._end is not None
        return self._end

    # The methods of gRPC's calls.

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._response().__await__()

    async def _response(self) -> Any:
        return await (await self._begun())

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._responses()

    async def _responses(self) -> AsyncIterator[Any]:
        async for response in await self._begun():
            yield response

    async def read(self) -> Any:
        return await (await self._begun()).read()

    async def write(self, request: Any) -> None:
        await (await self._begun()).write(request)

    async def done_writing(self) -> None:
        await (await self._begun()).done_writing()

    async def wait_for_connection(self) -> None:
        await (await self._begun()).wait_for_connection()

    @property
    def _cython_call(self) -> Any:
        return getattr(self._call, "_cython_call", None)

    def cancel(self) -> bool:
        if self._call is not None:
            return bool(self._call.cancel())
        if not self._starter.lanes.leave(self):
            return False
        self._finish(grpc.StatusCode.CANCELLED, "Locally cancelled by application!")
        return True

    def cancelled(self) -> bool:
        if self._call is not None:
            return bool(self._call.cancelled())
        return self._end is not None and self._end[0] is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        return bool(self._call.done()) if self._call is not None else self._end is not None

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        if self._call is not None:
            self._call.add_done_callback(lambda _: callback(self))
        elif self._end is not None:
            callback(self)
        else:
            self._callbacks.append(callback)

    def time_remaining(self) -> float | None:
        if self.deadline is None:
            return None
        # gRPC takes a timeout of 0 for an error of the program.
        return max(self.deadline - time.monotonic(), 0.001)

    async def initial_metadata(self) -> Any:
        await self.wait_until_begun()
        return grpc.aio.Metadata() if self._call is None else await self._call.initial_metadata()

    async def trailing_metadata(self) -> Any:
        await self.wait_until_begun()
        return grpc.aio.Metadata() if self._call is None else await self._call.trailing_metadata()

    async def code(self) -> Any:
        await self.wait_until_begun()
        return self._ended()[0] if self._call is None else await self._call.code()

    async def details(self) -> Any:
        await self.wait_until_begun()
        return self._ended()[1] if self._call is None else await self._call.details()


class AsyncStarter:
    """Begins the calls that wait, in the event loop."""

    def __init__(self, lanes: Lanes[grpc.aio.Channel]) -> None:
        self.lanes = lanes
        self._loop = weakref.ref(asyncio.get_running_loop())

    def release(self, lane: Lane[grpc.aio.Channel]) -> None:
        """Give a place back. Any thread may do it, because a call may be collected by any."""
        if self.lanes.release(lane) and (loop := self._loop()) is not None:
            # It fails if the loop is closed.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        while (found := self.lanes.next()) is not None:
            waiter, lane, method = found
            waiter.begin(lane, method)


async def wait_until_begun(call: object) -> None:
    """Wait until a call has begun, or has ended before."""
    if isinstance(call, AsyncWaitingCall):
        await call.wait_until_begun()


def has_begun(call: object) -> bool:
    """Return whether a call has begun."""
    return not isinstance(call, AsyncWaitingCall) or call.has_begun


def _expire(waiting: weakref.ref[AsyncWaitingCall]) -> None:
    call = waiting()
    if call is not None:
        call.expire()
