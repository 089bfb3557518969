"""Files that are too large for a message: they are uploaded before the call.

Their part has a URI that only this process can resolve, so that a message from somewhere else never
names a file of this machine.
"""

from __future__ import annotations

import os
import pathlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import grpc

from dashgate import v1
from dashgate.errors import Error

# Files up to this size are read into the message.
LARGE = 4 * 1024 * 1024
SCHEME = "dashgate-file:"

MOST_FILES = 10_000
MOST_UPLOADS = 1000

# An upload is not used in the last hour, because the call takes time as well.
_RESERVE = 3600.0

Medium: TypeAlias = v1.Audio | v1.Image | v1.Video


class _Files:
    """The files that were attached, by their ids; the oldest is forgotten first."""

    def __init__(self) -> None:
        self._paths: OrderedDict[str, pathlib.Path] = OrderedDict()
        self.renew_lock()

    def renew_lock(self) -> None:
        """Replace the lock, which another thread may have held during a fork."""
        self._lock = threading.Lock()

    def add(self, path: pathlib.Path) -> str:
        name = secrets.token_hex(16)
        with self._lock:
            self._paths[name] = path
            if len(self._paths) > MOST_FILES:
                self._paths.popitem(last=False)
        return name

    def path(self, name: str) -> pathlib.Path | None:
        with self._lock:
            return self._paths.get(name)


_files = _Files()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_files.renew_lock)


def attach(path: pathlib.Path) -> str:
    """Return the URI of a large file."""
    return SCHEME + _files.add(path.absolute())


def has_large_media(conversation: v1.Conversation) -> bool:
    """Return whether a request has media that must be uploaded."""
    return any(medium.uri.startswith(SCHEME) for medium in _media(conversation))


def large_media(conversation: v1.Conversation) -> list[tuple[Medium, pathlib.Path]]:
    """Return the media of a request that must be uploaded, with their files."""
    found = []
    for medium in _media(conversation):
        if medium.uri.startswith(SCHEME):
            path = _files.path(medium.uri.removeprefix(SCHEME))
            if path is None:
                raise Error(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"{medium.uri} is a file of another process, or was forgotten: attach the file "
                    "again",
                )
            found.append((medium, path))
    return found


def _media(conversation: v1.Conversation) -> Iterator[Medium]:
    for message in conversation.messages:
        for part in message.content:
            if part.HasField("audio"):
                yield part.audio
            elif part.HasField("image"):
                yield part.image
            elif part.HasField("video"):
                yield part.video
                yield from part.video.frames.frames


class Upload(NamedTuple):
    """What an upload is remembered by."""

    path: str
    size: int
    modified: int
    model: str

    @classmethod
    def of(cls, path: pathlib.Path, model: str) -> Upload:
        """Return the key of a file as it is now."""
        status = path.stat()
        return cls(str(path), status.st_size, status.st_mtime_ns, model)


class Uploads:
    """The uploads of a client."""

    def __init__(self) -> None:
        self._uris: OrderedDict[Upload, tuple[str, float]] = OrderedDict()

    def uri(self, upload: Upload) -> str | None:
        """Return the URI of an earlier upload, unless it expires soon."""
        uri, until = self._uris.get(upload, (None, 0.0))
        return uri if time.time() < until else None

    def add(self, upload: Upload, uploaded: v1.UploadMediaResponse) -> None:
        """Remember an upload."""
        until = uploaded.expires_at.seconds - _RESERVE
        self._uris.pop(upload, None)
        self._uris[upload] = uploaded.uri, until
        while len(self._uris) > MOST_UPLOADS:
            self._uris.popitem(last=False)
