"""The error of a failed call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import status_pb2

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
        retry_forbidden: bool = False,
        headers: Mapping[str, str] | None = None,
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
        """The reason as text. `STREAM_IDLE`, `TOOL_ROUNDS` and `OUTPUT_INVALID` are created by this
        library only, and have no value of `v1.ErrorReason`. Empty if the gRPC library created the
        error, unless the deadline was exceeded or a response was too large."""
        self.usage: v1.Usage | None = None
        """The usage until the call failed, as counted by DashScope. None: nothing reported."""
        self.output_started = False
        """Whether a part of the answer was produced: reported by the gateway, or received by this
        stream."""
        self.request_id = request_id
        """The request id, as in the gateway's log."""
        self.retry_after = retry_after
        """Seconds to wait before a retry. None: the time is not known; see `retryable`."""
        self.headers: Mapping[str, str] = dict(headers or {})
        """The metadata of the response: initial metadata and trailers, with names in lower case and
        without binary ones."""
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
        self._retry_forbidden = retry_forbidden

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later.

        True with a `retry_after`, and if the gateway was not reached. False for everything else.
        """
        if self.retry_after is not None:
            return True
        lost = self.code is grpc.StatusCode.UNAVAILABLE and not self.raw_reason and not self.reason
        return lost and not self._retry_forbidden

    def __str__(self) -> str:
        # The reason of a deadline is the name of its code.
        names = dict.fromkeys(filter(None, (self.code.name, self.raw_reason)))
        is_named = not self.request_id or _has_word(self.message, self.request_id)
        call = "" if is_named else f" (request id {self.request_id})"
        return f"{' '.join(names)}: {self.message}{call}"

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


def _has_word(text: str, name: str) -> bool:
    """Return whether a text has an id as a word. A short one may be a part of others."""
    words = re.split(r"[\s()\[\],;]+", text)
    return any(name in (word, word.rstrip(":.").strip("\"'`")) for word in words)


def forbids_retry(error: Error) -> bool:
    """Return whether the server sent a pushback that forbids a retry."""
    return error._retry_forbidden  # noqa: SLF001
