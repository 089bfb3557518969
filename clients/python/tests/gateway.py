"""A scripted gateway, over a real socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from dashgate import v1
from dashgate.v1.call_service_pb2_grpc import (
    CallServiceServicer,
    add_CallServiceServicer_to_server,
)
from dashgate.v1.conversation_service_pb2_grpc import (
    ConversationServiceServicer,
    add_ConversationServiceServicer_to_server,
)
from dashgate.v1.live_service_pb2_grpc import (
    LiveServiceServicer,
    add_LiveServiceServicer_to_server,
)
from dashgate.v1.media_service_pb2_grpc import (
    MediaServiceServicer,
    add_MediaServiceServicer_to_server,
)

# Longer than any test step takes on a busy machine.
LIMIT = 20.0

Event = v1.ConverseStreamResponse
STARTED = Event(sequence=1, started=v1.Started(model="m", request_id="r", upstream_request_id="u"))
COMPLETED = Event(
    completed=v1.Completed(
        choices=[v1.ChoiceEnd(finish_reason=v1.FINISH_REASON_STOP, raw_finish_reason="stop")],
        usage=v1.Usage(total_tokens=3),
    )
)


def text(piece: str, choice: int = 0) -> Event:
    return Event(delta=v1.Delta(text=piece, choice_index=choice))


def answer(said: str) -> v1.ConverseResponse:
    message = v1.Message(role=v1.ROLE_ASSISTANT, content=[v1.Content(text=said)])
    return v1.ConverseResponse(
        choices=[v1.Choice(message=message, finish_reason=v1.FINISH_REASON_STOP)], request_id="r"
    )


def live_started(*, resumed: bool = False, sequence: int = 1) -> v1.ConverseLiveResponse:
    started = v1.SessionStarted(session_id="s", resume_token="t", resumed=resumed)
    return v1.ConverseLiveResponse(sequence=sequence, session_started=started)


def echo(requests: Iterator[Any], _context: Any) -> Iterator[v1.ConverseLiveResponse]:
    """Answer each text with itself, until the caller has finished."""
    yield live_started()
    sequence = 1
    for request in requests:
        sequence += 1
        delta = v1.ResponseDelta(response_id="r", text=request.text)
        yield v1.ConverseLiveResponse(sequence=sequence, response_delta=delta)
    yield v1.ConverseLiveResponse(sequence=sequence + 1, session_ended=v1.SessionEnded(responses=1))


class Gateway(
    ConversationServiceServicer, MediaServiceServicer, LiveServiceServicer, CallServiceServicer
):
    """A gateway that answers as configured and records its requests."""

    def __init__(self) -> None:
        self.address = ""
        # Takes no more calls, and lets those go on that run.
        self.shut_down: Callable[[], object] = lambda: None
        self.requests: list[Any] = []
        self.metadata: list[dict[str, Any]] = []
        self.came = threading.Event()
        self.ended = threading.Event()
        self.converse: Callable[[grpc.ServicerContext], v1.ConverseResponse] = lambda _context: (
            answer("hello")
        )
        self.events: Iterable[Event] = [STARTED, text("hel"), text("lo"), COMPLETED]
        self.silent = False
        # What each stream has instead, one after the other.
        self.parts: list[Callable[[Any], Iterator[Event]]] = []
        self.cancelled: list[str] = []
        self.cancel_came = threading.Event()
        self.uploading: Callable[[grpc.ServicerContext], None] = lambda _context: None
        # What an upload has instead.
        self.reading: Callable[[Any, Any, Any], Any] | None = None
        self.refusals: list[tuple[Any, ...]] = []
        self.managed: Callable[[Any], Any] = lambda _request: None
        self.live: Callable[[Any, Any], Iterator[v1.ConverseLiveResponse]] = echo

    def _came(self, request: Any, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.came.set()

    def Converse(self, request: Any, context: Any) -> v1.ConverseResponse:
        self._came(request, context)
        context.add_callback(self.ended.set)
        return self.converse(context)

    def ConverseStream(self, request: Any, context: Any) -> Iterator[Event]:
        self._came(request, context)
        context.add_callback(self.ended.set)
        yield from self.parts.pop(0)(context) if self.parts else self.events
        if self.silent:
            self.ended.wait(LIMIT)

    def CancelCall(self, request: Any, context: Any) -> v1.CancelCallResponse:
        self.metadata.append(dict(context.invocation_metadata()))
        self.cancelled.append(request.request_id)
        self.cancel_came.set()
        return v1.CancelCallResponse()

    def ConverseLive(self, request_iterator: Any, context: Any) -> Any:
        self._came(next(request_iterator), context)
        context.add_callback(self.ended.set)
        yield from self.live(request_iterator, context)

    def SynthesizeLive(self, request_iterator: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "not played")

    def _managed(self, request: Any, context: Any) -> Any:
        """Answer a call of the management of conversations, after the errors that are set."""
        self._came(request, context)
        if self.refusals:
            fail(context, *self.refusals.pop(0))
        return self.managed(request)

    CreateConversation = _managed
    GetConversation = _managed
    ListConversations = _managed
    UpdateConversation = _managed
    DeleteConversation = _managed
    ListTurns = _managed
    DeleteTurn = _managed
    ForkConversation = _managed
    CancelTurn = _managed

    def UploadMedia(self, request_iterator: Any, context: Any) -> v1.UploadMediaResponse:
        if self.reading is not None:
            self.reading(self, request_iterator, context)
        self._came(list(request_iterator), context)
        self.uploading(context)
        size = sum(len(request.chunk) for request in self.requests[-1])
        response = v1.UploadMediaResponse(uri="oss://x", size_bytes=size)
        response.expires_at.FromSeconds(int(time.time()) + 2 * 24 * 3600)
        return response


@contextmanager
def playing() -> Iterator[Gateway]:
    gateway = Gateway()
    server = grpc.server(
        futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)]
    )
    add_ConversationServiceServicer_to_server(gateway, server)
    add_MediaServiceServicer_to_server(gateway, server)
    add_LiveServiceServicer_to_server(gateway, server)
    add_CallServiceServicer_to_server(gateway, server)
    gateway.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    gateway.shut_down = lambda: server.stop(LIMIT)
    server.start()
    try:
        yield gateway
    finally:
        gateway.ended.set()
        server.stop(None).wait(LIMIT)


def fail(context: grpc.ServicerContext, code: grpc.StatusCode, pushback: str, *details: Any) -> Any:
    """End a call as the gateway does."""
    status = status_pb2.Status(code=code.value[0], message="it failed")
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    context.set_trailing_metadata(
        (
            ("grpc-status-details-bin", status.SerializeToString()),
            ("grpc-retry-pushback-ms", pushback),
        )
    )
    context.abort(code, "it failed")


INFO = error_details_pb2.ErrorInfo(reason="UPSTREAM_RATE", domain="dashgate")
FAILURE = v1.CallFailure(
    reason=v1.UPSTREAM_RATE,
    attempts=3,
    upstream_code="Throttling",
    upstream_http_status=429,
    upstream_request_id="up",
    model="m",
    usage=v1.Usage(output_tokens=7),
)
