"""What all calls of the synchronous client go through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc

from dashgate._backoff import Deadline
from dashgate._calls import named_metadata, rpc_name
from dashgate._connection import Connection, Connections
from dashgate._log import CallLog
from dashgate._retry import Retries
from dashgate._settings import Metadata, Settings
from dashgate._unary import Running
from dashgate.v1.call_service_pb2_grpc import CallServiceStub
from dashgate.v1.conversation_service_pb2_grpc import ConversationServiceStub
from dashgate.v1.live_service_pb2_grpc import LiveServiceStub
from dashgate.v1.media_service_pb2_grpc import MediaServiceStub
from dashgate.v1.model_service_pb2_grpc import ModelServiceStub

_Self = TypeVar("_Self", bound="Caller")
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Item = TypeVar("_Item")


class Caller:
    """The connections of a client, and its calls with one response."""

    _settings: Settings
    _connections: Connections

    def _begin(
        self,
        method: Callable[[Connection], grpc.UnaryUnaryMultiCallable[_Request, _Response]],
        request: _Request,
        *,
        request_id: str,
        deadline: Deadline,
        metadata: Metadata | None,
        max_retries: int = 0,
        retries_unavailable: bool = False,
    ) -> Running[_Response]:
        """Start a call."""
        connection = self._connections.here()
        log = CallLog(rpc_name(request), request_id, connection.address)
        sent = self._settings.sent_metadata(metadata)
        retries = Retries(
            log, deadline, max_retries=max_retries, retries_unavailable=retries_unavailable
        )

        def begin(timeout: float | None) -> Any:
            return method(connection).future(request, timeout=timeout, metadata=sent)

        return Running(begin, retries, request_id, connection.reach)

    def _unary(
        self,
        method: Callable[[Connection], grpc.UnaryUnaryMultiCallable[_Request, _Response]],
        request: _Request,
        *,
        timeout: float | None,
        metadata: Metadata | None,
        retries_unavailable: bool = False,
    ) -> _Response:
        """Make a call whose request has no field for the request id."""
        request_id, more = named_metadata(self._settings, metadata)
        return self._begin(
            method,
            request,
            request_id=request_id,
            deadline=Deadline(self._settings.unary_timeout(timeout)),
            metadata=more,
            retries_unavailable=retries_unavailable,
        ).result()

    def _pages(
        self,
        fetch: Callable[[str], tuple[Sequence[_Item], str]],
    ) -> Iterator[_Item]:
        """Return an iterator of the items of all pages. `fetch` takes the token of a page."""
        token = ""
        while True:
            items, token = fetch(token)
            yield from items
            if not token:
                return

    @property
    def conversations(self) -> ConversationServiceStub:
        """The generated stub of `ConversationService`. Pass it `self.metadata`."""
        return self._connections.here().conversations

    @property
    def media(self) -> MediaServiceStub:
        """The generated stub of `MediaService`. Pass it `self.metadata`."""
        return self._connections.here().media

    @property
    def sessions(self) -> LiveServiceStub:
        """The generated stub of `LiveService`. Pass it `self.metadata`."""
        return self._connections.here().sessions

    @property
    def calls(self) -> CallServiceStub:
        """The generated stub of `CallService`. Pass it `self.metadata`."""
        return self._connections.here().calls

    @property
    def models(self) -> ModelServiceStub:
        """The generated stub of `ModelService`. Pass it `self.metadata`."""
        return self._connections.here().models

    @property
    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """The metadata of every call, including the API key."""
        return self._settings.sent_metadata()

    def close(self) -> None:
        """Cancel all calls and close the connection. The client cannot be used again.

        Before, it waits, for at most 2 seconds, until the gateway has ended the calls whose streams
        were left.
        """
        self._connections.close()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connections.name()})"
