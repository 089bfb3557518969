"""What streams and live sessions share when they are resumed: attempts, delays and the deadline."""

from __future__ import annotations

import random
import time

from dashgate.errors import Error

# Consecutive attempts to resume a session or a stream without an event in between. Their delays
# add up to 6 seconds; the gateway keeps a session for 30, and a stream for 15.
RESUME_ATTEMPTS = 6
FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0


def resume_delay(attempts: int, error: Error) -> float:
    """Return the seconds to wait before a session or a stream is resumed."""
    delay = min(FIRST_DELAY * 2.0**attempts, LONGEST_DELAY)
    # Many lose their connection at the same time.
    delay *= random.uniform(0.75, 1.25)  # noqa: S311
    return min(max(delay, error.retry_after or 0.0), LONGEST_DELAY)


class Deadline:
    """The deadline of a session or a stream, which applies to all of its connections."""

    def __init__(self, timeout: float | None) -> None:
        self._at = None if timeout is None else time.monotonic() + timeout

    def remaining(self) -> float | None:
        """Return the seconds until the deadline; None if there is none."""
        if self._at is None:
            return None
        # gRPC takes a timeout of 0 for an error of the program.
        return max(self._at - time.monotonic(), 0.001)

    def is_over(self) -> bool:
        """Return whether the deadline has come, or is so near that no attempt is worth it."""
        return self._at is not None and time.monotonic() + 0.005 >= self._at

    def limit(self, delay: float) -> float:
        """Return the delay, or what remains until the deadline if that is shorter."""
        remaining = self.remaining()
        return delay if remaining is None else min(delay, remaining)
