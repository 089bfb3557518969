"""Locks of uploads, so that calls at the same time upload a file once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import grpc

from dashgate._backoff import Deadline
from dashgate._large_files import Upload
from dashgate.errors import Error

# Different files rarely share one, and do no harm if they do.
_LOCKS = 64


class Uploading:
    """The locks of a process."""

    def __init__(self) -> None:
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    @contextmanager
    def of(self, upload: Upload, deadline: Deadline) -> Iterator[None]:
        """Hold the lock of a file. Wait for it until the deadline."""
        lock = self._locks[hash(upload) % _LOCKS]
        remaining = deadline.remaining()
        if not lock.acquire(timeout=-1 if remaining is None else remaining):
            raise _late()
        try:
            yield
        finally:
            lock.release()


class AsyncUploading:
    """The locks of an event loop."""

    def __init__(self) -> None:
        self._locks = [asyncio.Lock() for _ in range(_LOCKS)]

    @asynccontextmanager
    async def of(self, upload: Upload, deadline: Deadline) -> AsyncIterator[None]:
        """Hold the lock of a file. Wait for it until the deadline."""
        lock = self._locks[hash(upload) % _LOCKS]
        acquiring = asyncio.ensure_future(lock.acquire())
        try:
            await asyncio.wait([acquiring], timeout=deadline.remaining())
            if not acquiring.done():
                raise _late()
            yield
        finally:
            if acquiring.done() and not acquiring.cancelled():
                lock.release()
            else:
                acquiring.cancel()


def _late() -> Error:
    return Error(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "the deadline was exceeded while another call uploaded the file",
        raw_reason="DEADLINE_EXCEEDED",
    )
