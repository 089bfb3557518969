"""The rounds of a tool loop, which both clients share."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from dashgate import v1
from dashgate.answer import Answer
from dashgate.conversation import Conversation
from dashgate.errors import Error
from dashgate.tools import Tool

# Enough for usual tools; bounds the cost of a model that never stops calling them.
MAX_ROUNDS = 8

_FAILED = '{"error":"the function failed"}'
_NOT_RUN = '{"error":"the function was not run"}'


class ToolRounds:
    """The tools of a conversation, and how many rounds of calls are left."""

    def __init__(
        self,
        conversation: Conversation,
        tools: Iterable[Tool],
        max_rounds: int,
        *,
        parallel: bool,
    ) -> None:
        self._conversation = conversation
        self._tools = {tool.name: tool for tool in tools}
        self._max_rounds = max_rounds
        self._rounds = 0
        self._parallel = parallel
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

    def run(self, calls: Sequence[v1.ToolCall]) -> None:
        """Run the functions of a round, and append their results."""
        if self._parallel and len(calls) > 1:
            with self._settled(calls) as outcomes, ThreadPoolExecutor(len(calls)) as threads:
                for at, call in enumerate(calls):
                    # The functions see the context variables of the caller.
                    context = contextvars.copy_context()
                    threads.submit(context.run, self._note, call, at, outcomes)
            return
        for call in calls:
            with self._answered(call, calls):
                result = _checked(call, self._result(call))
            self._conversation.tool_result(call, result)

    async def run_async(self, calls: Sequence[v1.ToolCall]) -> None:
        """Run the functions of a round, some of which may be coroutine functions."""
        if self._parallel and len(calls) > 1:
            with self._settled(calls) as outcomes:
                await asyncio.gather(
                    *(self._note_async(call, at, outcomes) for at, call in enumerate(calls))
                )
            return
        for call in calls:
            with self._answered(call, calls):
                result = await self._result_async(call)
            self._conversation.tool_result(call, result)

    def _note(self, call: v1.ToolCall, at: int, outcomes: dict[int, str | Exception]) -> None:
        try:
            outcomes[at] = _checked(call, self._result(call))
        except Exception as error:  # It is raised when all have ended.
            outcomes[at] = error

    async def _note_async(
        self, call: v1.ToolCall, at: int, outcomes: dict[int, str | Exception]
    ) -> None:
        try:
            outcomes[at] = await self._result_async(call)
        except Exception as error:  # It is raised when all have ended.
            outcomes[at] = error

    @contextlib.contextmanager
    def _settled(self, calls: Sequence[v1.ToolCall]) -> Iterator[dict[int, str | Exception]]:
        """Append the outcomes in the order of the calls, and raise the first exception."""
        outcomes: dict[int, str | Exception] = {}
        try:
            yield outcomes
        finally:
            self._append(calls, outcomes)
        for _, outcome in sorted(outcomes.items()):
            if isinstance(outcome, Exception):
                raise outcome

    def _append(
        self, calls: Sequence[v1.ToolCall], outcomes: Mapping[int, str | Exception]
    ) -> None:
        for at, call in enumerate(calls):
            # One that was interrupted has no outcome.
            outcome = outcomes.get(at)
            self._conversation.tool_result(call, outcome if isinstance(outcome, str) else _FAILED)

    @contextlib.contextmanager
    def _answered(self, call: v1.ToolCall, calls: Sequence[v1.ToolCall]) -> Iterator[None]:
        """Answer a call whose function fails, and those after it, so that no call is unanswered."""
        try:
            yield
        except BaseException:
            self._conversation.tool_result(call, _FAILED)
            position = next(at for at, other in enumerate(calls) if other is call)
            for other in calls[position + 1 :]:
                self._conversation.tool_result(other, _NOT_RUN)
            raise

    def _result(self, call: v1.ToolCall) -> Any:
        """Return what the function of a call returns: a text, or an awaitable of one."""
        tool = self._tools.get(call.name)
        return _unknown_tool(call.name) if tool is None else tool.function(call.arguments)

    async def _result_async(self, call: v1.ToolCall) -> str:
        result = self._result(call)
        return _checked(call, result if isinstance(result, str) else await result)


def _checked(call: v1.ToolCall, result: Any) -> str:
    if not isinstance(result, str):
        raise TypeError(f"tool {call.name} gave {type(result).__name__}, not a text")
    return result


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
