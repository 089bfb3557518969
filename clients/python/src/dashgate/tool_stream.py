"""The streamed tool loop of the synchronous client."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterator
from types import TracebackType

from dashgate import v1
from dashgate._current_round import CurrentRound
from dashgate._tools import ToolRounds
from dashgate.answer import Answer
from dashgate.stream import Stream


class ToolStream(CurrentRound[Stream]):
    """A streamed tool loop: an iterator of the events of all rounds, in order.

    It is read once. The functions run while it is read. Leaving it early (`break`, `close`, the end
    of a `with`) cancels the call of the current round.
    """

    def __init__(self, begin: Callable[[], Stream], rounds: ToolRounds) -> None:
        super().__init__(begin())
        self._begin = begin
        self._rounds = rounds
        self._answer: Answer | None = None
        self._fault: BaseException | None = None
        self._events = iter(self.current)

    def __iter__(self) -> Iterator[v1.ConverseStreamResponse]:
        try:
            while (event := self._next()) is not None:
                yield event
        finally:
            self.close()

    def text_deltas(self) -> Iterator[str]:
        """Return an iterator of the text deltas of the first choice, of all rounds."""
        for event in self:
            if event.delta.choice_index == 0 and event.delta.text:
                yield event.delta.text

    def final(self) -> Answer:
        """Read the remaining events and return the last answer."""
        while self._next() is not None:
            pass
        assert self._answer is not None
        return self._answer

    def cancel(self) -> None:
        """Cancel the call, from any thread. Readers get `concurrent.futures.CancelledError`."""
        self._rounds.is_left = True
        self.current.cancel()

    def close(self) -> None:
        """Close the stream, and cancel the call if it has not ended."""
        if self._answer is None:
            self._rounds.is_left = True
        self.current.close()

    def __enter__(self) -> ToolStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _next(self) -> v1.ConverseStreamResponse | None:
        if self._fault is not None:
            # What ended the program, or a task, does not do so again.
            is_error = isinstance(self._fault, Exception)
            raise self._fault if is_error else concurrent.futures.CancelledError
        while self._answer is None:
            try:
                event = next(self._events, None)
                if event is not None:
                    return event
                self._end_round()
            except BaseException as fault:
                # The answer of a round is appended once.
                self._fault = fault
                raise
        return None

    def _end_round(self) -> None:
        answer = self.current.final()
        self._check_left()
        calls = self._rounds.calls(answer)
        if not calls:
            self._answer = answer
            return
        self._rounds.run(calls)
        self._check_left()
        self.current = self._begin()
        self._events = iter(self.current)

    def _check_left(self) -> None:
        if self._rounds.is_left:
            raise concurrent.futures.CancelledError
