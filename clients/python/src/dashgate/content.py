"""Parts of a message: text, audio, images and video.

Files are read by the client; paths are never sent. A file of more than 4 MiB is uploaded before the
call. A path must be that of a regular file: a pipe or a device can be passed as an open file. The
MIME type is detected from the first bytes, then from the extension, else by the gateway.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable
from urllib.parse import urlsplit
from urllib.request import url2pathname

from dashgate import v1
from dashgate._large_files import LARGE, attach
from dashgate._media_types import HEAD, sniff
from dashgate._regular_files import open_regular
from dashgate._types import wrong_type


@runtime_checkable
class Reader(Protocol):
    """A source of bytes: a file opened in binary mode, a socket's file, a pipe."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; empty at the end."""


Source: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | Reader
"""A URI (`http:`, `https:`, `oss:`, `data:`, `file:`), the path of a file, bytes, or a reader, such
as an open file, which is read to its end."""

# How much is read at once from a reader.
_PIECE = 1024 * 1024

# What is not a list of sources, though some can be iterated.
_ONE = (str, os.PathLike, bytes, bytearray, memoryview, Reader)

_SCHEMES = ("http:", "https:", "oss:", "data:")


def text(value: str) -> v1.Content:
    """Return a text part."""
    if not isinstance(value, str):
        raise wrong_type("a text", value, "a str")
    return v1.Content(text=value)


def audio(source: Source, *, mime_type: str = "") -> v1.Content:
    """Return an audio part from a URI, a path, bytes or a reader."""
    uri, data, mime_type = _medium(source, mime_type, "audio")
    if uri is not None:
        return v1.Content(audio=v1.Audio(uri=uri, mime_type=mime_type))
    return v1.Content(audio=v1.Audio(data=data, mime_type=mime_type))


def image(source: Source, *, mime_type: str = "") -> v1.Content:
    """Return an image part from a URI, a path, bytes or a reader."""
    return v1.Content(image=_picture(source, mime_type))


def video(source: Source | Sequence[Source], *, mime_type: str = "") -> v1.Content:
    """Return a video part from a URI, a path, bytes, a reader, or a list of images: its frames."""
    if isinstance(source, Iterable) and not isinstance(source, _ONE):
        frames = v1.VideoFrames(frames=[_picture(frame, mime_type) for frame in source])
        return v1.Content(video=v1.Video(frames=frames))
    uri, data, mime_type = _medium(source, mime_type, "video")
    if uri is not None:
        return v1.Content(video=v1.Video(uri=uri, mime_type=mime_type))
    return v1.Content(video=v1.Video(data=data, mime_type=mime_type))


def _picture(source: Source, mime_type: str) -> v1.Image:
    uri, data, mime_type = _medium(source, mime_type, "image")
    if uri is not None:
        return v1.Image(uri=uri, mime_type=mime_type)
    return v1.Image(data=data, mime_type=mime_type)


def _medium(source: Source, mime_type: str, kind: str) -> tuple[str | None, bytes, str]:
    """Return the URI or the bytes, and the MIME type."""
    if isinstance(source, str) and source.startswith(_SCHEMES):
        return source, b"", mime_type
    if isinstance(source, (str, os.PathLike)):
        path = _path(source)
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            if status.st_size > LARGE:
                head = file.read(HEAD)
                return attach(path, status), b"", mime_type or sniff(head, path.name, kind)
            data, name = file.read(), path.name
    elif isinstance(source, Reader):
        data, name = _read(source)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        data, name = bytes(source), ""
    else:
        # `bytes` makes zeros of a number.
        raise wrong_type("the source", source, "a path, a URI, bytes, or a reader of bytes")
    return None, data, mime_type or sniff(data, name, kind)


def _path(source: str | os.PathLike[str]) -> pathlib.Path:
    """Return a path, which may be given as a `file:` URI."""
    if not isinstance(source, str) or not source.startswith("file:"):
        return pathlib.Path(source)
    parts = urlsplit(source)
    if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
        raise ValueError(f"{source!r} is not a file of this machine: give file:///path")
    return pathlib.Path(url2pathname(parts.path))


def _read(source: Reader) -> tuple[bytes, str]:
    """Return the bytes of a reader, and its name if it has one."""
    pieces = []
    while piece := source.read(_PIECE):
        if not isinstance(piece, bytes):
            kind = type(piece).__name__
            raise TypeError(f"{source!r} returns {kind}: open the file in binary mode")
        pieces.append(piece)
    name = getattr(source, "name", "")
    return b"".join(pieces), pathlib.PurePath(name).name if isinstance(name, str) else ""
