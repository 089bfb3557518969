"""Lists of messages in the forms of OpenAI's chat completions and of DashScope."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from dashgate import v1
from dashgate._media_types import sniff
from dashgate._printable import printable
from dashgate._schema import parse_json

_ROLES = {
    "system": v1.ROLE_SYSTEM,
    "developer": v1.ROLE_SYSTEM,
    "user": v1.ROLE_USER,
    "assistant": v1.ROLE_ASSISTANT,
    "tool": v1.ROLE_TOOL,
}

_REMOTE = ("http:", "https:", "oss:")
_LONGEST_SCHEME = len("https:")

# Padding may be left out.
_BASE64 = re.compile(r"([A-Za-z0-9+/]*)(={0,2})")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def parse_messages(messages: str | Sequence[object]) -> list[v1.Message]:
    """Return the messages of a list, or of its JSON text."""
    given: Any = parse_json(messages, "messages") if isinstance(messages, str) else messages
    return [_message(each, f"messages[{at}]") for at, each in enumerate(_list(given, "messages"))]


def _message(given: Any, at: str) -> v1.Message:
    known = {"role", "content", "tool_calls", "tool_call_id", "reasoning_content"}
    fields = _object(given, at, known)
    role = fields.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        _refuse(f"{at}.role", f"not one of {', '.join(_ROLES)}")
    return v1.Message(
        role=_ROLES[role],
        content=_contents(fields.get("content"), f"{at}.content"),
        reasoning_text=_text(fields.get("reasoning_content", ""), f"{at}.reasoning_content"),
        tool_calls=[
            _tool_call(call, index, f"{at}.tool_calls[{index}]")
            for index, call in enumerate(_list(fields.get("tool_calls", []), f"{at}.tool_calls"))
        ],
        tool_call_id=_text(fields.get("tool_call_id", ""), f"{at}.tool_call_id"),
    )


def _contents(given: Any, at: str) -> list[v1.Content]:
    if given is None:
        return []
    if isinstance(given, str):
        return [_text_part(given, at)]
    return [_part(part, f"{at}[{index}]") for index, part in enumerate(_list(given, at))]


def _part(given: Any, at: str) -> v1.Content:
    fields = _object(given, at)
    if "type" not in fields:
        return _dashscope_part(fields, at)
    kind = fields["type"]
    if not isinstance(kind, str) or kind not in _TYPED:
        _refuse(f"{at}.type", f"not one of {', '.join(_TYPED)}")
    _object(fields, at, {"type", kind})
    if kind not in fields:
        _refuse(f"{at}.{kind}", "missing")
    return _TYPED[kind](fields[kind], f"{at}.{kind}")


def _dashscope_part(fields: Mapping[str, Any], at: str) -> v1.Content:
    if len(fields) != 1 or next(iter(fields)) not in _UNTYPED:
        keys = ", ".join(map(_name, fields)) or "nothing"
        _refuse(at, f"{keys} is not one of {', '.join(_UNTYPED)}")
    kind, value = next(iter(fields.items()))
    return _UNTYPED[kind](value, f"{at}.{kind}")


def _text_part(given: Any, at: str) -> v1.Content:
    return v1.Content(text=_text(given, at))


def _audio(given: Any, at: str) -> v1.Content:
    return v1.Content(audio=v1.Audio(**_source(given, at)))


def _image(given: Any, at: str) -> v1.Content:
    return v1.Content(image=v1.Image(**_source(given, at)))


def _video(given: Any, at: str) -> v1.Content:
    if isinstance(given, str):
        return v1.Content(video=v1.Video(**_source(given, at)))
    frames = [
        v1.Image(**_source(frame, f"{at}[{index}]")) for index, frame in enumerate(_list(given, at))
    ]
    if not frames:
        _refuse(at, "no images")
    return v1.Content(video=v1.Video(frames=v1.VideoFrames(frames=frames)))


def _image_url(given: Any, at: str) -> v1.Content:
    # A hint for the resolution is for OpenAI's models only.
    fields = _object(given, at, {"url", "detail"})
    return _image(fields.get("url"), f"{at}.url")


def _video_url(given: Any, at: str) -> v1.Content:
    fields = _object(given, at, {"url"})
    return v1.Content(video=v1.Video(**_source(fields.get("url"), f"{at}.url")))


def _input_audio(given: Any, at: str) -> v1.Content:
    fields = _object(given, at, {"data", "format"})
    data = _text(fields.get("data"), f"{at}.data")
    form = _text(fields.get("format", ""), f"{at}.format")
    mime_type = sniff(b"", f"audio.{form}", "audio") if form else ""
    if _begins(data, (*_REMOTE, "data:")):
        source = _source(data, f"{at}.data")
        return v1.Content(audio=v1.Audio(**{"mime_type": mime_type, **source}))
    return v1.Content(audio=v1.Audio(data=_base64(data, f"{at}.data"), mime_type=mime_type))


def _source(given: Any, at: str) -> dict[str, Any]:
    """Return the fields of a medium. Its URI must not be one of this machine."""
    uri = _text(given, at)
    if _begins(uri, _REMOTE):
        return {"uri": uri}
    if not _begins(uri, ("data:",)):
        _refuse(at, "give a URI that begins with https:, http:, oss: or data:; paths are refused")
    kind, comma, data = uri[len("data:") :].partition(",")
    if not comma:
        _refuse(at, "the data: URI has no comma")
    is_base64 = kind.lower().endswith(";base64")
    if not is_base64 and _BAD_ESCAPE.search(data):
        _refuse(at, "the data: URI has % without two hexadecimal digits")
    content = _base64(data, at) if is_base64 else unquote_to_bytes(data)
    if not content:
        _refuse(at, "no data")
    # An empty type leaves the detection to the gateway.
    return {"data": content, "mime_type": kind[: -len(";base64")] if is_base64 else kind}


def _begins(uri: str, schemes: tuple[str, ...]) -> bool:
    return uri[:_LONGEST_SCHEME].lower().startswith(schemes)


def _base64(text: str, at: str) -> bytes:
    found = _BASE64.fullmatch(text)
    digits, padding = found.groups() if found else ("=", "")
    missing = -len(digits) % 4
    if not found or missing > 2 or len(padding) not in (0, missing):  # noqa: PLR2004
        _refuse(at, "neither base64 nor a URI that begins with https:, http:, oss: or data:")
    if not digits:
        _refuse(at, "no data")
    return base64.b64decode(digits + missing * "=")


def _tool_call(given: Any, position: int, at: str) -> v1.ToolCall:
    fields = _object(given, at, {"id", "type", "function", "index"})
    if fields.get("type", "function") != "function":
        _refuse(f"{at}.type", "not function")
    function = _object(fields.get("function"), f"{at}.function", {"name", "arguments"})
    name = _text(function.get("name"), f"{at}.function.name")
    if not name:
        _refuse(f"{at}.function.name", "empty")
    return v1.ToolCall(
        index=_index(fields.get("index", position), f"{at}.index"),
        id=_text(fields.get("id", ""), f"{at}.id"),
        type="function",
        name=name,
        arguments=_text(function.get("arguments", ""), f"{at}.function.arguments"),
    )


def _index(given: Any, at: str) -> int:
    # A bool is an int.
    if type(given) is not int or not 0 <= given < 2**31:
        _refuse(at, "not an integer of 0 or more that has 32 bits")
    return given


def _object(given: Any, at: str, known: set[str] | None = None) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        _refuse(at, f"{_kind(given)}, not an object")
    # A key with the value null is an absent one.
    fields = {key: value for key, value in given.items() if value is not None}
    for key in fields:
        if known is not None and key not in known:
            _refuse(f"{at}.{_name(key)}", "not known")
    return fields


def _list(given: Any, at: str) -> Sequence[Any]:
    if not isinstance(given, (list, tuple)):
        _refuse(at, f"{_kind(given)}, not a list")
    return given


def _text(given: Any, at: str) -> str:
    if not isinstance(given, str):
        _refuse(at, f"{_kind(given)}, not a text")
    if _SURROGATE.search(given):
        _refuse(at, "a surrogate without its pair")
    return given


def _name(key: object) -> str:
    return printable(key) if isinstance(key, str) else _kind(key)


def _kind(given: Any) -> str:
    return "missing" if given is None else type(given).__name__


def _refuse(at: str, why: str) -> NoReturn:
    raise ValueError(f"{at}: {why}")


_TYPED: dict[str, Callable[[Any, str], v1.Content]] = {
    "text": _text_part,
    "image_url": _image_url,
    "input_audio": _input_audio,
    "video_url": _video_url,
    "video": _video,
}

_UNTYPED: dict[str, Callable[[Any, str], v1.Content]] = {
    "text": _text_part,
    "audio": _audio,
    "image": _image,
    "video": _video,
}
