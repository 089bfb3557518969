"""Calls of the synchronous client that wait for a connection."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, cast

import grpc

from dashgate._exit import ended, is_finalizing
from dashgate._lanes import Arguments, Lane, Lanes, Mark, Which

# Deadlines are looked at so often, at most.
_PRECISION = 0.01


class NotBegunError(grpc.RpcError, grpc.Call, grpc.Future):  # type: ignore[type-arg]
    """The end of a call that had not begun, as gRPC reports that of others.

    To interceptors, an error is also the call that failed.
    """

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self._code = code
        self._details = details

    def code(self) -> grpc.StatusCode:
        """Return the code."""
        return self._code

    def details(self) -> str:
        """Return the message."""
        return self._details

    def initial_metadata(self) -> tuple[()]:
        """Return nothing: there is no response."""
        return ()

    def trailing_metadata(self) -> tuple[()]:
        """Return nothing: there is no response."""
        return ()

    def result(self, timeout: float | None = None) -> NoReturn:  # noqa: ARG002
        """Raise the error."""
        raise self

    def exception(self, timeout: float | None = None) -> NotBegunError:  # noqa: ARG002
        """Return the error."""
        return self

    def traceback(self, timeout: float | None = None) -> Any:  # noqa: ARG002
        """Return where it was raised."""
        return self.__traceback__

    def add_callback(self, callback: Callable[[], object]) -> bool:  # noqa: ARG002
        """Return False: the call has ended."""
        return False

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Call it at once: the call has ended."""
        fn(self)

    def cancel(self) -> bool:
        """Return False: the call has ended."""
        return False

    cancelled = running = is_active = cancel

    def done(self) -> bool:
        """Return True: the call has ended."""
        return True

    def time_remaining(self) -> Any:
        """Return None: the call has ended."""


class WaitingCall(grpc.Call, grpc.Future):  # type: ignore[type-arg]
    """A call that begins when there is a place for it. Then it is as the call that gRPC makes."""

    def __init__(
        self,
        starter: Starter,
        which: Which,
        form: str,
        arguments: Arguments,
    ) -> None:
        self.number = -1
        self.which = which
        self.sent_mark: Mark | None = None
        timeout = arguments.timeout
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self._starter = starter
        self._form = form
        self._arguments = arguments
        self._changed = threading.Condition()
        self._call: Any = None
        self._end: Exception | None = None
        self._is_cancelled = False
        self._callbacks: list[Callable[[], object]] = []
        starter.add(self)

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
            call = getattr(method, self._form)(*unnamed, **named)
        except Exception as error:
            starter.release(lane)
            self._finish(error)
            return
        ended(call, lambda: starter.release(lane))
        self.sent_mark = starter.lanes.mark()
        with self._changed:
            self._call = call
            callbacks, self._callbacks = self._callbacks, []
            self._changed.notify_all()
        for callback in callbacks:
            if not call.add_callback(callback):
                callback()
        if self._is_cancelled:
            call.cancel()

    def expire(self) -> None:
        """End the call at its deadline."""
        self._finish(NotBegunError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))

    def close(self) -> None:
        """End the call because the client is closed."""
        self._finish(NotBegunError(grpc.StatusCode.CANCELLED, "Channel closed!"))

    def wait_until_begun(self, timeout: float | None = None) -> bool:
        """Wait until the call has begun, or has ended before. Return whether it has begun."""
        with self._changed:
            if not self._changed.wait_for(self._is_settled, timeout):
                raise grpc.FutureTimeoutError
        return self._call is not None

    @property
    def never_begins(self) -> bool:
        """Whether the call ended before it began."""
        return self._end is not None

    def _is_settled(self) -> bool:
        return self._call is not None or self._end is not None

    def _finish(self, end: Exception) -> None:
        with self._changed:
            self._end = end
            callbacks, self._callbacks = self._callbacks, []
            self._changed.notify_all()
        for callback in callbacks:
            # As in gRPC, one that fails does not keep others from being called.
            with contextlib.suppress(Exception):
                callback()

    # The methods of a call.

    def cancel(self) -> bool:
        with self._changed:
            if self._end is not None:
                return False
            self._is_cancelled = True
        if self._starter.lanes.leave(self):
            self._finish(
                NotBegunError(grpc.StatusCode.CANCELLED, "Locally cancelled by application!")
            )
        elif self._call is not None:
            self._call.cancel()
        return self.cancelled()

    def add_callback(self, callback: Callable[[], object]) -> bool:
        with self._changed:
            if not self._is_settled():
                self._callbacks.append(callback)
                return True
        return self._call is not None and bool(self._call.add_callback(callback))

    def is_active(self) -> bool:
        return not self.done()

    def time_remaining(self) -> Any:
        if self.deadline is None:
            return None
        # gRPC takes a timeout of 0 for an error of the program.
        return max(self.deadline - time.monotonic(), 0.001)

    def initial_metadata(self) -> Any:
        return self._call.initial_metadata() if self.wait_until_begun() else None

    def trailing_metadata(self) -> Any:
        return self._call.trailing_metadata() if self.wait_until_begun() else None

    def code(self) -> Any:
        if self.wait_until_begun():
            return self._call.code()
        return getattr(self._end, "code", lambda: grpc.StatusCode.UNKNOWN)()

    def details(self) -> Any:
        if self.wait_until_begun():
            return self._call.details()
        return getattr(self._end, "details", lambda: str(self._end))()

    # The methods of a future.

    def result(self, timeout: float | None = None) -> Any:
        end = None if timeout is None else time.monotonic() + timeout
        if self.wait_until_begun(timeout):
            return self._call.result(None if end is None else max(end - time.monotonic(), 0))
        raise self._ended()

    def exception(self, timeout: float | None = None) -> Any:
        end = None if timeout is None else time.monotonic() + timeout
        if self.wait_until_begun(timeout):
            return self._call.exception(None if end is None else max(end - time.monotonic(), 0))
        if self.cancelled():
            raise self._ended()
        return self._end

    def traceback(self, timeout: float | None = None) -> Any:
        error = self.exception(timeout)
        return None if error is None else error.__traceback__

    def cancelled(self) -> bool:
        if self._call is not None:
            return bool(self._call.cancelled())
        return self._is_cancelled

    def done(self) -> bool:
        return bool(self._call.done()) if self._call is not None else self._end is not None

    def running(self) -> bool:
        return not self.done()

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        if not self.add_callback(lambda: fn(self)):
            fn(self)

    # The methods of an iterator of responses.

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.wait_until_begun():
            return next(self._call)
        raise cast("Exception", self._end)

    def _ended(self) -> Exception:
        return grpc.FutureCancelledError() if self.cancelled() else cast("Exception", self._end)


