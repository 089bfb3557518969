"""Tests of lists of messages. The conformance suite has more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dashgate import Conversation, v1


def test_a_list_may_be_a_json_text() -> None:
    messages = [
        {
            "role": "user",
            "content": [{"image": "https://x/1.png"}, {"video": ["oss://a", "oss://b"]}],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "1"},
    ]
    conversation = Conversation.from_messages("m", messages)
    assert Conversation.from_messages("m", json.dumps(messages)).raw == conversation.raw
    assert conversation.raw.model == "m"
    user, assistant, tool = conversation.raw.messages
    assert len(user.content[1].video.frames.frames) == 2
    assert assistant.tool_calls[0] == v1.ToolCall(id="c", type="function", name="f", arguments="{}")
    assert tool.tool_call_id == "c"


def _called(**fields: object) -> list[object]:
    call = {"function": {"name": "f"}, **fields}
    return [{"role": "assistant", "tool_calls": [call]}]


def test_a_tool_call_keeps_its_index() -> None:
    (message,) = Conversation.from_messages("m", _called(index=3)).raw.messages
    assert message.tool_calls[0] == v1.ToolCall(index=3, type="function", name="f")


def test_data_uris_become_bytes() -> None:
    uris = ["data:image/png;base64,AAE=", "data:text/plain,a%20b", "data:;base64,AAE="]
    messages = [{"role": "user", "content": [{"image": uri} for uri in uris]}]
    images = [
        part.image for part in Conversation.from_messages("m", messages).raw.messages[0].content
    ]
    assert [image.data for image in images] == [b"\0\1", b"a b", b"\0\1"]
    assert [image.mime_type for image in images] == ["image/png", "text/plain", ""]


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ("nonsense", "messages: not JSON at line 1, column 1"),
        ('["a", \n 1 1]', "messages: not JSON at line 2, column 4"),
        ("[" * 100_000, "messages: not JSON, or too deep"),
        (f"[{'9' * 5000}]", "a number that is too long"),
        ({"role": "user"}, "messages: dict, not a list"),
        (["a"], r"messages\[0\]: str, not an object"),
        ([{"role": 1}], r"messages\[0\]\.role: not one of system"),
        ([{"role": "user", "name": "x"}], r"messages\[0\]\.name: not known"),
        ([{"role": "user", "content": 5}], r"messages\[0\]\.content: int, not a list"),
        ([{"role": "user", "content": [{}]}], r"content\[0\]: nothing is not one of text"),
        ([{"role": "user", "content": [{"type": "text"}]}], r"content\[0\]\.text: missing"),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a", "x": 1}]}],
            r"\[0\]\.x: not known",
        ),
        ([{"role": "user", "content": [{"image": "/etc/hostname"}]}], "paths are refused"),
        ([{"role": "user", "content": [{"audio": "data:audio/wav;base64,?"}]}], "neither base64"),
        ([{"role": "user", "content": [{"audio": "data:"}]}], "no comma"),
        ([{"role": "user", "content": [{"audio": "data:,"}]}], r"audio: no data"),
        ([{"role": "user", "content": [{"audio": "data:,a%2"}]}], "two hexadecimal digits"),
        ([{"role": "user", "content": [{"audio": "data:,%zz"}]}], "two hexadecimal digits"),
        ([{"role": "user", "content": [{"audio": "data:;base64,"}]}], r"audio: no data"),
        ([{"role": "user", "content": [{"video": []}]}], r"\[0\]\.video: no images"),
        ([{"role": "user", "content": [{"video": [None]}]}], r"video\[0\]: missing"),
        ([{"role": "user", "content": [{"type": "text", "text": None}]}], r"\.text: missing"),
        ([{"role": "user", "content": "a\ud800"}], r"content: a surrogate without its pair"),
        ('[{"role": "user", "content": [{"text": "\\udc00"}]}]', r"text: a surrogate"),
        ([{"role": "user", "a\ud800\n": 1}], r"messages\[0\]\.a\?\?: not known"),
        ([{"role": "user", "tool_calls": False}], "tool_calls: bool, not a list"),
        ([{"role": "user", "tool_call_id": 0}], "tool_call_id: int, not a text"),
        ([{"role": "user", "reasoning_content": []}], "reasoning_content: list, not a text"),
        ([{"role": "user", 7: 1}], r"messages\[0\]\.int: not known"),
        (
            [{"role": "assistant", "tool_calls": [{"id": "c"}]}],
            r"\[0\]\.function: missing, not an object",
        ),
        (_called(index=-1), r"tool_calls\[0\]\.index: not an integer of 0 or more"),
        (_called(index=2**31), r"tool_calls\[0\]\.index: not an integer"),
        (_called(index=True), r"tool_calls\[0\]\.index: not an integer"),
        (_called(index=1.0), r"tool_calls\[0\]\.index: not an integer"),
        (_called(type="custom"), r"tool_calls\[0\]\.type: not function"),
        (_called(type=1), r"tool_calls\[0\]\.type: not function"),
        (_called(function={"name": ""}), r"tool_calls\[0\]\.function\.name: empty"),
    ],
)
def test_what_is_not_known_is_refused_with_its_place(messages: Any, place: str) -> None:
    with pytest.raises(ValueError, match=place):
        Conversation.from_messages("m", messages)


@pytest.mark.parametrize(
    ("data", "content"),
    [
        ("AAE=", b"\0\1"),
        ("AAE", b"\0\1"),
        ("AA==", b"\0"),
        ("AA", b"\0"),
        ("+/+/", b"\xfb\xff\xbf"),
        ("AA=", None),
        ("AAE==", None),
        ("AAEC=", None),
        ("A", None),
        ("A===", None),
        ("A=AA", None),
        ("-_-_", None),
        ("AA\n", None),
        ("AA AA", None),
        ("A\u00c4AA", None),
        ("", None),
        ("=", None),
    ],
)
def test_base64_may_be_without_padding(data: str, content: bytes | None) -> None:
    def audio(part: dict[str, Any]) -> bytes:
        messages = [{"role": "user", "content": [part]}]
        return Conversation.from_messages("m", messages).raw.messages[0].content[0].audio.data

    parts: list[dict[str, Any]] = [
        {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
        {"audio": f"data:audio/wav;base64,{data}"},
        {"audio": f"DATA:audio/wav;BASE64,{data}"},
    ]
    for part in parts:
        if content is None:
            with pytest.raises(ValueError, match=r"neither base64|no data"):
                audio(part)
        else:
            assert audio(part) == content


def test_null_is_an_absent_key_and_schemes_have_any_case() -> None:
    messages = [
        {
            "role": "assistant",
            "content": [{"type": None, "text": "a", "x": None}, {"image": "HTTPS://x/1.png"}],
            "tool_calls": None,
            "tool_call_id": None,
            "reasoning_content": None,
            "refusal": None,
        },
    ]
    (message,) = Conversation.from_messages("m", json.dumps(messages)).raw.messages
    assert [part.text for part in message.content] == ["a", ""]
    assert message.content[1].image.uri == "HTTPS://x/1.png"


@pytest.mark.parametrize(
    "messages",
    [
        '[{"role": "secret"}]',
        '[{"role": "user", "content": "secret}]',
        "secret",
        '["\\secret"]',
        '[{"role": "user", "content": [{"type": "secret"}]}]',
        '[{"role": "user", "content": [{"image": "secret"}]}]',
        '[{"role": "user", "content": [{"audio": "data:secret"}]}]',
        '[{"role": "user", "content": [{"audio": "data:;base64,secret?"}]}]',
        '[{"role": "user", "content": [{"text": "secret\\ud800"}]}]',
    ],
)
def test_an_error_quotes_no_value(messages: str) -> None:
    with pytest.raises(ValueError, match="messages") as caught:
        Conversation.from_messages("m", messages)
    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in f"{error!r} {vars(error)} {getattr(error, 'doc', '')}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("uri", ["OSS:a", "http:/a", "https:a"])
def test_a_uri_is_known_by_its_scheme(uri: str) -> None:
    conversation = Conversation.from_messages("m", [{"role": "user", "content": [{"audio": uri}]}])
    assert conversation.raw.messages[0].content[0].audio.uri == uri
