"""The settings of a client, validated once: credentials, metadata, timeouts, retries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from dashgate._log import configure_log
from dashgate._types import check_metadata, check_number, wrong_type

Metadata: TypeAlias = Mapping[str, str | bytes]
"""The names and values of metadata."""

# The gateway's own timeout for DashScope is shorter, so this limit is for a gateway that hangs.
UNARY_TIMEOUT = 600.0

# Four heartbeats of the gateway: one may be late.
IDLE_TIMEOUT = 60.0


# A hundred years: what is longer has no end. Neither gRPC nor threads can wait so long.
FOREVER = 3.2e9


@dataclass(frozen=True)
class Settings:
    """The settings of a client."""

    api_key: str = field(repr=False)
    timeout: float | None
    idle_timeout: float
    metadata: Metadata = field(repr=False)
    max_retries: int

    @classmethod
    def of(
        cls,
        api_key: str | None,
        timeout: float | None,
        idle_timeout: float | None,
        metadata: Metadata | None,
        max_retries: int,
    ) -> Settings:
        """Return settings with defaults for missing values."""
        configure_log()
        check_metadata(metadata)
        check_number("timeout", timeout)
        check_number("idle_timeout", idle_timeout)
        if not isinstance(api_key, (str, type(None))):
            raise wrong_type("api_key", api_key, "a str")
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout is {timeout}; it must be more than 0 seconds")
        if idle_timeout is not None and not idle_timeout > 0:
            raise ValueError(f"idle_timeout is {idle_timeout}; it must be more than 0 seconds")
        if api_key is None:
            api_key = os.environ.get("DASHGATE_API_KEY", "")
        api_key = api_key.strip()
        # gRPC would reject the call later, and would print the value.
        if not api_key.isprintable() or not api_key.isascii():
            raise ValueError("api_key has characters that cannot be sent")
        return cls(
            api_key=api_key,
            timeout=timeout,
            idle_timeout=_idle(idle_timeout),
            metadata=dict(metadata or {}),
            max_retries=_count(max_retries),
        )

    def sent_metadata(self, more: Metadata | None = None) -> tuple[tuple[str, str | bytes], ...]:
        """Join the metadata of client and call, of which the latter takes precedence."""
        check_metadata(more)
        both = {name.lower(): value for name, value in self.metadata.items()}
        both.update((name.lower(), value) for name, value in (more or {}).items())
        if self.api_key:
            both.setdefault("authorization", f"Bearer {self.api_key}")
        return tuple(both.items())

    def retries(self, max_retries: int | None) -> int:
        """Return how often a call is made again if it is throttled."""
        return self.max_retries if max_retries is None else _count(max_retries)

    def unary_timeout(self, timeout: float | None) -> float | None:
        """Return the deadline of a unary call."""
        return _finite(_first(timeout, self.timeout, UNARY_TIMEOUT))

    def stream_timeout(self, timeout: float | None) -> float | None:
        """Return the deadline of a stream: none by default."""
        return _finite(_first(timeout, self.timeout))


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _finite(timeout: float | None) -> float | None:
    check_number("timeout", timeout)
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout is {timeout}; it must be more than 0 seconds")
    return None if timeout is not None and timeout > FOREVER else timeout


def _idle(timeout: float | None) -> float:
    if timeout is None:
        return IDLE_TIMEOUT
    return float("inf") if timeout > FOREVER else timeout


def _count(max_retries: int) -> int:
    if not isinstance(max_retries, int):
        raise wrong_type("max_retries", max_retries, "an int")
    if max_retries < 0:
        raise ValueError(f"max_retries is {max_retries}; it must be 0 or more")
    return max_retries
