"""The source of an upload, and its messages."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import pathlib
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import BinaryIO, Protocol, TypeAlias, cast

from dashgate import v1
from dashgate._media_types import sniff
from dashgate._regular_files import open_regular, opened_in_thread
from dashgate._types import wrong_type
from dashgate._unary import Pending
from dashgate.content import Reader

# Large enough to make the framing negligible, small enough for many concurrent uploads.
CHUNK = 256 * 1024


class AsyncReader(Protocol):
    """An asynchronous source of bytes, such as `asyncio.StreamReader`."""

    def read(self, size: int, /) -> Awaitable[bytes]:
        """Return at most `size` bytes; empty at the end."""


UploadSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | Reader
"""The path of a file, bytes, or a reader."""


def describe(
    model: str, mime_type: str, name: str, head: bytes, size: int | None
) -> v1.UploadMediaRequest:
    """Return the first message of an upload."""
    return v1.UploadMediaRequest(
        description=v1.MediaDescription(
            model=model, mime_type=mime_type or sniff(head, name), name=name, size_bytes=size
        )
    )


@contextmanager
def opened(source: UploadSource, name: str) -> Iterator[tuple[Reader, str, int | None]]:
    """Open the source of an upload; yield the reader, its name, and its size if known."""
    if isinstance(source, (str, os.PathLike)):
        path = pathlib.Path(source)
        with open_regular(path) as file:
            yield file, name or path.name, os.fstat(file.fileno()).st_size
    elif isinstance(source, (bytes, bytearray, memoryview)):
        yield _Bytes(memoryview(source).cast("B")), name, memoryview(source).nbytes
    elif isinstance(source, Reader):
        yield source, name, _rest(source)
    else:
        raise wrong_type("the source", source, "a path, bytes, or a reader of bytes")


@asynccontextmanager
async def opened_async(
    source: UploadSource | AsyncReader, name: str
) -> AsyncIterator[tuple[Reader, str, int | None]]:
    """Do the same without stopping the loop."""
    if isinstance(source, (str, os.PathLike)):
        path = pathlib.Path(source)
        async with opened_in_thread(functools.partial(open_regular, path)) as file:
            yield file, name or path.name, os.fstat(file.fileno()).st_size
    elif isinstance(source, (bytes, bytearray, memoryview)):
        with opened(source, name) as found:
            yield found
    elif not isinstance(source, Reader):
        raise wrong_type("the source", source, "a path, bytes, or a reader of bytes")
    else:
        reader = source
        awaits = inspect.iscoroutinefunction(reader.read)
        yield reader, name, None if awaits else await asyncio.to_thread(_rest, reader)


class _Bytes:
    """A reader of bytes that does not copy them all at once."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def read(self, size: int, /) -> bytes:
        chunk, self._data = self._data[:size], self._data[size:]
        return bytes(chunk)


def _rest(reader: Reader | BinaryIO) -> int | None:
    """Return how many bytes are left to read, if the reader can report it."""
    try:
        if not reader.seekable():  # type: ignore[union-attr]
            return None
        here = reader.tell()  # type: ignore[union-attr]
        end = reader.seek(0, os.SEEK_END)  # type: ignore[union-attr]
        reader.seek(here)  # type: ignore[union-attr]
    except (AttributeError, OSError):
        return None
    return end - here


class UploadMessages:
    """The messages of an upload, which gRPC iterates in its own thread."""

    def __init__(
        self, reader: Reader, model: str, mime_type: str, name: str, size: int | None
    ) -> None:
        self.fault: BaseException | None = None
        self._reader = reader
        self._call: Pending[v1.UploadMediaResponse] | None = None
        self._begun = threading.Event()
        self._stopped = False
        # Read here, so that an unreadable file fails before the call.
        self._chunk = reader.read(CHUNK)
        self._next = describe(model, mime_type, name, self._chunk, size)
        # Held while a chunk is read.
        self._reading = threading.Lock()

    def started(self, call: Pending[v1.UploadMediaResponse]) -> None:
        """Set the call to cancel if reading fails."""
        self._call = call
        self._begun.set()

    def stop(self) -> None:
        """Stop reading, and wait for a read in progress."""
        with self._reading:
            self._stopped = True

    def __iter__(self) -> Iterator[v1.UploadMediaRequest]:
        yield self._next
        chunk = self._chunk
        while chunk:
            yield v1.UploadMediaRequest(chunk=chunk)
            with self._reading:
                if self._stopped:
                    return
                try:
                    chunk = self._reader.read(CHUNK)
                except BaseException as fault:
                    # gRPC would only log it.
                    self.fault = fault
                    self._begun.wait()
                    assert self._call is not None
                    self._call.cancel()
                    return


async def read_chunk(reader: Reader) -> bytes:
    """Read a chunk: an asynchronous reader is awaited, another one is read in a thread."""
    if inspect.iscoroutinefunction(reader.read):
        return cast("bytes", await reader.read(CHUNK))
    chunk = await asyncio.to_thread(reader.read, CHUNK)
    # A method that is no coroutine function may return what one returns.
    return cast("bytes", await chunk) if inspect.isawaitable(chunk) else chunk
