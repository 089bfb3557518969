"""A conversation as a value to which messages are appended. Each call sends all of it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from dashgate import v1
from dashgate.answer import Answer
from dashgate.content import text

Part: TypeAlias = "str | v1.Content"
"""A part of a message. A string is equivalent to `text(string)`."""

_CHOICES = {
    "auto": v1.TOOL_CHOICE_MODE_AUTO,
    "none": v1.TOOL_CHOICE_MODE_NONE,
    "required": v1.TOOL_CHOICE_MODE_REQUIRED,
}


@dataclass(frozen=True)
class Tool:
    """A function that the model may call.

    `parameters` is the JSON Schema of its arguments, as JSON text or as a mapping. `function`
    receives the arguments as JSON text, as written by the model, which may be invalid, and returns
    the result as text. With an `AsyncClient` it may be a coroutine function.
    """

    name: str
    description: str
    parameters: str | Mapping[str, Any]
    function: Callable[[str], str | Awaitable[str]]

    def declaration(self) -> v1.Tool:
        """Return the declaration of the tool for the model."""
        schema = self.parameters
        if not isinstance(schema, str):
            schema = json.dumps(schema, ensure_ascii=False)
        return v1.Tool(
            function=v1.FunctionTool(
                name=self.name, description=self.description, parameters=schema
            )
        )


class Conversation:
    """A conversation: the model, the messages and the tools.

    The gateway stores no conversations: each call sends all of it. Methods modify the conversation
    and return it, for chaining.
    """

    def __init__(
        self,
        model: str = "",
        system: str = "",
        *,
        tools: Iterable[Tool | v1.Tool] = (),
        raw: v1.Conversation | None = None,
    ) -> None:
        self.raw = v1.Conversation() if raw is None else raw
        """The message that is sent. May be modified."""
        if model:
            self.raw.model = model
        if system:
            self.raw.messages.add(role=v1.ROLE_SYSTEM, content=[text(system)])
        self.declare(*tools)

    def user(self, *content: Part) -> Conversation:
        """Append a user message."""
        self.raw.messages.add(role=v1.ROLE_USER, content=map(_content, content))
        return self

    def assistant(self, *content: Part) -> Conversation:
        """Append an assistant message, for example as a sample."""
        self.raw.messages.add(role=v1.ROLE_ASSISTANT, content=map(_content, content))
        return self

    def append(self, answer: Answer | v1.Message) -> Conversation:
        """Append an answer of the model."""
        self.raw.messages.append(answer.message if isinstance(answer, Answer) else answer)
        return self

    def tool_result(self, call: v1.ToolCall | str, result: str) -> Conversation:
        """Append the result of a tool call; `call` is the call or its id."""
        name = call if isinstance(call, str) else call.id
        self.raw.messages.add(role=v1.ROLE_TOOL, tool_call_id=name, content=[text(result)])
        return self

    def declare(self, *tools: Tool | v1.Tool) -> Conversation:
        """Declare tools that the model may call. A declared tool of the same name is replaced."""
        for tool in tools:
            new = tool.declaration() if isinstance(tool, Tool) else tool
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
        if (mode := _CHOICES.get(choice)) is not None:
            self.raw.tool_choice.mode = mode
        else:
            self.raw.tool_choice.function_name = choice
        return self

    def __repr__(self) -> str:
        return f"Conversation(model={self.raw.model!r}, messages={len(self.raw.messages)})"


def _content(part: Part) -> v1.Content:
    return text(part) if isinstance(part, str) else part
