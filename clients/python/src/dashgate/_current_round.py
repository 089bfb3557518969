"""What both streamed tool loops show of their current round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from dashgate.aio_stream import AsyncStream
from dashgate.answer import Answer
from dashgate.stream import Stream

_AnyStream = TypeVar("_AnyStream", bound=Stream | AsyncStream)


class CurrentRound(Generic[_AnyStream]):
    """The stream of the current round, and what it has."""

    def __init__(self, stream: _AnyStream) -> None:
        self.current: _AnyStream = stream
        """The stream of the current round."""

    @property
    def request_id(self) -> str:
        """The request id of the current round's call."""
        return self.current.request_id

    @property
    def resumes(self) -> int:
        """How often the stream of the current round was tried to be resumed."""
        return self.current.resumes

    @property
    def headers(self) -> Mapping[str, str]:
        """The metadata of the current round's response. Empty until its first event was read."""
        return self.current.headers

    @property
    def partial(self) -> Answer | None:
        """The answer that the events of the current round so far make, also after an error.

        None before the first event of a round that is no heartbeat.
        """
        return self.current.partial
