"""Detection of MIME types, from the first bytes of a file and from its name."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from operator import and_

# How much of a file the rules look at.
HEAD = 4096

# The table of MIME types of all clients: conditions and the types that they imply. A test compares
# it with tests/conformance/sniffing.json, which documents the format.
RULES: tuple[tuple[str, str], ...] = (
    ("0:52494646 8:57415645", "audio/wav"),
    ("0:52494658 8:57415645", "audio/wav"),
    ("0:52463634 8:57415645", "audio/wav"),
    ("0:42573634 8:57415645", "audio/wav"),
    ("0:52494646 8:57454250", "image/webp"),
    ("0:52494646 8:41564920", "video/x-msvideo"),
    ("0:494433", "audio/mpeg"),
    ("0:664c6143", "audio/flac"),
    ("0:4f676753 28:807468656f7261", "video/ogg audio/ogg"),
    ("0:4f676753", "audio/ogg video/ogg"),
    ("0:2321414d522d5742", "audio/amr-wb"),
    ("0:2321414d52", "audio/amr"),
    ("0:232153494c4b", "audio/silk"),
    ("0:02232153494c4b", "audio/silk"),
    ("0:41444946", "audio/aac"),
    ("0:fff0/fff6", "audio/aac"),
    ("0:fffe 3:00 5:00", "text/plain"),
    ("0:ffe8/fff8", ""),
    ("0:ffe0/ffe6", ""),
    ("0:ffe0f0/ffe0f0", ""),
    ("0:ffe00c/ffe00c", ""),
    ("0:fffe00/fffef0", ""),
    ("0:ffe0/ffe0", "audio/mpeg"),
    ("4:66747970 8-60:61766966", "image/avif"),
    ("4:66747970 8-60:61766973", "image/avif"),
    ("4:66747970 8:686569", "image/heic"),
    ("4:66747970 8:686576", "image/heic"),
    ("4:66747970 8:6d696631", "image/heic"),
    ("4:66747970 8:6d696632", "image/heic"),
    ("4:66747970 8:6d736631", "image/heic"),
    ("4:66747970 8:4d3441", "audio/mp4 video/mp4"),
    ("4:66747970 8:4d3442", "audio/mp4 video/mp4"),
    ("4:66747970 8:4d3450", "audio/mp4 video/mp4"),
    ("4:66747970 8:463441", "audio/mp4 video/mp4"),
    ("4:66747970 8:463442", "audio/mp4 video/mp4"),
    ("4:66747970 8:336732", "video/3gpp2 audio/3gpp2"),
    ("4:66747970 8:336770", "video/3gpp audio/3gpp"),
    ("4:66747970 8:336765", "video/3gpp audio/3gpp"),
    ("4:66747970 8:336767", "video/3gpp audio/3gpp"),
    ("4:66747970 8:336772", "video/3gpp audio/3gpp"),
    ("4:66747970 8:336773", "video/3gpp audio/3gpp"),
    ("4:66747970 8:717420", "video/quicktime"),
    ("4:66747970", "video/mp4 audio/mp4"),
    ("4:6d6f6f76", "video/quicktime"),
    ("4:77696465", "video/quicktime"),
    ("0:89504e470d0a1a0a", "image/png"),
    ("0:ffd8ff", "image/jpeg"),
    ("0:47494638", "image/gif"),
    ("0:424d 6:00000000", "image/bmp"),
    ("0:49492a00", "image/tiff"),
    ("0:4d4d002a", "image/tiff"),
    ("0:49492b00", "image/tiff"),
    ("0:4d4d002b", "image/tiff"),
    ("0:00000100 5:00 9:00 18:0600/0f00 20:0000", "image/x-icon"),
    ("0:1a45dfa3 4-64:6d6174726f736b61", "video/x-matroska audio/x-matroska"),
    ("0:1a45dfa3", "video/webm audio/webm"),
    ("0:464c56", "video/x-flv"),
    ("0:47 188:47 376:47", "video/mp2t"),
    ("4:47 196:47 388:47", "video/mp2t"),
    ("0:000001ba", "video/mpeg"),
    ("0:000001b3", "video/mpeg"),
    ("0:464f524d 8:41494646", "audio/aiff"),
    ("0:464f524d 8:41494643", "audio/aiff"),
    ("0:63616666 4:0001", "audio/x-caf"),
    ("0:2e736e64", "audio/basic"),
    ("0:3026b2758e66cf11", "video/x-ms-wmv audio/x-ms-wma"),
    ("0-256:3c737667", "image/svg+xml"),
    ("0-64:3c21444f4354595045/ffffdfdfdfdfdfdfdf", "text/html"),
    ("0-64:3c48544d4c/ffdfdfdfdf", "text/html"),
    ("0-64:3c3f786d6c", "text/xml"),
    ("0:7b22 2-64:223a", "application/json"),
    ("0:7b0a 2-64:223a", "application/json"),
    ("0:25504446", "application/pdf"),
    ("0:504b0304", "application/zip"),
    ("0:1f8b08", "application/gzip"),
)

EXTENSIONS: dict[str, str] = {
    "wav": "audio/wav",
    "wave": "audio/wav",
    "rf64": "audio/wav",
    "bwf": "audio/wav",
    "mp3": "audio/mpeg",
    "mp2": "audio/mpeg",
    "mpga": "audio/mpeg",
    "flac": "audio/flac",
    "ogg": "audio/ogg video/ogg",
    "oga": "audio/ogg",
    "opus": "audio/opus",
    "spx": "audio/ogg",
    "amr": "audio/amr",
    "awb": "audio/amr-wb",
    "aac": "audio/aac",
    "adts": "audio/aac",
    "m4a": "audio/mp4 video/mp4",
    "m4b": "audio/mp4 video/mp4",
    "pcm": "audio/pcm",
    "wma": "audio/x-ms-wma video/x-ms-wmv",
    "aif": "audio/aiff",
    "aiff": "audio/aiff",
    "aifc": "audio/aiff",
    "caf": "audio/x-caf",
    "au": "audio/basic",
    "weba": "audio/webm",
    "mka": "audio/x-matroska",
    "silk": "audio/silk",
    "slk": "audio/silk",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "jfif": "image/jpeg",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "webp": "image/webp",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "heic": "image/heic",
    "heif": "image/heic",
    "avif": "image/avif",
    "ico": "image/x-icon",
    "svg": "image/svg+xml",
    "mp4": "video/mp4 audio/mp4",
    "m4v": "video/mp4 audio/mp4",
    "mov": "video/quicktime",
    "avi": "video/x-msvideo",
    "mkv": "video/x-matroska audio/x-matroska",
    "webm": "video/webm audio/webm",
    "flv": "video/x-flv",
    "wmv": "video/x-ms-wmv audio/x-ms-wma",
    "asf": "video/x-ms-wmv audio/x-ms-wma",
    "3gp": "video/3gpp audio/3gpp",
    "3gpp": "video/3gpp audio/3gpp",
    "3g2": "video/3gpp2 audio/3gpp2",
    "ts": "video/mp2t",
    "m2ts": "video/mp2t",
    "mts": "video/mp2t",
    "mpg": "video/mpeg audio/mpeg",
    "mpeg": "video/mpeg audio/mpeg",
    "ogv": "video/ogg audio/ogg",
}


def sniff(head: bytes, name: str = "", kind: str = "") -> str:
    """Return a MIME type detected from the first bytes, else from the name; empty if unknown.

    `kind` is `audio`, `image` or `video`; it selects between the types of a container.
    """
    named = EXTENSIONS.get(pathlib.PurePath(name).suffix.removeprefix(".").lower(), "")
    kind = kind or named.partition("/")[0]
    found = next((types for rule, types in _PARSED if all(one(head) for one in rule)), "")
    types = (found or named).split()
    fitting = (one for one in types if one.partition("/")[0] == kind)
    return next(fitting, types[0] if types else "")


def _condition(text: str) -> Callable[[bytes], bool]:
    place, _, pattern = text.partition(":")
    first, _, last = place.partition("-")
    places = range(int(first), int(last or first) + 1)
    digits, _, bits = pattern.partition("/")
    wanted = bytes.fromhex(digits)
    mask = bytes.fromhex(bits) or b"\xff" * len(wanted)

    def holds(head: bytes) -> bool:
        return any(bytes(map(and_, head[at : at + len(wanted)], mask)) == wanted for at in places)

    return holds


_PARSED = tuple((tuple(map(_condition, rule.split())), types) for rule, types in RULES)
