"""Streamed answers of the synchronous client."""

from __future__ import annotations

import concurrent.futures
import functools
import threading
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, cast

import grpc

from dashgate import v1
from dashgate._calls import check_complete, idle_error, note_output
from dashgate._connection import Connection
from dashgate._exit import is_finalizing
from dashgate._failure import from_rpc
from dashgate._headers import header_texts
from dashgate._idle import Wait
from dashgate._leaving import SentMetadata
from dashgate._resume import Resumption
from dashgate._waiting import never_begins, wait_until_begun
from dashgate.answer import Answer
from dashgate.errors import Error


class Stream:
    """A streamed answer: an iterator of events.

    It is read once. Leaving it early (`break`, `close`, the end of a `with`, or garbage collection)
    cancels the call.
    """

    def __init__(
        self,
        connection: Connection,
        wait: Wait,
        state: Resumption,
        metadata: SentMetadata,
    ) -> None:
        self._connection = connection
        self._wait = wait
        self._state = state
        self._metadata = metadata
        self._ended = True
        self._fault: BaseException | None = None
        self._cancelled = threading.Event()
        self.request_id = state.request_id
        """The request id of the call."""
        self._call = self._open()
        self._has_headers = False
        self._ended = False
        connection.watch.add(wait)
        connection.opened(self)

    @property
    def resumes(self) -> int:
        """How often this stream was tried to be resumed."""
        return self._state.resumes

    @property
    def headers(self) -> Mapping[str, str]:
        """The metadata of the response, as in `Answer`. Empty until the first event was read."""
        return self._state.headers

    @property
    def partial(self) -> Answer | None:
        """The answer that the events so far make, also after an error or after leaving the stream.

        None before the first event that is no heartbeat. A choice that has not ended has no finish
        reason.
        """
        return self._state.partial()

    def __iter__(self) -> Iterator[v1.ConverseStreamResponse]:
        try:
            while (event := self._next()) is not None:
                yield event
        finally:
            self.close()

    def text_deltas(self) -> Iterator[str]:
        """Return an iterator of the text deltas of the first choice."""
        for event in self:
            if event.delta.choice_index == 0 and event.delta.text:
                yield event.delta.text

    def final(self) -> Answer:
        """Read the remaining events and return the complete answer."""
        while self._next() is not None:
            pass
        return self._state.answer()

    def cancel(self) -> None:
        """Cancel the call, from any thread. Readers get `concurrent.futures.CancelledError`."""
        if is_finalizing():
            return
        self._cancelled.set()
        self._wait.cancel()
        if not self._ended:
            self._state.log.ended(concurrent.futures.CancelledError())
            self._leave(None)

    def close(self) -> None:
        """Close the stream, and cancel the call if it has not ended."""
        # A generator of the program may do it when it is collected at the end of the interpreter.
        if is_finalizing():
            return
        if not self._ended:
            self.cancel()
        self._connection.watch.remove(self._wait)

    def leave_at_exit(self) -> None:
        """Close the stream at the end of the program, unless a thread reads it, which just ends."""
        if not self._wait.is_armed:
            self.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _open(self) -> Iterator[v1.ConverseStreamResponse]:
        call = self._connection.conversations.ConverseStream(
            self._state.request, timeout=self._state.deadline.remaining(), metadata=self._metadata
        )
        # Not a method of the stream, which would then not be collected while it is watched.
        self._wait.cancel = cast("grpc.RpcContext", call).cancel
        self._attempt = self._connection.reach.attempt(call)
        if self._cancelled.is_set():
            self._wait.cancel()
        return call

    def _next(self) -> v1.ConverseStreamResponse | None:
        if self._fault is not None:
            raise self._fault
        if self._ended:
            return None
        try:
            event = self._read()
        except Exception as fault:
            note_output(fault, self._state.fold)
            self._end(fault)
            raise
        except BaseException:
            # Ctrl-C was pressed: the answer is not needed.
            self.close()
            raise
        if event is None:
            self._end(None)
        return event

    def _read(self) -> v1.ConverseStreamResponse | None:
        while True:
            # Not while the call waits for a connection.
            wait_until_begun(self._call)
            self._wait.arm()
            try:
                event = next(self._call)
            except StopIteration:
                self._note_headers(ended=True)
                check_complete(self._state.fold, self.request_id)
                return None
            except grpc.RpcError as error:
                failed = self._error(error)
                if not self._state.started:
                    # The call has ended, so this does not wait.
                    self._state.announced(cast("grpc.Call", self._call).initial_metadata())
                delay = self._state.failed(failed)
            else:
                if not self._has_headers:
                    self._note_headers()
                if self._state.received(event):
                    return event
                continue
            finally:
                self._wait.disarm()
            if delay is None:
                return None
            if self._cancelled.wait(delay):
                raise concurrent.futures.CancelledError
            self._call, self._has_headers = self._open(), False

    def _note_headers(self, *, ended: bool = False) -> None:
        """Note the metadata of the response. It has come, so this does not wait."""
        call = cast("grpc.Call", self._call)
        trailers = call.trailing_metadata() if ended else None
        self._state.headers = header_texts(call.initial_metadata(), trailers)
        self._has_headers = True

    def _error(self, error: grpc.RpcError) -> Error:
        reach = self._connection.reach
        if self._wait.expired:
            idle = idle_error(self._wait.limit, self.request_id)
            return idle if self._has_headers else reach.explained(idle, self._attempt)
        if self._cancelled.is_set():
            raise concurrent.futures.CancelledError from None
        return reach.explained(from_rpc(cast("Any", error), self.request_id), self._attempt)

    def _end(self, fault: Exception | None) -> None:
        self._ended = True
        self._fault = fault
        self._state.log.ended(fault)
        self._connection.watch.remove(self._wait)
        if fault is not None:
            # The call goes on if an event is missing.
            self._wait.cancel()
            self._leave(fault)

    def _leave(self, fault: Exception | None) -> None:
        if self.resumes == 0 and never_begins(self._call):
            return
        due = functools.partial(self._state.must_leave, fault)
        # Not a method of the stream, which is collected meanwhile.
        may_have = functools.partial(self._connection.reach.may_have, self._attempt)
        is_needed = may_have if self.resumes == 0 else _always
        self._connection.leave(self.request_id, self._metadata, due, is_needed)


def _always() -> bool:
    return True
