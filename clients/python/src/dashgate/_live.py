"""What the live sessions of both clients share: their state, and when a broken stream is resumed.

A live session outlives its stream. If the connection breaks, the session is resumed on a new
stream, which continues after the last event that was received.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NoReturn, TypeAlias, TypeVar

import grpc

from dashgate import v1
from dashgate._backoff import RESUME_ATTEMPTS, Deadline, resume_delay
from dashgate._calls import named_metadata, rpc_name
from dashgate._log import CallLog
from dashgate._settings import Metadata, Settings
from dashgate._types import wrong_type
from dashgate.errors import Error

LiveEvent: TypeAlias = v1.ConverseLiveResponse | v1.SynthesizeLiveResponse

Request = TypeVar("Request")
Response = TypeVar("Response", bound=LiveEvent)

# Codes that gRPC libraries and proxies create for a broken stream. With a reason of the gateway
# they are final.
_BROKEN = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


class Progress(Generic[Request]):
    """The state of a session across its streams."""

    def __init__(
        self,
        settings: Settings,
        *,
        address: str,
        timeout: float | None,
        metadata: Metadata | None,
        given: v1.ResumeSession | None,
        opening: Callable[[v1.ResumeSession | None], Request],
    ) -> None:
        self.request_id, more = named_metadata(settings, metadata)
        self.metadata = settings.sent_metadata(more)
        self.resumes = 0
        self.session_id = ""
        self.ended: v1.SessionEnded | None = None
        self._opening = opening
        self._has_output = False
        self._token = ""
        self._sequence = 0
        self._attempts = 0
        self._fault: Error | None = None
        self.deadline = Deadline(settings.stream_timeout(timeout))
        if given is not None:
            self.session_id, self._token = given.session_id, given.token
            self._sequence = given.last_sequence
        self.log = CallLog(rpc_name(self.first()), self.request_id, address)

    def first(self) -> Request:
        """Return the first message of the next stream."""
        return self._opening(self.resumption())

    def resumption(self) -> v1.ResumeSession | None:
        """Return what another stream needs to continue after the last event."""
        if not self._token:
            return None
        return v1.ResumeSession(
            session_id=self.session_id, token=self._token, last_sequence=self._sequence
        )

    def received(self, event: LiveEvent) -> bool:
        """Note an event. Return False if it was received on an earlier stream."""
        if event.HasField("session_started"):
            started = event.session_started
            if started.session_id:
                self.session_id = started.session_id
            # A resumed stream starts with the number of the last event that was received.
            self._token = started.resume_token or self._token
            self._sequence = max(self._sequence, event.sequence)
            return True
        # Whatever follows the start is progress.
        self._attempts, self._fault = 0, None
        if event.sequence and event.sequence <= self._sequence:
            return False
        self._sequence = event.sequence
        self._has_output = self._has_output or event.HasField("response_delta")
        if event.HasField("session_ended"):
            self.ended = event.session_ended
        return True

    def check_complete(self) -> None:
        """Raise an error if a stream ended with OK before the session did."""
        if self.ended is None:
            error = Error(
                grpc.StatusCode.INTERNAL,
                "the stream ended before the session",
                raw_reason="STREAM_TRUNCATED",
                request_id=self.request_id,
            )
            self._raise(error)
        self.log.ended()

    def broken(self, error: Error) -> float:
        """Return the seconds to wait before the session is resumed, or raise the final error."""
        self.log.failed(error)
        lost = error.code is grpc.StatusCode.UNAVAILABLE or (
            error.code in _BROKEN and not error.raw_reason
        )
        if not lost or not self._token or self.ended is not None:
            self._raise(error)
        if self._attempts and self.deadline.is_over():
            self._raise(error)
        if self._attempts == RESUME_ATTEMPTS:
            # The error of the stream that broke has the cause and the usage; those of the attempts
            # have neither.
            self._raise(self._fault or error)
        self._fault = self._fault or error
        delay = self.deadline.limit(resume_delay(self._attempts, error))
        self._attempts += 1
        self.resumes += 1
        self.log.resumed(delay)
        return delay

    def _raise(self, error: Error) -> NoReturn:
        error.output_started = error.output_started or self._has_output
        if error.usage is None and self._fault is not None:
            error.usage = self._fault.usage
        self.log.ended(error)
        raise error


def converse_opening(
    setup: v1.LiveSetup | str,
) -> tuple[v1.ResumeSession | None, Callable[[v1.ResumeSession | None], v1.ConverseLiveRequest]]:
    """Return what the setup resumes, and the first message of each stream."""
    if not isinstance(setup, (v1.LiveSetup, str)):
        raise wrong_type("setup", setup, "a v1.LiveSetup, or a model")
    full = v1.LiveSetup(model=setup) if isinstance(setup, str) else setup

    def opening(resume: v1.ResumeSession | None) -> v1.ConverseLiveRequest:
        return v1.ConverseLiveRequest(setup=v1.LiveSetup(resume=resume) if resume else full)

    return full.resume if full.HasField("resume") else None, opening


def speech_opening(
    setup: v1.SynthesisSetup | str,
) -> tuple[v1.ResumeSession | None, Callable[[v1.ResumeSession | None], v1.SynthesizeLiveRequest]]:
    """Return what the setup resumes, and the first message of each stream."""
    if not isinstance(setup, (v1.SynthesisSetup, str)):
        raise wrong_type("setup", setup, "a v1.SynthesisSetup, or a model")
    full = v1.SynthesisSetup(model=setup) if isinstance(setup, str) else setup

    def opening(resume: v1.ResumeSession | None) -> v1.SynthesizeLiveRequest:
        return v1.SynthesizeLiveRequest(setup=v1.SynthesisSetup(resume=resume) if resume else full)

    return full.resume if full.HasField("resume") else None, opening


def over_error() -> ValueError:
    """Return the error of a message for a session that has ended."""
    return ValueError("the session has ended")


def finished_error() -> ValueError:
    """Return the error of a message after `finish`."""
    return ValueError("the input is finished: nothing can be sent after finish()")
