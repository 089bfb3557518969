"""The rounds of a tool loop, which both clients share."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import grpc

from dashgate import v1
from dashgate._settings import Metadata
from dashgate.answer import Answer
from dashgate.conversation import Conversation, Tool
from dashgate.errors import Error

# Enough for usual tools; bounds the cost of a model that never stops calling them.
MAX_ROUNDS = 8


_FAILED = '{"error":"the function failed"}'
_NOT_RUN = '{"error":"the function was not run"}'


def without_name(metadata: Metadata | None) -> Metadata | None:
    """Return the metadata of a round after the first, which is another call."""
    if metadata is None:
        return None
    return {name: value for name, value in metadata.items() if name.lower() != "x-request-id"}


class ToolRounds:
    """The tools of a conversation, and how many rounds of calls are left."""

    def __init__(self, conversation: Conversation, tools: Iterable[Tool], max_rounds: int) -> None:
        self._conversation = conversation
        self._tools = {tool.name: tool for tool in tools}
        self._max_rounds = max_rounds
        self._rounds = 0
        conversation.declare(*self._tools.values())

    def calls(self, answer: Answer) -> Sequence[v1.ToolCall]:
        """Append an answer. Return the calls to run; none if it is the last answer."""
        self._conversation.append(answer)
        if answer.tool_calls:
            if self._rounds == self._max_rounds:
                for call in answer.tool_calls:
                    self._conversation.tool_result(call, _NOT_RUN)
                raise _rounds_error(self._max_rounds)
            self._rounds += 1
        return answer.tool_calls

    @contextlib.contextmanager
    def answered(self, call: v1.ToolCall, calls: Sequence[v1.ToolCall]) -> Iterator[None]:
        """Answer a call whose function fails, and those after it, so that no call is unanswered."""
        try:
            yield
        except BaseException:
            self._conversation.tool_result(call, _FAILED)
            position = next(at for at, other in enumerate(calls) if other is call)
            for other in calls[position + 1 :]:
                self._conversation.tool_result(other, _NOT_RUN)
            raise

    def run(self, call: v1.ToolCall) -> Any:
        """Return what the function of a call returns: a text, or an awaitable of one."""
        tool = self._tools.get(call.name)
        return _unknown_tool(call.name) if tool is None else tool.function(call.arguments)


def _rounds_error(max_rounds: int) -> Error:
    return Error(
        grpc.StatusCode.FAILED_PRECONDITION,
        f"the model still asks for tools after {max_rounds} rounds; max_rounds sets this limit",
        raw_reason="TOOL_ROUNDS",
    )


def _unknown_tool(name: str) -> str:
    # So that the model can choose another one. The model may write any text as a name.
    message = json.dumps(f"there is no tool {name}", ensure_ascii=False)
    return f'{{"error":{message}}}'
