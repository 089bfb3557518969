"""The error of a failed call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from dashgate import v1


@dataclass(frozen=True)
class FieldViolation:
    """An invalid field of the request."""

    field: str
    """The path of the field, such as `conversation.messages[0].content[1].audio.uri`."""
    description: str
    """The problem and its fix."""


class Error(Exception):
    """The error of a failed call.

    `code` determines how to react, `reason` is the cause; the gateway's docs/errors.md lists both.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        raw_reason: str = "",
        request_id: str = "",
        retry_after: float | None = None,
        status: status_pb2.Status | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        """The gRPC code."""
        self.message = message
        """The error message, in English. Its wording may change."""
        self.reason: v1.ErrorReason.ValueType = _reason(raw_reason)
        """The cause, such as `v1.UPSTREAM_RATE`. `v1.ERROR_REASON_UNSPECIFIED` if the gateway
        did not create the error. A number without a name is a reason of a newer gateway."""
        self.raw_reason = raw_reason
        """The reason as text. `STREAM_IDLE` and `TOOL_ROUNDS` are created by this library only, and
        have no value of `v1.ErrorReason`. Empty if the gRPC library created the error."""
        self.usage: v1.Usage | None = None
        """The usage until the call failed, as counted by DashScope. None: nothing reported."""
        self.output_started = False
        """Whether a part of the answer was produced: reported by the gateway, or received by this
        stream."""
        self.request_id = request_id
        """The request id, as in the gateway's log."""
        self.retry_after = retry_after
        """Seconds to wait before a retry. None: do not retry."""
        self.upstream_code = ""
        """DashScope's error code, such as `Throttling.RateQuota`."""
        self.upstream_http_status = 0
        """The HTTP status of DashScope's response, 0 if there was none."""
        self.upstream_request_id = ""
        """DashScope's request id, for its support."""
        self.attempts = 0
        """How many requests were sent to DashScope."""
        self.model = ""
        """The model that was called, after the gateway's mapping."""
        self.field_violations: tuple[FieldViolation, ...] = ()
        """The invalid fields of the request."""
        self.status = status or status_pb2.Status(code=code.value[0], message=message)
        """The raw status with its details."""

    def __str__(self) -> str:
        name = f"{self.code.name} {self.raw_reason}".rstrip()
        call = f" (request {self.request_id})" if self.request_id else ""
        return f"{name}: {self.message}{call}"

    def __repr__(self) -> str:
        return f"dashgate.Error({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the constructor with the message only.
        return _remake, (self.code, self.message, self.__dict__)


def _remake(code: grpc.StatusCode, message: str, state: dict[str, Any]) -> Error:
    error = Error(code, message)
    error.__dict__.update(state)
    return error


def _reason(name: str) -> v1.ErrorReason.ValueType:
    """Return the enum value of a name, if it has one."""
    known = v1.ErrorReason.DESCRIPTOR.values_by_name
    return v1.ErrorReason.Value(name) if name in known else v1.ERROR_REASON_UNSPECIFIED


_CODES = {code.value[0]: code for code in grpc.StatusCode if code is not grpc.StatusCode.OK}


class _RpcError(Protocol):
    """The common part of the errors of both kinds of channel."""

    def code(self) -> grpc.StatusCode: ...

    def details(self) -> str | None: ...

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


def from_rpc(failed: _RpcError, request_id: str) -> Error:
    """Convert gRPC's error. `request_id` is the one that was sent."""
    # Not `dict(...)`: in some versions, metadata of asyncio resembles a mapping without being one.
    trailers = {name: value for name, value in failed.trailing_metadata() or ()}  # noqa: C416
    status = _status(trailers.get("grpc-status-details-bin"))
    code, message = failed.code(), failed.details() or ""
    if status is not None and status.code in _CODES:
        # The gateway's status: gRPC replaces it with INTERNAL if it cannot parse a trailer.
        code, message = _CODES[status.code], status.message
    error = Error(code, message, request_id=request_id, status=status)
    error.retry_after = _pushback(trailers.get("grpc-retry-pushback-ms"))
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
