"""Parts of a message: text, sound, pictures and films.

Files are read here, by the client: a path is never sent. What a medium is, is told by its first
bytes, then by the file's extension, else it is left to the gateway.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import TypeAlias

from dashgate import v1

Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview"
"""A URI (`http:`, `https:`, `oss:`, `data:`), the path of a file, or the bytes themselves."""

_SCHEMES = ("http:", "https:", "oss:", "data:")

# The first rule whose bytes stand at their places holds; `..` is any byte. All clients have this
# table, and a test holds it equal to tests/conformance/sniffing.json.
MAGIC: tuple[tuple[str, str], ...] = (
    ("52494646........57415645", "audio/wav"),
    ("52494646........57454250", "image/webp"),
    ("52494646........41564920", "video/x-msvideo"),
    ("494433", "audio/mpeg"),
    ("664c6143", "audio/flac"),
    ("4f676753", "audio/ogg"),
    ("2321414d52", "audio/amr"),
    ("fff1", "audio/aac"),
    ("fff9", "audio/aac"),
    ("fffb", "audio/mpeg"),
    ("fffa", "audio/mpeg"),
    ("fff3", "audio/mpeg"),
    ("fff2", "audio/mpeg"),
    ("........667479704d3441", "audio/mp4"),
    ("........6674797068656963", "image/heic"),
    ("........667479707174", "video/quicktime"),
    ("........66747970", "video/mp4"),
    ("89504e470d0a1a0a", "image/png"),
    ("ffd8ff", "image/jpeg"),
    ("47494638", "image/gif"),
    ("424d", "image/bmp"),
    ("49492a00", "image/tiff"),
    ("4d4d002a", "image/tiff"),
    ("1a45dfa3", "video/webm"),
    ("464c5601", "video/x-flv"),
)

EXTENSIONS: dict[str, str] = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/opus",
    "amr": "audio/amr",
    "aac": "audio/aac",
    "m4a": "audio/mp4",
    "pcm": "audio/pcm",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "webp": "image/webp",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "heic": "image/heic",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "avi": "video/x-msvideo",
    "mkv": "video/x-matroska",
    "webm": "video/webm",
    "flv": "video/x-flv",
}


def text(value: str) -> v1.Content:
    """Make a part of plain text."""
    return v1.Content(text=value)


def audio(source: Source, *, mime_type: str = "") -> v1.Content:
    """Make a part of a sound, from a URI, a path or bytes."""
    uri, data, mime_type = _medium(source, mime_type)
    if uri is not None:
        return v1.Content(audio=v1.Audio(uri=uri, mime_type=mime_type))
    return v1.Content(audio=v1.Audio(data=data, mime_type=mime_type))


def image(source: Source, *, mime_type: str = "") -> v1.Content:
    """Make a part of a picture, from a URI, a path or bytes."""
    return v1.Content(image=_picture(source, mime_type))


def video(source: Source | Sequence[Source], *, mime_type: str = "") -> v1.Content:
    """Make a part of a film, from a URI, a path, bytes, or a list of pictures: its frames."""
    if not isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)):
        frames = v1.VideoFrames(frames=[_picture(frame, mime_type) for frame in source])
        return v1.Content(video=v1.Video(frames=frames))
    uri, data, mime_type = _medium(source, mime_type)
    if uri is not None:
        return v1.Content(video=v1.Video(uri=uri, mime_type=mime_type))
    return v1.Content(video=v1.Video(data=data, mime_type=mime_type))


def sniff(head: bytes, name: str = "") -> str:
    """Tell a medium's MIME type by its first bytes, else by its name; empty if neither tells."""
    for pattern, mime_type in _RULES:
        if len(head) >= len(pattern) and all(
            want is None or want == byte for want, byte in zip(pattern, head, strict=False)
        ):
            return mime_type
    return EXTENSIONS.get(pathlib.PurePath(name).suffix.removeprefix(".").lower(), "")


def _picture(source: Source, mime_type: str) -> v1.Image:
    uri, data, mime_type = _medium(source, mime_type)
    if uri is not None:
        return v1.Image(uri=uri, mime_type=mime_type)
    return v1.Image(data=data, mime_type=mime_type)


def _medium(source: Source, mime_type: str) -> tuple[str | None, bytes, str]:
    """Give the URI or the bytes, and the MIME type."""
    if isinstance(source, str) and source.startswith(_SCHEMES):
        return source, b"", mime_type
    if isinstance(source, (str, os.PathLike)):
        path = pathlib.Path(source)
        data = path.read_bytes()
        return None, data, mime_type or sniff(data, path.name)
    data = bytes(source)
    return None, data, mime_type or sniff(data)


def _rule(pattern: str) -> tuple[int | None, ...]:
    pairs = (pattern[at : at + 2] for at in range(0, len(pattern), 2))
    return tuple(None if pair == ".." else int(pair, 16) for pair in pairs)


_RULES = tuple((_rule(pattern), mime_type) for pattern, mime_type in MAGIC)
