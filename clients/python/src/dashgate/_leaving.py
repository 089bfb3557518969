"""The calls that end other calls, whose streams were left and are awaited by the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio

from dashgate import v1

if TYPE_CHECKING:
    from dashgate.v1.call_service_pb2_grpc import CallServiceAsyncStub, CallServiceStub

# Their deadline. The gateway ends a call by itself after some seconds.
LEAVE_LIMIT = 2.0

SentMetadata: TypeAlias = tuple[tuple[str, str | bytes], ...]


class Leaving:
    """Those of a channel, made by one thread, which runs while there are some.

    Not by the thread that leaves a stream: it may be collecting garbage while it holds a lock of
    gRPC, which another call would wait for.
    """

    def __init__(self, stub: CallServiceStub) -> None:
        self._stub = stub
        # Reentrant, because a stream may be collected at any time.
        self._changed = threading.Condition(threading.RLock())
        self._waiting: deque[tuple[str, SentMetadata, Callable[[], bool]]] = deque()
        self._running = False
        # gRPC cancels a call that nothing refers to.
        self._calls: set[grpc.Future[v1.CancelCallResponse]] = set()

    def leave(
        self,
        request_id: str,
        metadata: SentMetadata,
        due: Callable[[], bool],
        is_needed: Callable[[], bool] = lambda: True,
    ) -> None:
        """End a call, without waiting, if `due` returns True, and later also `is_needed`.

        Two threads may leave a stream at once. The second one, which may close the channel next,
        must not go on before the first one's call is known here.
        """
        with self._changed:
            if not due():
                return
            self._waiting.append((request_id, metadata, is_needed))
            if self._running:
                return
            self._running = True
        try:
            threading.Thread(target=self._run, name="dashgate-leave", daemon=True).start()
        except RuntimeError:
            # The interpreter ends, or there are too many threads.
            with self._changed:
                self._running = False
                self._changed.notify_all()

    def finish(self) -> None:
        """Wait until the calls have ended, at most until their deadline."""
        end = time.monotonic() + LEAVE_LIMIT
        with self._changed:
            self._changed.wait_for(lambda: not self._running, LEAVE_LIMIT)
            calls = tuple(self._calls)
        for call in calls:
            with contextlib.suppress(Exception):
                call.exception(max(end - time.monotonic(), 0))

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._running = False
                    self._changed.notify_all()
                    return
                request_id, metadata, is_needed = self._waiting.popleft()
            # It fails if the channel is closed; the call is then at its end too.
            with contextlib.suppress(Exception):
                if not is_needed():
                    continue
                call = self._stub.CancelCall.future(
                    v1.CancelCallRequest(request_id=request_id),
                    timeout=LEAVE_LIMIT,
                    metadata=metadata,
                )
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)


class AsyncLeaving:
    """Those of an event loop's channel."""

    def __init__(self, stub: CallServiceAsyncStub) -> None:
        self._stub = stub
        self._loop = weakref.ref(asyncio.get_running_loop())
        self._calls: set[grpc.aio.UnaryUnaryCall[Any, Any]] = set()

    def leave(self, request_id: str, metadata: SentMetadata) -> None:
        """End a call, without waiting. Call it in the event loop."""
        # It fails if the channel or the loop is closed; the call is then at its end too.
        with contextlib.suppress(Exception):
            call = self._stub.CancelCall(
                v1.CancelCallRequest(request_id=request_id), timeout=LEAVE_LIMIT, metadata=metadata
            )
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    def leave_soon(self, request_id: str, metadata: SentMetadata) -> None:
        """End a call whose stream was collected, by any thread, as garbage."""
        loop = self._loop()
        if loop is not None:
            # It fails if the loop is closed.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self.leave, request_id, metadata)

    async def finish(self) -> None:
        """Wait until the calls have ended. Each has a deadline."""
        # After those that `leave_soon` has scheduled.
        await asyncio.sleep(0)
        with contextlib.suppress(Exception):
            await asyncio.gather(*(call.code() for call in tuple(self._calls)))
