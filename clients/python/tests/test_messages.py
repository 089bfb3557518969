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
        ("nonsense", "messages: not JSON"),
        ({"role": "user"}, "messages: dict, not a list"),
        (["a"], r"messages\[0\]: str, not an object"),
        ([{"role": 1}], r"messages\[0\]\.role: 1 is not one of system"),
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
        (
            [{"role": "assistant", "tool_calls": [{"id": "c"}]}],
            r"\[0\]\.function: missing, not an object",
        ),
    ],
)
def test_what_is_not_known_is_refused_with_its_place(messages: Any, place: str) -> None:
    with pytest.raises(ValueError, match=place):
        Conversation.from_messages("m", messages)
