"""Requests and errors that both clients share."""

from __future__ import annotations

import uuid

import grpc

from dashgate import v1
from dashgate._fold import Fold
from dashgate._settings import Metadata, Settings
from dashgate._types import check_metadata, wrong_type
from dashgate.conversation import Conversation
from dashgate.errors import Error


def given_name(request_id: str, metadata: Metadata | None) -> str:
    """Return the request id of the caller, of which there may be none."""
    check_metadata(metadata)
    if request_id:
        return request_id
    given = {name.lower(): value for name, value in (metadata or {}).items()}.get("x-request-id")
    return given if isinstance(given, str) else ""


def name_call(request_id: str) -> str:
    """Return the request id, or a generated one. All attempts of a call have the same."""
    return request_id or str(uuid.uuid4())


def unary_request(
    conversation: Conversation | v1.Conversation,
    request_id: str,
    *,
    options: v1.GenerationOptions | None,
    expected_turn: int | None,
    history: v1.HistoryPolicy | None,
) -> v1.ConverseRequest:
    """Return the request of a unary call."""
    return v1.ConverseRequest(
        conversation=_raw(conversation),
        options=options,
        request_id=name_call(request_id),
        expected_turn=_expected(conversation, expected_turn),
        history=history,
    )


def stream_request(
    conversation: Conversation | v1.Conversation,
    request_id: str,
    *,
    options: v1.GenerationOptions | None,
    expected_turn: int | None,
    history: v1.HistoryPolicy | None,
    resume: bool,
) -> v1.ConverseStreamRequest:
    """Return the request of a streamed call."""
    return v1.ConverseStreamRequest(
        conversation=_raw(conversation),
        options=options,
        request_id=name_call(request_id),
        expected_turn=_expected(conversation, expected_turn),
        history=history,
        resumable=resume,
    )


def rpc_name(request: object) -> str:
    """Return the name of the method that takes a request of the schema."""
    return type(request).__name__.removesuffix("Request")


def named_metadata(settings: Settings, metadata: Metadata | None) -> tuple[str, Metadata]:
    """Return the request id of a request without a field for it, and the metadata with the id."""
    check_metadata(metadata)
    more = {name.lower(): value for name, value in (metadata or {}).items()}
    given = more.get("x-request-id") or dict(settings.sent_metadata()).get("x-request-id")
    name = given if isinstance(given, str) and given else name_call("")
    return name, {**more, "x-request-id": name}


def without_name(metadata: Metadata | None) -> Metadata | None:
    """Return the metadata without the request id, for another call."""
    if metadata is None:
        return None
    return {name: value for name, value in metadata.items() if name.lower() != "x-request-id"}


def _raw(conversation: Conversation | v1.Conversation) -> v1.Conversation:
    if isinstance(conversation, Conversation):
        return conversation.raw
    if not isinstance(conversation, v1.Conversation):
        raise wrong_type("conversation", conversation, "a dashgate.Conversation")
    return conversation


def _expected(conversation: Conversation | v1.Conversation, given: int | None) -> int | None:
    """Return the latest turn that the caller knows."""
    if given is None and isinstance(conversation, Conversation):
        return conversation.last_turn
    return given


def note_output(fault: BaseException, fold: Fold) -> None:
    """Mark the error of a stream that had received a part of the answer."""
    if isinstance(fault, Error) and fold.has_output:
        fault.output_started = True


def check_complete(fold: Fold, request_id: str) -> None:
    """Raise an error if a stream ended successfully without its last event."""
    if not fold.complete:
        raise Error(
            grpc.StatusCode.INTERNAL,
            "the stream ended before the answer was complete",
            raw_reason="STREAM_TRUNCATED",
            request_id=request_id,
        )


def idle_error(idle_timeout: float, request_id: str) -> Error:
    """Return the error of a stream that received nothing for too long."""
    return Error(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        f"nothing came for {idle_timeout:g} s, not even a heartbeat, and the call was cancelled; "
        "idle_timeout sets this limit",
        raw_reason="STREAM_IDLE",
        request_id=request_id,
    )
