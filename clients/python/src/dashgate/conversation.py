"""A conversation as a value to which messages are appended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from google.protobuf import json_format

from dashgate import v1
from dashgate._messages import parse_messages
from dashgate._types import wrong_type
from dashgate.answer import Answer
from dashgate.content import text
from dashgate.tools import Tool, checked_tool

Part: TypeAlias = str | v1.Content
"""A part of a message. A string is equivalent to `text(string)`."""

_CHOICES = {
    "auto": v1.TOOL_CHOICE_MODE_AUTO,
    "none": v1.TOOL_CHOICE_MODE_NONE,
    "required": v1.TOOL_CHOICE_MODE_REQUIRED,
}


class Conversation:
    """A conversation: the model, the messages and the tools.

    Each call sends all of it. With `name`, `conversations/{id}`, the gateway stores the messages
    and the answers, the messages are the new ones only, and the model may be empty. Methods modify
    the conversation and return it, for chaining.
    """

    def __init__(
        self,
        model: str = "",
        system: str = "",
        *,
        name: str = "",
        tools: Iterable[Tool | v1.Tool] = (),
        raw: v1.Conversation | None = None,
    ) -> None:
        self.raw = v1.Conversation() if raw is None else raw
        """The message that is sent. May be modified."""
        if name:
            self.raw.name = name
        if model:
            self.raw.model = model
        if system:
            self.raw.messages.add(role=v1.ROLE_SYSTEM, content=[text(system)])
        self.declare(*tools)

    @classmethod
    def from_messages(cls, model: str, messages: str | Sequence[object]) -> Conversation:
        """Return a conversation from a list of messages, or from its JSON text.

        The list has the form of OpenAI's chat completions or of DashScope's `messages`. A path is
        refused, because a list may come from somewhere else. Raises `ValueError` with the place of
        what is not known.
        """
        return cls(model, raw=v1.Conversation(messages=parse_messages(messages)))

    @classmethod
    def from_json(cls, text: str) -> Conversation:
        """Return a conversation from the JSON form of the schema."""
        try:
            return cls(raw=json_format.Parse(text, v1.Conversation()))
        except json_format.ParseError as error:
            raise ValueError(f"not a conversation: {error}") from None

    def to_json(self) -> str:
        """Return the conversation in the JSON form of the schema."""
        return json_format.MessageToJson(self.raw, indent=None, ensure_ascii=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the conversation in the JSON form of the schema, as a dictionary."""
        return json_format.MessageToDict(self.raw)

    @property
    def last_turn(self) -> int | None:
        """The number of the latest turn that is known of a stored conversation.

        The next call expects it: a turn that another process made in between is an error with the
        reason `STALE_CONVERSATION`.
        """
        return self.raw.last_turn or None

    def user(self, *content: Part) -> Conversation:
        """Append a user message."""
        self.raw.messages.add(role=v1.ROLE_USER, content=map(_content, content))
        return self

    def assistant(self, *content: Part) -> Conversation:
        """Append an assistant message, for example as a sample."""
        self.raw.messages.add(role=v1.ROLE_ASSISTANT, content=map(_content, content))
        return self

    def append(self, answer: Answer | v1.Message) -> Conversation:
        """Append an answer of the model.

        A stored conversation loses its messages instead, because the gateway has stored them with
        the answer.
        """
        if not isinstance(answer, (Answer, v1.Message)):
            raise wrong_type("answer", answer, "an Answer, or a v1.Message")
        if isinstance(answer, Answer) and answer.raw.HasField("history_used"):
            self.raw.last_turn = answer.raw.history_used.turn
            del self.raw.messages[:]
        else:
            self.raw.messages.append(answer.message if isinstance(answer, Answer) else answer)
        return self

    def tool_result(self, call: v1.ToolCall | str, result: str) -> Conversation:
        """Append the result of a tool call; `call` is the call or its id."""
        if not isinstance(call, (v1.ToolCall, str)):
            raise wrong_type("call", call, "a v1.ToolCall, or its id")
        name = call if isinstance(call, str) else call.id
        self.raw.messages.add(role=v1.ROLE_TOOL, tool_call_id=name, content=[text(result)])
        return self

    def declare(self, *tools: Tool | v1.Tool) -> Conversation:
        """Declare tools that the model may call. A declared tool of the same name is replaced."""
        for tool in tools:
            new = tool if isinstance(tool, v1.Tool) else checked_tool(tool).declaration()
            same = (
                old
                for old in self.raw.tools
                if new.HasField("function") and old.function.name == new.function.name
            )
            if (old := next(same, None)) is not None:
                old.CopyFrom(new)
            else:
                self.raw.tools.append(new)
        return self

    def choose_tool(self, choice: str) -> Conversation:
        """Set the tool choice: `auto`, `none`, `required`, or the name of the tool to call."""
        if not isinstance(choice, str):
            raise wrong_type("choice", choice, "a str")
        if (mode := _CHOICES.get(choice)) is not None:
            self.raw.tool_choice.mode = mode
        else:
            self.raw.tool_choice.function_name = choice
        return self

    def __repr__(self) -> str:
        return f"Conversation(model={self.raw.model!r}, messages={len(self.raw.messages)})"


def _content(part: Part) -> v1.Content:
    if isinstance(part, v1.Content):
        return part
    if not isinstance(part, str):
        raise wrong_type("a part of a message", part, "a str, or a part such as dashgate.image()")
    return text(part)
