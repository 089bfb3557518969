"""Converts the errors of gRPC."""

from __future__ import annotations

import contextlib
from typing import Protocol

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from dashgate import v1
from dashgate._headers import Metadatum, header_texts
from dashgate.errors import Error, FieldViolation

_CODES = {code.value[0]: code for code in grpc.StatusCode if code is not grpc.StatusCode.OK}


# A part of gRPC's message if a response is larger than the client accepts.
_TOO_LARGE = "Received message larger than max"


class _RpcError(Protocol):
    """The common part of the errors of both kinds of channel."""

    def code(self) -> grpc.StatusCode: ...

    def details(self) -> str | None: ...

    def initial_metadata(self) -> Metadatum | None: ...

    def trailing_metadata(self) -> Metadatum | None: ...


def from_rpc(failed: _RpcError, request_id: str) -> Error:
    """Convert gRPC's error. `request_id` is the one that was sent."""
    trailers = dict(map(tuple, failed.trailing_metadata() or ()))
    status = _status(trailers.get("grpc-status-details-bin"))
    code, message = failed.code(), failed.details() or ""
    if status is not None and status.code in _CODES:
        # The gateway's status: gRPC replaces it with INTERNAL if it cannot parse a trailer.
        code, message = _CODES[status.code], status.message
    pushback = trailers.get("grpc-retry-pushback-ms")
    retry_after = _pushback(pushback)
    error = Error(
        code,
        message,
        raw_reason="" if status is not None else _local_reason(code, message),
        request_id=request_id,
        retry_after=retry_after,
        retry_forbidden=pushback is not None and retry_after is None,
        headers=header_texts(failed.initial_metadata(), failed.trailing_metadata()),
        status=status,
    )
    for detail in error.status.details:
        # A detail that cannot be decoded is skipped.
        with contextlib.suppress(DecodeError):
            _read(detail, error)
    return error


def _read(detail: any_pb2.Any, error: Error) -> None:
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.RequestInfo()
    retry = error_details_pb2.RetryInfo()
    bad = error_details_pb2.BadRequest()
    failure = v1.CallFailure()
    if detail.Unpack(failure):
        error.reason = failure.reason
        error.usage = failure.usage if failure.HasField("usage") else None
        error.output_started = failure.output_started
        error.attempts = failure.attempts
        error.upstream_code = failure.upstream_code
        error.upstream_http_status = failure.upstream_http_status
        error.upstream_request_id = failure.upstream_request_id
        error.model = failure.model
    elif detail.Unpack(info):
        error.raw_reason = info.reason
    elif detail.Unpack(request):
        error.request_id = request.request_id or error.request_id
    elif detail.Unpack(retry):
        error.retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    elif detail.Unpack(bad):
        error.field_violations += tuple(
            FieldViolation(violation.field, violation.description)
            for violation in bad.field_violations
        )


def _local_reason(code: grpc.StatusCode, message: str) -> str:
    """Return the reason of an error that gRPC created, if the gateway has one for it, too."""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "DEADLINE_EXCEEDED"
    too_large = code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in message
    return "MESSAGE_TOO_LARGE" if too_large else ""


def _status(raw: str | bytes | None) -> status_pb2.Status | None:
    if not isinstance(raw, bytes):
        return None
    try:
        return status_pb2.Status.FromString(raw)
    except DecodeError:
        # Code and message are still valid.
        return None


def _pushback(raw: str | bytes | None) -> float | None:
    milliseconds = _number(raw, missing=-1)
    return milliseconds / 1000 if milliseconds >= 0 else None


def _number(raw: str | bytes | None, missing: int = 0) -> int:
    try:
        return int(raw) if raw is not None else missing
    except ValueError:
        return missing
