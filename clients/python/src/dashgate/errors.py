"""The one error that a call ends with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2


@dataclass(frozen=True)
class FieldViolation:
    """A field of the request that is wrong."""

    field: str
    """The path of the field, such as `conversation.messages[0].content[1].audio.uri`."""
    description: str
    """What is wrong with it, and what would be right."""


class Error(Exception):
    """A call that failed.

    `code` says what to do next, and `reason` what exactly happened: the gateway's list of errors
    explains each. `reason` is empty if gRPC itself or a proxy made the error.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        request_id: str = "",
        retry_after: float | None = None,
        status: status_pb2.Status | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        """What to do next, in gRPC's words."""
        self.message = message
        """What happened, in a sentence."""
        self.reason = reason
        """What exactly happened, in one word: for programs."""
        self.request_id = request_id
        """The name of the call, as in the gateway's log."""
        self.retry_after = retry_after
        """Call again after so many seconds. None: do not call again."""
        self.upstream_code = ""
        """DashScope's code, such as `Throttling.RateQuota`."""
        self.upstream_http_status = 0
        """DashScope's HTTP status, 0 if there was none."""
        self.upstream_request_id = ""
        """DashScope's name of the call, for its support."""
        self.attempts = 0
        """How often DashScope was asked."""
        self.field_violations: tuple[FieldViolation, ...] = ()
        """The fields that are wrong."""
        self.status = status or status_pb2.Status(code=code.value[0], message=message)
        """The raw status, with all its details."""

    def __str__(self) -> str:
        name = f"{self.code.name} {self.reason}".rstrip()
        call = f" (request {self.request_id})" if self.request_id else ""
        return f"{name}: {self.message}{call}"

    def __repr__(self) -> str:
        return f"dashgate.Error({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the constructor with the message alone.
        return _remake, (self.code, self.message, self.__dict__)


def _remake(code: grpc.StatusCode, message: str, state: dict[str, Any]) -> Error:
    error = Error(code, message)
    error.__dict__.update(state)
    return error


_CODES = {code.value[0]: code for code in grpc.StatusCode if code is not grpc.StatusCode.OK}


class Failed(Protocol):
    """What the errors of both kinds of channel have in common."""

    def code(self) -> grpc.StatusCode:
        """Give the code."""

    def details(self) -> str | None:
        """Give the message."""

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """Give the trailers."""


def from_rpc(failed: Failed, request_id: str) -> Error:
    """Read gRPC's error; `request_id` is the one that was sent."""
    # Not `dict(...)`: in some versions asyncio's metadata look like a mapping, and are none.
    trailers = {name: value for name, value in failed.trailing_metadata() or ()}  # noqa: C416
    status = _status(trailers.get("grpc-status-details-bin"))
    code, message = failed.code(), failed.details() or ""
    if status is not None and status.code in _CODES:
        # The gateway's own word: gRPC puts INTERNAL in its place when it stumbles over a trailer.
        code, message = _CODES[status.code], status.message
    error = Error(code, message, request_id=request_id, status=status)
    error.retry_after = _pushback(trailers.get("grpc-retry-pushback-ms"))
    for detail in error.status.details:
        # A detail that cannot be read is a proxy's fault, and takes nothing from the others.
        with contextlib.suppress(DecodeError):
            _read(detail, error)
    return error


def _read(detail: any_pb2.Any, error: Error) -> None:
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.RequestInfo()
    retry = error_details_pb2.RetryInfo()
    bad = error_details_pb2.BadRequest()
    if detail.Unpack(info):
        error.reason = info.reason
        error.upstream_code = info.metadata.get("upstream_code", "")
        error.upstream_http_status = _number(info.metadata.get("upstream_http_status"))
        error.upstream_request_id = info.metadata.get("upstream_request_id", "")
        error.attempts = _number(info.metadata.get("attempts"))
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
        # A proxy's fault; the code and the message still hold.
        return None


def _pushback(raw: str | bytes | None) -> float | None:
    milliseconds = _number(raw, missing=-1)
    return milliseconds / 1000 if milliseconds >= 0 else None


def _number(raw: str | bytes | None, missing: int = 0) -> int:
    try:
        return int(raw) if raw is not None else missing
    except ValueError:
        return missing
