"""The streamed tool loop of the client for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import TracebackType

from dashgate import v1
from dashgate._current_round import CurrentRound
from dashgate._tools import ToolRounds
from dashgate._unary import left_error, once_only
from dashgate.aio_stream import AsyncStream
from dashgate.answer import Answer


class AsyncToolStream(CurrentRound[AsyncStream]):
    """A streamed tool loop: an asynchronous iterator of the events of all rounds, in order.

    It is read once. The functions run while it is read. Leaving it early (`break`, `close`, the end
    of an `async with`, cancellation of the task) cancels the call of the current round.
    """

    def __init__(self, begin: Callable[[], AsyncStream], rounds: ToolRounds) -> None:
        super().__init__(begin())
        self._begin = begin
        self._rounds = rounds
        self._answer: Answer | None = None
        self._fault: BaseException | None = None
        self._events = aiter(self.current)

    async def __aiter__(self) -> AsyncIterator[v1.ConverseStreamResponse]:
        try:
            while (event := await self._next()) is not None:
                yield event
        finally:
            self.cancel()

    async def text_deltas(self) -> AsyncIterator[str]:
        """Give the texts of the first choice, of all rounds, as they come."""
        try:
            while (event := await self._next()) is not None:
                if event.delta.choice_index == 0 and event.delta.text:
                    yield event.delta.text
        finally:
            self.cancel()

    async def final(self) -> Answer:
        """Read the remaining events and return the last answer."""
        while await self._next() is not None:
            pass
        assert self._answer is not None
        return self._answer

    def cancel(self) -> None:
        """Cancel the call, if it has not ended. Readers get an `Error` with `CANCELLED`."""
        if self._answer is None:
            self._rounds.is_left = True
            self.current.cancel()

    async def close(self) -> None:
        """Close the stream, and cancel the call if it has not ended."""
        self.cancel()

    async def __aenter__(self) -> AsyncToolStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()

    async def _next(self) -> v1.ConverseStreamResponse | None:
        if self._fault is not None:
            raise once_only(self._fault, self.current.request_id)
        while self._answer is None:
            try:
                event = await anext(self._events, None)
                if event is not None:
                    return event
                await self._end_round()
            except BaseException as fault:
                # The answer of a round is appended once.
                self._fault = fault
                self.current.cancel()
                raise
        return None

    async def _end_round(self) -> None:
        answer = await self.current.final()
        self._check_left()
        calls = self._rounds.calls(answer)
        if not calls:
            self._answer = answer
            return
        await self._rounds.run_async(calls)
        self._check_left()
        self.current = self._begin()
        self._events = aiter(self.current)

    def _check_left(self) -> None:
        if self._rounds.is_left:
            raise left_error(self.current.request_id)