class Starter:
    """Begins the calls that wait, in a thread that runs while there are some."""

    def __init__(self, lanes: Lanes[grpc.Channel]) -> None:
        self.lanes = lanes
        self._is_running = False
        # When a deadline may be over.
        self._wake = float("inf")

    def add(self, waiter: WaitingCall) -> None:
        """Let a call wait."""
        with self.lanes.changed:
            self.lanes.wait(waiter)
            if waiter.deadline is not None:
                self._wake = min(self._wake, waiter.deadline)
            if self._is_running:
                self.lanes.changed.notify_all()
                return
            self._is_running = True
        try:
            threading.Thread(target=self._run, name="dashgate-waiting", daemon=True).start()
        except RuntimeError:
            # The interpreter ends, or there are too many threads.
            with self.lanes.changed:
                self._is_running = False
                self.lanes.leave(waiter)
            raise

    def release(self, lane: Lane[grpc.Channel]) -> None:
        """Give a place back."""
        if self.lanes.release(lane):
            with self.lanes.changed:
                self.lanes.changed.notify_all()

    def _run(self) -> None:
        while True:
            late: list[Any] = []
            with self.lanes.changed:
                begun = self.lanes.next()
                if begun is None:
                    now = time.monotonic()
                    if self._wake <= now:
                        late, first = self.lanes.late()
                        self._wake = max(first, now + _PRECISION)
                    elif not self.lanes.waiting:
                        self._is_running = False
                        return
                    else:
                        limit = min(self._wake - now, threading.TIMEOUT_MAX)
                        self.lanes.changed.wait(limit)
            if begun is not None:
                waiter, lane, method = begun
                waiter.begin(lane, method)
                # A call that waits no more may be collected.
                del waiter, begun
            for each in late:
                each.expire()


def wait_until_begun(call: object) -> None:
    """Wait until a call has begun, or has ended before."""
    if isinstance(call, WaitingCall):
        call.wait_until_begun()


def never_begins(call: object) -> bool:
    """Return whether a call ended before it began."""
    return isinstance(call, WaitingCall) and call.never_begins
