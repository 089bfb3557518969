"""The rounds of a tool loop, which both clients share."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import grpc

from dashgate import v1
from dashgate._types import wrong_type
from dashgate.answer import Answer
from dashgate.conversation import Conversation
from dashgate.errors import Error
from dashgate.tools import Tool, checked_tool

# Enough for usual tools; bounds the cost of a model that never stops calling them.
MAX_ROUNDS = 8

# How many functions of a round run at the same time.
MOST_AT_ONCE = 16

_FAILED = '{"error":"the function failed"}'
_NOT_RUN = '{"error":"the function was not run"}'


# By the position of a call; None while its function runs.
_Outcomes: TypeAlias = dict[int, str | BaseException | None]


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
        if not isinstance(conversation, Conversation):
            raise wrong_type("conversation", conversation, "a dashgate.Conversation")
        if isinstance(tools, Tool) or not isinstance(tools, Iterable):
            raise wrong_type("tools", tools, "a list of tools")
        self._conversation = conversation
        self._tools = {checked_tool(tool).name: tool for tool in tools}
        self._max_rounds = max_rounds
        self._rounds = 0
        self._parallel = parallel
        self.is_left = False
        """Set when the loop is left, by any thread: no other function begins."""
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
            with self._settled(calls) as outcomes:
                self._run_in_threads(calls, outcomes)
            return
        for at in range(len(calls)):
            if self._skips(calls[at:]):
                return
            with self._answered(calls, at) as call:
                self._conversation.tool_result(call, _checked(call, self._result(call)))

    async def run_async(self, calls: Sequence[v1.ToolCall]) -> None:
        """Run the functions of a round, some of which may be coroutine functions."""
        if self._parallel and len(calls) > 1:
            places = asyncio.Semaphore(MOST_AT_ONCE)
            with self._settled(calls) as outcomes:
                # It waits for all, also if it is cancelled.
                await asyncio.gather(
                    *(
                        self._note_async(call, at, outcomes, places)
                        for at, call in enumerate(calls)
                    ),
                    return_exceptions=True,
                )
            return
        for at in range(len(calls)):
            if self._skips(calls[at:]):
                return
            with self._answered(calls, at) as call:
                self._conversation.tool_result(call, await self._result_async(call))

    def _skips(self, calls: Sequence[v1.ToolCall]) -> bool:
        """Answer calls whose functions are not run, if the loop is left."""
        if self.is_left:
            for call in calls:
                self._conversation.tool_result(call, _NOT_RUN)
        return self.is_left

    def _run_in_threads(self, calls: Sequence[v1.ToolCall], outcomes: _Outcomes) -> None:
        threads = ThreadPoolExecutor(min(len(calls), MOST_AT_ONCE), "dashgate-tool")
        try:
            for at, call in enumerate(calls):
                # The functions see the context variables of the caller.
                context = contextvars.copy_context()
                threads.submit(context.run, self._note, call, at, outcomes)
            threads.shutdown()
        except BaseException as error:
            # Either there are too many threads, or Ctrl-C was pressed, which does not wait.
            threads.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
            raise

    def _note(self, call: v1.ToolCall, at: int, outcomes: _Outcomes) -> None:
        if self.is_left:
            return
        outcomes[at] = None
        try:
            outcomes[at] = _checked(call, self._result(call))
        except BaseException as error:  # It is raised when all have ended.
            outcomes[at] = error

    async def _note_async(
        self, call: v1.ToolCall, at: int, outcomes: _Outcomes, places: asyncio.Semaphore
    ) -> None:
        async with places:
            if self.is_left:
                return
            outcomes[at] = None
            try:
                outcomes[at] = await self._result_async(call)
            except BaseException as error:  # It is raised when all have ended.
                outcomes[at] = error

    @contextlib.contextmanager
    def _settled(self, calls: Sequence[v1.ToolCall]) -> Iterator[_Outcomes]:
        """Append the outcomes in the order of the calls, and raise the first exception.

        What ends the program goes before the others.
        """
        outcomes: _Outcomes = {}
        try:
            yield outcomes
        finally:
            self._append(calls, dict(outcomes))
        errors = [each for _, each in sorted(outcomes.items()) if isinstance(each, BaseException)]
        if errors:
            raise next((each for each in errors if not isinstance(each, Exception)), errors[0])

    def _append(self, calls: Sequence[v1.ToolCall], outcomes: _Outcomes) -> None:
        for at, call in enumerate(calls):
            # One that was interrupted has no outcome.
            outcome = outcomes.get(at, _NOT_RUN)
            self._conversation.tool_result(call, outcome if isinstance(outcome, str) else _FAILED)

    @contextlib.contextmanager
    def _answered(self, calls: Sequence[v1.ToolCall], at: int) -> Iterator[v1.ToolCall]:
        """Answer a call whose function fails, and those after it, so that no call is unanswered."""
        try:
            yield calls[at]
        except BaseException:
            self._conversation.tool_result(calls[at], _FAILED)
            for other in calls[at + 1 :]:
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
    # Fails here and not when it is appended, if the text cannot be sent.
    result.encode()
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
