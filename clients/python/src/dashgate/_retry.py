"""Calls that this library makes again. The retries of the gRPC library are apart from these."""

from __future__ import annotations

import random

import grpc

from dashgate._backoff import Deadline
from dashgate._log import CallLog
from dashgate._settings import FOREVER
from dashgate.errors import Error, forbids_retry

# So that callers that were throttled together do not come back together.
_JITTER = 0.1

# As in the service config, for methods that the gRPC library must not retry by itself.
_ATTEMPTS = 5
_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 10.0
_BACKOFF_JITTER = 0.2


class Retries:
    """How often a call is made again.

    `max_retries` is for throttling. `retries_unavailable` is for methods that are not in the
    service config, because only some of their calls may be repeated.
    """

    def __init__(
        self,
        log: CallLog,
        deadline: Deadline,
        *,
        max_retries: int = 0,
        retries_unavailable: bool = False,
    ) -> None:
        self.log = log
        self.deadline = deadline
        self._left = max_retries
        self._attempts = 1
        self._retries_unavailable = retries_unavailable

    def may_repeat(self, error: Error) -> bool:
        """Return whether the call is made again after this error."""
        return self._delay_within_deadline(error) is not None

    def delay(self, error: Error) -> float:
        """Return the seconds to wait before the call is made again, or raise the error."""
        self.log.failed(error)
        delay = self._delay_within_deadline(error)
        if delay is None:
            raise error
        self._left -= error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        self._attempts += 1
        self.log.retried(delay)
        return delay

    def _delay_within_deadline(self, error: Error) -> float | None:
        delay, remaining = self._delay(error), self.deadline.remaining()
        if delay is None or (remaining is not None and remaining <= delay):
            return None
        return delay

    def _delay(self, error: Error) -> float | None:
        if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            if error.retry_after is None or self._left <= 0:
                return None
            delay = error.retry_after * random.uniform(1, 1 + _JITTER)  # noqa: S311
            return min(delay, FOREVER)
        if error.code is not grpc.StatusCode.UNAVAILABLE or not self._retries_unavailable:
            return None
        if self._attempts == _ATTEMPTS or forbids_retry(error):
            return None
        if error.retry_after is not None:
            return min(error.retry_after, FOREVER)
        backoff = min(_FIRST_BACKOFF * 2.0 ** (self._attempts - 1), _LONGEST_BACKOFF)
        return backoff * random.uniform(1 - _BACKOFF_JITTER, 1 + _BACKOFF_JITTER)  # noqa: S311
