"""What all calls of the client for asyncio go through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import grpc.aio

from dashgate._aio_connection import AsyncConnection, AsyncConnections
from dashgate._backoff import Deadline
from dashgate._calls import named_metadata, rpc_name
from dashgate._log import CallLog
from dashgate._retry import Retries
from dashgate._settings import Metadata, Settings
from dashgate._unary import completed

if TYPE_CHECKING:
    from dashgate.v1.call_service_pb2_grpc import CallServiceAsyncStub
    from dashgate.v1.conversation_service_pb2_grpc import ConversationServiceAsyncStub
    from dashgate.v1.live_service_pb2_grpc import LiveServiceAsyncStub
    from dashgate.v1.media_service_pb2_grpc import MediaServiceAsyncStub
    from dashgate.v1.model_service_pb2_grpc import ModelServiceAsyncStub

_Self = TypeVar("_Self", bound="AsyncCaller")
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Item = TypeVar("_Item")


class AsyncCaller:
    """The connections of a client, and its calls with one response."""

    _settings: Settings
    _connections: AsyncConnections

    async def _complete(
        self,
        method: Callable[[AsyncConnection], grpc.aio.UnaryUnaryMultiCallable[_Request, _Response]],
        request: _Request,
        *,
        request_id: str,
        deadline: Deadline,
        metadata: Metadata | None,
        max_retries: int = 0,
        retries_unavailable: bool = False,
    ) -> tuple[_Response, Mapping[str, str]]:
        """Make a call. Return the response and its metadata."""
        connection = self._connections.here()
        log = CallLog(rpc_name(request), request_id, connection.address)
        sent = self._settings.sent_metadata(metadata)
        retries = Retries(
            log, deadline, max_retries=max_retries, retries_unavailable=retries_unavailable
        )

        def begin(timeout: float | None) -> Any:
            return method(connection)(request, timeout=timeout, metadata=sent)

        return await completed(begin, retries, request_id, connection.reach)

    async def _unary(
        self,
        method: Callable[[AsyncConnection], grpc.aio.UnaryUnaryMultiCallable[_Request, _Response]],
        request: _Request,
        *,
        timeout: float | None,
        metadata: Metadata | None,
        retries_unavailable: bool = False,
    ) -> _Response:
        """Make a call whose request has no field for the request id."""
        request_id, more = named_metadata(self._settings, metadata)
        response, _ = await self._complete(
            method,
            request,
            request_id=request_id,
            deadline=Deadline(self._settings.unary_timeout(timeout)),
            metadata=more,
            retries_unavailable=retries_unavailable,
        )
        return response

    async def _pages(
        self, fetch: Callable[[str], Awaitable[tuple[Sequence[_Item], str]]]
    ) -> AsyncIterator[_Item]:
        """Give the items of all pages. `fetch` takes the token of a page."""
        token = ""
        while True:
            items, token = await fetch(token)
            for item in items:
                yield item
            if not token:
                return

    @property
    def conversations(self) -> ConversationServiceAsyncStub:
        """The generated stub of `ConversationService`. Pass it `self.metadata`."""
        return self._connections.here().conversations

    @property
    def media(self) -> MediaServiceAsyncStub:
        """The generated stub of `MediaService`. Pass it `self.metadata`."""
        return self._connections.here().media

    @property
    def sessions(self) -> LiveServiceAsyncStub:
        """The generated stub of `LiveService`. Pass it `self.metadata`."""
        return self._connections.here().sessions

    @property
    def calls(self) -> CallServiceAsyncStub:
        """The generated stub of `CallService`. Pass it `self.metadata`."""
        return self._connections.here().calls

    @property
    def models(self) -> ModelServiceAsyncStub:
        """The generated stub of `ModelService`. Pass it `self.metadata`."""
        return self._connections.here().models

    @property
    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """The metadata of every call, including the API key."""
        return self._settings.sent_metadata()

    async def close(self) -> None:
        """Cancel all calls of this loop and close its connection. The client stays closed.

        Before, it waits, for at most 2 seconds, until the gateway has ended the calls whose streams
        were left.
        """
        await self._connections.close()

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connections.name()})"
