"""Cancels streams that receive nothing, with one thread for all streams of a client.

A thread for each stream, or a timer for each event, would be more expensive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_NEVER = float("inf")


class Wait:
    """A stream that waits for its next event between `arm` and `disarm`."""

    def __init__(self, limit: float, cancel: Callable[[], object]) -> None:
        self.limit = limit
        self.cancel = cancel
        self.deadline = _NEVER
        self.expired = False

    @property
    def is_armed(self) -> bool:
        """Whether a thread waits for an event."""
        return self.deadline != _NEVER

    def arm(self) -> None:
        """Start waiting. An assignment only, because it runs for each event."""
        self.deadline = time.monotonic() + self.limit

    def disarm(self) -> None:
        """Stop waiting: an event was received."""
        self.deadline = _NEVER


class Watch:
    """The thread that checks the streams. It runs while there are streams."""

    def __init__(self) -> None:
        # Reentrant, because a garbage-collected stream may remove itself at any time.
        self._changed = threading.Condition(threading.RLock())
        self._waits: set[Wait] = set()
        self._running = False

    def add(self, wait: Wait) -> None:
        """Add a stream."""
        if wait.limit == _NEVER:
            return
        with self._changed:
            self._waits.add(wait)
            if self._running:
                self._changed.notify()
                return
            self._running = True
        threading.Thread(target=self._run, name="dashgate-idle", daemon=True).start()

    def remove(self, wait: Wait) -> None:
        """Remove a stream that has ended."""
        with self._changed:
            self._waits.discard(wait)
            if not self._waits:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waits:
                    self._running = False
                    return
                now = time.monotonic()
                late = [wait for wait in self._waits if wait.deadline <= now]
                self._waits.difference_update(late)
                if not late:
                    # A stream that starts waiting from now on times out at this time at the
                    # earliest.
                    wake = min(min(wait.deadline, now + wait.limit) for wait in self._waits)
                    self._changed.wait(wake - now)
                    continue
            for wait in late:
                wait.expired = True
                wait.cancel()
