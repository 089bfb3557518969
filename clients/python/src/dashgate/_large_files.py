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
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple, TypeAlias

import grpc

from dashgate import v1
from dashgate._regular_files import ODD, open_regular
from dashgate.errors import Error

# Files up to this size are read into the message.
LARGE = 4 * 1024 * 1024
SCHEME = "dashgate-file:"

MOST_FILES = 10_000
MOST_UPLOADS = 1000

# An upload is not used in the last hour, because the call takes time as well.
_RESERVE = 3600.0

Medium: TypeAlias = v1.Audio | v1.Image | v1.Video


class Identity(NamedTuple):
    """What differs between files, and between a file and what it was before a change."""

    device: int
    inode: int
    size: int
    modified: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """Return the identity of an opened file."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class Attached(NamedTuple):
    """A file that was attached to a message."""

    path: pathlib.Path
    identity: Identity

    def open(self) -> BinaryIO:
        """Open the file, if it is still the one that was attached."""
        try:
            file = open_regular(self.path)
        except OSError as error:
            if error.errno in ODD:
                raise self._changed_error() from error
            raise
        if Identity.of(os.fstat(file.fileno())) != self.identity:
            file.close()
            raise self._changed_error()
        return file

    def _changed_error(self) -> Error:
        return Error(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"{self.path} has changed since it was attached: attach the file again",
        )


class _Files:
    """The files that were attached, by their ids; the oldest is forgotten first."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, Attached] = OrderedDict()
        self.renew_lock()

    def renew_lock(self) -> None:
        """Replace the lock, which another thread may have held during a fork."""
        self._lock = threading.Lock()

    def add(self, file: Attached) -> str:
        name = secrets.token_hex(16)
        with self._lock:
            self._files[name] = file
            if len(self._files) > MOST_FILES:
                self._files.popitem(last=False)
        return name

    def get(self, name: str) -> Attached | None:
        with self._lock:
            return self._files.get(name)


_files = _Files()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_files.renew_lock)


def attach(path: pathlib.Path, status: os.stat_result) -> str:
    """Return the URI of a large file, which was opened and has this status."""
    return SCHEME + _files.add(Attached(path.absolute(), Identity.of(status)))


def has_large_media(conversation: v1.Conversation) -> bool:
    """Return whether a request has media that must be uploaded."""
    return any(medium.uri.startswith(SCHEME) for medium in _media(conversation))


def large_media(conversation: v1.Conversation) -> list[tuple[Medium, Attached]]:
    """Return the media of a request that must be uploaded, with their files."""
    found = []
    for medium in _media(conversation):
        if medium.uri.startswith(SCHEME):
            file = _files.get(medium.uri.removeprefix(SCHEME))
            if file is None:
                raise Error(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"{medium.uri} is a file of another process, or was forgotten: attach the file "
                    "again",
                )
            found.append((medium, file))
    return found


def check_files(media: Iterable[tuple[Medium, Attached]]) -> None:
    """Raise an error, before anything is sent, if a file is not the one that was attached."""
    for _, file in media:
        file.open().close()


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

    file: Identity
    model: str
    mime_type: str


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
