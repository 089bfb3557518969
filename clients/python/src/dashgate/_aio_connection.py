"""The connections of the client for asyncio: one for each event loop."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import grpc.aio

from dashgate._aio_interceptors import of_one_kind
from dashgate._endpoint import Endpoint
from dashgate._leaving import AsyncLeaving
from dashgate._log import connection_opened
from dashgate._pool import AsyncPooledChannel
from dashgate._reach import AsyncReach
from dashgate._uploading import AsyncUploading
from dashgate.v1.call_service_pb2_grpc import CallServiceStub
from dashgate.v1.conversation_service_pb2_grpc import ConversationServiceStub
from dashgate.v1.live_service_pb2_grpc import LiveServiceStub
from dashgate.v1.media_service_pb2_grpc import MediaServiceStub
from dashgate.v1.model_service_pb2_grpc import ModelServiceStub

if TYPE_CHECKING:
    # Imported for types only: at run time one class serves both kinds of channel.
    from dashgate.v1.call_service_pb2_grpc import CallServiceAsyncStub
    from dashgate.v1.conversation_service_pb2_grpc import ConversationServiceAsyncStub
    from dashgate.v1.live_service_pb2_grpc import LiveServiceAsyncStub
    from dashgate.v1.media_service_pb2_grpc import MediaServiceAsyncStub
    from dashgate.v1.model_service_pb2_grpc import ModelServiceAsyncStub

# See _connection.py: channels of a parent process are neither used nor closed after a fork.
_inherited: list[object] = []


class OpenStream(Protocol):
    """A stream that is cancelled when the client is closed."""

    def cancel(self) -> None:
        """Cancel the call if it has not ended."""


class AsyncConnection:
    """The channel of one event loop, its stubs, and its streams."""

    def __init__(self, channel: grpc.aio.Channel, address: str, reach: AsyncReach) -> None:
        self.address = address
        self.channel = channel
        self.conversations: ConversationServiceAsyncStub = ConversationServiceStub(channel)
        self.media: MediaServiceAsyncStub = MediaServiceStub(channel)
        self.sessions: LiveServiceAsyncStub = LiveServiceStub(channel)
        self.models: ModelServiceAsyncStub = ModelServiceStub(channel)
        self.calls: CallServiceAsyncStub = CallServiceStub(channel)
        self.reach = reach
        self.leaving = AsyncLeaving(self.calls)
        self.uploading = AsyncUploading()
        # As long as they are referred to.
        self.streams: weakref.WeakSet[OpenStream] = weakref.WeakSet()

    async def close_streams(self) -> None:
        """Cancel all streams, and wait until their calls have ended."""
        for stream in tuple(self.streams):
            stream.cancel()
        await self.leaving.finish()


class AsyncConnections:
    """The connections of all event loops that use a client."""

    def __init__(
        self,
        endpoint: Endpoint | None,
        given: grpc.aio.Channel | None,
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    ) -> None:
        self._endpoint = endpoint
        self._given = given
        self._interceptors = tuple(of_one_kind(interceptors))
        self._closed = False
        self._process = os.getpid()
        # Threads may have a loop each.
        self._lock = threading.Lock()
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncConnection] = (
            weakref.WeakKeyDictionary()
        )

    def here(self) -> AsyncConnection:
        """Return the connection of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._closed:
            raise ValueError("the client is closed")
        if self._process != os.getpid():
            _inherited.extend(self._by_loop.values())
            self._by_loop = weakref.WeakKeyDictionary()
            self._lock = threading.Lock()
            self._process = os.getpid()
        with self._lock:
            return self._by_loop.get(loop) or self._opened(loop)

    def _opened(self, loop: asyncio.AbstractEventLoop) -> AsyncConnection:
        # `asyncio.run` has a loop of its own for each run, and a channel refers to its loop.
        for other in tuple(self._by_loop):
            if other.is_closed():
                del self._by_loop[other]
        pool = self._pool()
        reach = AsyncReach(pool.lanes, self._endpoint.address if self._endpoint else "")
        connection = AsyncConnection(pool, self.name(), reach)
        self._by_loop[loop] = connection
        return connection

    async def close(self) -> None:
        """Close this loop's channel; other loops close their own."""
        self._closed = True
        with self._lock:
            connection = self._by_loop.pop(asyncio.get_running_loop(), None)
        if connection is not None and self._process == os.getpid():
            try:
                await connection.close_streams()
            finally:
                # Also if the task is cancelled.
                if self._given is None:
                    await connection.channel.close()

    def name(self) -> str:
        """Return the address for `repr`."""
        return self._endpoint.address if self._endpoint else repr(self._given)

    def _pool(self) -> AsyncPooledChannel:
        given, endpoint = self._given, self._endpoint
        if given is not None:
            return AsyncPooledChannel(lambda: given, is_limited=False)
        assert endpoint is not None

        def dial() -> grpc.aio.Channel:
            connection_opened(endpoint.address)
            return endpoint.dial(
                functools.partial(grpc.aio.insecure_channel, interceptors=self._interceptors),
                functools.partial(grpc.aio.secure_channel, interceptors=self._interceptors),
            )

        return AsyncPooledChannel(dial)
