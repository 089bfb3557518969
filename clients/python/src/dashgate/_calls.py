"""Requests, upload sources and errors that both clients share."""

from __future__ import annotations

import os
import pathlib
import uuid
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol, TypeAlias

import grpc

from dashgate import v1
from dashgate._settings import Metadata, Settings
from dashgate.answer import Fold
from dashgate.content import sniff
from dashgate.conversation import Conversation
from dashgate.errors import Error

# Large enough to make the framing negligible, small enough for many concurrent uploads.
CHUNK = 256 * 1024

# Enough for usual tools; bounds the cost of a model that never stops calling them.
MAX_ROUNDS = 8


class Reader(Protocol):
    """A source of bytes: a file opened in binary mode, a socket's file, a pipe."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; empty at the end."""


class AsyncReader(Protocol):
    """An asynchronous source of bytes, such as `asyncio.StreamReader`."""

    def read(self, size: int, /) -> Awaitable[bytes]:
        """Return at most `size` bytes; empty at the end."""


UploadSource: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | Reader"
"""The path of a file, bytes, or a reader."""


def name_call(request_id: str) -> str:
    """Return the request id, or a generated one. All attempts of a call have the same."""
    return request_id or str(uuid.uuid4())


def unary_request(
    conversation: Conversation | v1.Conversation,
    options: v1.GenerationOptions | None,
    request_id: str,
) -> v1.ConverseRequest:
    """Return the request of a unary call."""
    return v1.ConverseRequest(
        conversation=_raw(conversation), options=options, request_id=name_call(request_id)
    )


def stream_request(
    conversation: Conversation | v1.Conversation,
    options: v1.GenerationOptions | None,
    request_id: str,
    *,
    resume: bool,
) -> v1.ConverseStreamRequest:
    """Return the request of a streamed call."""
    return v1.ConverseStreamRequest(
        conversation=_raw(conversation),
        options=options,
        request_id=name_call(request_id),
        resumable=resume,
    )


def named_metadata(settings: Settings, metadata: Metadata | None) -> tuple[str, Metadata]:
    """Return the request id of a request without a field for it, and the metadata with the id."""
    more = {name.lower(): value for name, value in (metadata or {}).items()}
    given = more.get("x-request-id") or dict(settings.sent_metadata()).get("x-request-id")
    name = given if isinstance(given, str) and given else name_call("")
    return name, {**more, "x-request-id": name}


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
        with path.open("rb") as file:
            yield file, name or path.name, os.fstat(file.fileno()).st_size
    elif isinstance(source, (bytes, bytearray, memoryview)):
        yield _Bytes(memoryview(source).cast("B")), name, memoryview(source).nbytes
    else:
        yield source, name, _rest(source)


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


def _raw(conversation: Conversation | v1.Conversation) -> v1.Conversation:
    return conversation.raw if isinstance(conversation, Conversation) else conversation


def note_output(fault: BaseException, fold: Fold) -> None:
    """Mark the error of a stream that had received a part of the answer."""
    if isinstance(fault, Error) and fold.has_output:
        fault.output_started = True


def check_complete(fold: Fold, request_id: str) -> None:
    """Raise an error if a stream ended successfully without its last event."""
    if not fold.complete:
        raise Error(
            grpc.StatusCode.INTERNAL,
            "the stream ended before the answer was complete",
            raw_reason="STREAM_TRUNCATED",
            request_id=request_id,
        )


def idle_error(idle_timeout: float, request_id: str) -> Error:
    """Return the error of a stream that received nothing for too long."""
    return Error(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        f"nothing came for {idle_timeout:g} s, not even a heartbeat, and the call was cancelled; "
        "idle_timeout sets this limit",
        raw_reason="STREAM_IDLE",
        request_id=request_id,
    )


def rounds_error(max_rounds: int) -> Error:
    """Return the error of a model that called tools in too many rounds."""
    return Error(
        grpc.StatusCode.FAILED_PRECONDITION,
        f"the model still asks for tools after {max_rounds} rounds; max_rounds sets this limit",
        raw_reason="TOOL_ROUNDS",
    )


def unknown_tool(name: str) -> str:
    """Return the result of a call of an unknown tool, so that the model can choose another."""
    # The text is the same in all clients. The name is escaped: the model may write any text.
    return f'{{"error":"there is no tool {name}"}}'
