"""What the streams of both clients share: when a stream that lost its connection is resumed.

A stream outlives its connection. If that is lost, the stream continues on another one, after the
last event that was received.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

import grpc

from dashgate import v1
from dashgate._backoff import RESUME_ATTEMPTS, resume_delay
from dashgate._fold import Fold
from dashgate._retry import Retries
from dashgate.answer import Answer
from dashgate.errors import Error

# Codes that gRPC libraries and proxies create for a lost connection. With a reason of the gateway
# they are final.
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)

# The call may go on at another replica.
_ELSEWHERE = ("SHUTTING_DOWN", "STORE_DOWN")

# The gateway does not have the call any more: what broke the stream is the cause.
_GONE = (
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
)

# The metadata of a response whose stream can be resumed.
_RESUMABLE = "dashgate-resumable"


class Resumption:
    """The state of a stream across its connections."""

    def __init__(self, request: v1.ConverseStreamRequest, retries: Retries, *, named: bool) -> None:
        self.request = request
        self.request_id = request.request_id
        self.headers: Mapping[str, str] = {}
        self.log = retries.log
        self.deadline = retries.deadline
        self.resumes = 0
        self.fold = Fold()
        # Whether the caller chose the request id, so that the call may have other readers.
        self._named = named
        # Whether the gateway resumes streams.
        self._can = False
        self._started = False
        self._sequence = 0
        self._attempts = 0
        self._fault: Error | None = None
        self._retries = retries
        self._has_events = False
        # Whether the deadline ended while it was resumed.
        self._is_late = False
        # Locked by the first one that leaves the stream.
        self._leaving = threading.Lock()

    @property
    def started(self) -> bool:
        """Whether the gateway has begun to answer."""
        return self._started

    def announced(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> None:
        """Note the metadata of a response, which precedes `Started`."""
        if not self._started and (_RESUMABLE, "true") in map(tuple, metadata or ()):
            self._can = self.request.resumable

    def received(self, event: v1.ConverseStreamResponse) -> bool:
        """Note an event. Return False if it was received on an earlier connection."""
        self._has_events = True
        sequence = event.sequence
        # A heartbeat has the number of the event before it.
        counts = not event.HasField("heartbeat")
        if self.resumes and counts and sequence > self._sequence + 1:
            assert self._fault is not None
            raise self._fault
        self._attempts = 0
        if not self._started and event.HasField("started"):
            self._started = True
            self._can = self.request.resumable and event.started.resumable
        if counts:
            if self.resumes and sequence <= self._sequence:
                return False
            self._sequence = sequence
        self.fold.add(event)
        return True

    def failed(self, error: Error) -> float | None:
        """Return the seconds to wait before the call is made again, or raise the final error.

        None means that the answer is complete.
        """
        self.log.failed(error)
        self.headers = error.headers or self.headers
        if not self._has_events and self._retries.may_repeat(error):
            return self._retries.delay(error)
        lost = error.raw_reason in _ELSEWHERE or (not error.raw_reason and error.code in _LOST)
        if not self._can or (not lost and self._attempts == 0):
            raise error
        if lost and self.fold.complete:
            return None
        fault = self._fault if self._attempts and self._fault is not None else error
        if not lost:
            error.usage = error.usage or fault.usage
            raise fault if error.code in _GONE else error
        if self._attempts and self.deadline.is_over():
            self._is_late = True
            error.usage = error.usage or fault.usage
            raise error
        if self._attempts == RESUME_ATTEMPTS:
            raise fault
        self._fault = fault
        delay = self.deadline.limit(resume_delay(self._attempts, error))
        self._attempts += 1
        self.resumes += 1
        self.request.after_sequence = self._sequence
        self.log.resumed(delay)
        return delay

    def partial(self) -> Answer | None:
        """Return the answer so far; None if nothing but heartbeats was received."""
        return self.answer() if self.fold.begun else None

    def answer(self) -> Answer:
        """Return the answer that the events so far make."""
        return Answer(self.fold.response(), self.headers)

    def must_leave(self, fault: BaseException | None) -> bool:
        """Return whether to end the call of a stream that was left, or that failed.

        The gateway waits for the stream to return. It is True at most once.
        """
        return self._is_awaited(fault) and self._leaving.acquire(blocking=False)

    def _is_awaited(self, fault: BaseException | None) -> bool:
        if not self.request.resumable or (self._started and not self._can):
            return False
        if isinstance(fault, Error):
            # A caller that chose the request id can fetch the answer with it.
            late = fault.code is grpc.StatusCode.DEADLINE_EXCEEDED or self._is_late
            return late and not self._named
        return not self.fold.complete
