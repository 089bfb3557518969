"""The log of calls, which the variable `DASHGATE_LOG` switches on."""

from __future__ import annotations

import logging
import os
import threading
import time
from types import TracebackType

import grpc

from dashgate._printable import printable
from dashgate.errors import Error

LOGGER = logging.getLogger("dashgate")

_LEVELS = {"info": logging.INFO, "debug": logging.DEBUG}


class _ToStandardError(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes lines of a program that has not configured its logging."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not logging.getLogger().handlers and bool(super().filter(record))


def configure_log() -> None:
    """Set the level that `DASHGATE_LOG` has."""
    level = _LEVELS.get(os.environ.get("DASHGATE_LOG", ""))
    if level is not None:
        LOGGER.setLevel(level)
        if not LOGGER.handlers:
            LOGGER.addHandler(_ToStandardError())
    elif LOGGER.level == logging.NOTSET:
        # Off, unless the program sets a level for this logger. That of the root does not count.
        LOGGER.setLevel(logging.WARNING)


def is_logged() -> bool:
    """Return whether the end of a call is logged."""
    return LOGGER.isEnabledFor(logging.INFO)


def connection_opened(address: str) -> None:
    """Log a connection of the pool."""
    LOGGER.debug("dashgate: opening a connection to %s", address)


class CallLog:
    """The lines of one call."""

    def __init__(self, method: str, request_id: str, address: str) -> None:
        self._method = method
        self._request_id = request_id
        self._address = address
        self._began = time.monotonic()
        # Held while the end is logged, so that it is logged when a caller goes on.
        self._ending = threading.RLock()
        self._ended = False
        # The error of the current attempt, which may be reported by two threads.
        self._failed: tuple[object, ...] | None = None

    def __enter__(self) -> CallLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ended(error)

    def retried(self, delay: float) -> None:
        """Log that the call is made again after a delay."""
        self._later("retry", delay)

    def resumed(self, delay: float) -> None:
        """Log that the stream is resumed after a delay."""
        self._later("resume", delay)

    def failed(self, error: Error) -> None:
        """Log an attempt that failed, with its cause if it is not the gateway's."""
        with self._ending:
            failed = error.code, error.raw_reason, error.message
            if self._ended or failed == self._failed:
                return
            self._failed = failed
        is_local = not error.headers and not error.status.details
        cause = f": {printable(error.message)}" if is_local else ""
        LOGGER.debug(
            "dashgate: %s attempt failed: %s%s, request id %s, %s",
            self._method,
            _outcome(error),
            cause,
            printable(self._request_id),
            self._address,
        )

    def ended(self, error: BaseException | None = None) -> None:
        """Log the end of the call, once. An error that is not of this library is a cancellation."""
        if isinstance(error, Error):
            self.failed(error)
        with self._ending:
            if self._ended:
                return
            self._ended = True
            LOGGER.info(
                "dashgate: %s %s %.0f ms, request id %s, %s",
                self._method,
                _outcome(error),
                (time.monotonic() - self._began) * 1000,
                printable(self._request_id),
                self._address,
            )

    def _later(self, what: str, delay: float) -> None:
        self._failed = None
        LOGGER.debug(
            "dashgate: %s %s in %.0f ms, request id %s, %s",
            self._method,
            what,
            delay * 1000,
            printable(self._request_id),
            self._address,
        )


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return "OK"
    if not isinstance(error, Error):
        return grpc.StatusCode.CANCELLED.name
    return f"{error.code.name} {printable(error.raw_reason)}".rstrip()
