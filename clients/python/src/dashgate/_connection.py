"""The connection of the synchronous client: one for each process."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import grpc

from dashgate._endpoint import Endpoint
from dashgate._exit import is_finalizing, release_calls
from dashgate._idle import Watch
from dashgate._leaving import Leaving, SentMetadata
from dashgate._log import connection_opened
from dashgate._pool import PooledChannel
from dashgate._reach import Reach
from dashgate._uploading import Uploading
from dashgate.v1.call_service_pb2_grpc import CallServiceStub
from dashgate.v1.conversation_service_pb2_grpc import ConversationServiceStub
from dashgate.v1.live_service_pb2_grpc import LiveServiceStub
from dashgate.v1.media_service_pb2_grpc import MediaServiceStub
from dashgate.v1.model_service_pb2_grpc import ModelServiceStub

Interceptors: TypeAlias = Sequence[
    grpc.UnaryUnaryClientInterceptor
    | grpc.UnaryStreamClientInterceptor
    | grpc.StreamUnaryClientInterceptor
    | grpc.StreamStreamClientInterceptor
]
"""Interceptors of gRPC, the outermost first. One object may be of several kinds."""

# After a fork, a channel of the parent process must not be used or closed: closing would wait for
# threads that do not exist. The reference is kept, so that it is not closed.
_inherited: list[object] = []


class OpenStream(Protocol):
    """A stream or a session that is cancelled when the client is closed."""

    def close(self) -> None:
        """Cancel the call if it has not ended."""

    def leave_at_exit(self) -> None:
        """Do the same at the end of the program, unless another thread reads the stream."""


class Connection:
    """A channel of this process, its stubs, and its streams."""

    def __init__(self, channel: grpc.Channel, address: str, reach: Reach) -> None:
        self.process = os.getpid()
        self.address = address
        self.channel = channel
        self.conversations = ConversationServiceStub(channel)
        self.media = MediaServiceStub(channel)
        self.sessions = LiveServiceStub(channel)
        self.models = ModelServiceStub(channel)
        self.calls = CallServiceStub(channel)
        self.reach = reach
        self.watch = Watch()
        self.uploading = Uploading()
        self._leaving = Leaving(self.calls)
        self._streams: weakref.WeakSet[OpenStream] = weakref.WeakSet()
        self._changing = threading.Lock()
        _open.add(self)

    def opened(self, stream: OpenStream) -> None:
        """Note a stream, as long as it is referred to."""
        with self._changing:
            self._streams.add(stream)

    def leave(
        self,
        request_id: str,
        metadata: SentMetadata,
        due: Callable[[], bool],
        is_needed: Callable[[], bool],
    ) -> None:
        """End a call whose stream was left, without waiting, if it is due and needed."""
        if self.process == os.getpid():
            self._leaving.leave(request_id, metadata, due, is_needed)

    def close_streams(self, *, at_exit: bool = False) -> None:
        """Close all streams, and wait until their calls have ended."""
        with self._changing:
            streams = tuple(self._streams)
        for stream in streams:
            if at_exit:
                stream.leave_at_exit()
            else:
                stream.close()
        self._leaving.finish()


# Those of clients that may not be closed at the end of the program.
_open: weakref.WeakSet[Connection] = weakref.WeakSet()


@atexit.register
def _leave_streams() -> None:
    with contextlib.suppress(Exception):
        for connection in tuple(_open):
            if connection.process == os.getpid():
                connection.close_streams(at_exit=True)
    release_calls()


class Connections:
    """The connection of each process that uses a client."""

    def __init__(
        self,
        endpoint: Endpoint | None,
        given: grpc.Channel | None,
        interceptors: Interceptors = (),
    ) -> None:
        self._endpoint = endpoint
        self._given = given
        self._interceptors = tuple(interceptors)
        self._lock = threading.Lock()
        self._current: Connection | None = None
        self._closed = False

    def here(self) -> Connection:
        """Return the connection of this process."""
        connection = self._current
        if connection is not None and connection.process == os.getpid():
            return connection
        # A lock that another thread held during a fork stays locked in the child: the channel is
        # created without it, and the lock only decides which one is kept.
        if connection is not None:
            _inherited.append(connection)
            self._lock = threading.Lock()
        with self._lock:
            if self._closed:
                raise ValueError("the client is closed")
            if self._current is None or self._current.process != os.getpid():
                self._current = self._opened()
            return self._current

    def close(self) -> None:
        """Close the connection of this process; other processes close their own."""
        if is_finalizing():
            return
        with self._lock:
            self._closed = True
            connection, self._current = self._current, None
        if connection is not None and connection.process == os.getpid():
            try:
                connection.close_streams()
            finally:
                # Also after Ctrl-C.
                if self._given is None:
                    connection.channel.close()

    def name(self) -> str:
        """Return the address for `repr`."""
        return self._endpoint.address if self._endpoint else repr(self._given)

    def _opened(self) -> Connection:
        pool = self._pool()
        reach = Reach(pool.lanes, self._endpoint.address if self._endpoint else "")
        channel = grpc.intercept_channel(pool, *self._interceptors) if self._interceptors else pool
        return Connection(channel, self.name(), reach)

    def _pool(self) -> PooledChannel:
        given, endpoint = self._given, self._endpoint
        if given is not None:
            return PooledChannel(lambda: given, is_limited=False)
        assert endpoint is not None

        def dial() -> grpc.Channel:
            connection_opened(endpoint.address)
            return endpoint.dial(grpc.insecure_channel, grpc.secure_channel)

        return PooledChannel(dial)
