"""Live sessions of the synchronous client."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

import grpc

from dashgate import v1
from dashgate._exit import is_finalizing
from dashgate._failure import from_rpc
from dashgate._live import Progress, Request, Response, finished_error, over_error
from dashgate._reach import Reach
from dashgate.errors import Error

_Self = TypeVar("_Self", bound="_Session[Any, Any]")


# How long the end of the program waits for a thread of gRPC, which is only a moment from its end.
_EXIT_LIMIT = 1.0


class _Outbox(Generic[Request]):
    """The messages of a session, which gRPC iterates in threads of its own, one for each stream.

    It holds one message. gRPC takes the next one when flow control has accepted the one before it,
    so a sender waits as long as the gateway does.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._message: Request | None = None
        self._stream = 0
        self.finished = False
        self._closed = False
        # gRPC's threads that iterate the messages.
        self._threads: set[threading.Thread] = set()

    def stream(self, first: Request) -> Iterator[Request]:
        """Return the messages of a new stream. Those of earlier streams end."""
        with self._changed:
            self._stream += 1
            self._changed.notify_all()
            return self._messages(self._stream, first)

    def _messages(self, number: int, first: Request) -> Iterator[Request]:
        self._threads = {thread for thread in self._threads if thread.is_alive()}
        self._threads.add(threading.current_thread())
        yield first
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: (
                        self._stream != number
                        or self._message is not None
                        or self.finished
                        or self._closed
                    )
                )
                if self._stream != number or self._closed or self._message is None:
                    return
                message, self._message = self._message, None
                self._changed.notify_all()
            yield message

    def put(self, message: Request, is_active: Callable[[], bool]) -> bool:
        """Wait for space and add a message. Return False if the stream has ended."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._message is None or self.finished or self._closed or not is_active()
            )
            if self.finished:
                raise finished_error()
            if self._closed or not is_active():
                return False
            self._message = message
            return self._notify()

    def wake(self) -> None:
        """Let senders look at the state of the stream."""
        with self._changed:
            self._notify()

    def finish(self) -> None:
        """End the messages, after the one that waits."""
        with self._changed:
            self.finished = True
            self._notify()

    def join(self) -> None:
        """Wait until gRPC's threads have ended, which hold locks of the call."""
        for thread in tuple(self._threads):
            thread.join(_EXIT_LIMIT)

    def close(self) -> None:
        """End the messages at once."""
        with self._changed:
            self._closed = True
            self._notify()

    def _notify(self) -> bool:
        self._changed.notify_all()
        return True


class _Session(Generic[Request, Response]):
    """A session: an iterator of events, and methods that send."""

    def __init__(
        self, open_stream: Callable[..., Any], progress: Progress[Request], reach: Reach
    ) -> None:
        self._open_stream = open_stream
        self._reach = reach
        self._progress = progress
        self._outbox: _Outbox[Request] = _Outbox()
        self._recovering = threading.Lock()
        self._closed = threading.Event()
        self._fault: Exception | None = None
        self._over = False
        self._is_read = False
        self._call = self._dial()

    @property
    def request_id(self) -> str:
        """The request id of the session."""
        return self._progress.request_id

    @property
    def session_id(self) -> str:
        """The id of the session. Empty until its first event was read."""
        return self._progress.session_id

    @property
    def resumes(self) -> int:
        """How often this object has tried to resume the session."""
        return self._progress.resumes

    @property
    def resumption(self) -> v1.ResumeSession | None:
        """What a setup needs to continue the session elsewhere after the last event.

        None until the first event was read. A stream that continues the session ends this one
        with `ABORTED`.
        """
        return self._progress.resumption()

    @property
    def ended(self) -> v1.SessionEnded | None:
        """The last event: usage and durations. None until it was read."""
        return self._progress.ended

    def __iter__(self: _Self) -> _Self:
        return self

    def __next__(self) -> Response:
        while True:
            if self._fault is not None:
                raise self._fault
            if self._over:
                raise StopIteration
            call = self._call
            self._is_read = True
            try:
                event = cast("Response", next(call))
            except StopIteration:
                self._complete()
                raise
            except grpc.RpcError:
                self._recover(call)
                continue
            finally:
                self._is_read = False
            if self._progress.received(event):
                return event

    def finish(self) -> None:
        """End the input. Running responses complete, then the session ends. Read its events."""
        self._outbox.finish()

    def close(self) -> None:
        """Leave the session, from any thread. Readers get `concurrent.futures.CancelledError`.

        If the session has not ended, the gateway ends it when the time to resume it is over, 30
        seconds by default.
        """
        if is_finalizing():
            return
        self._closed.set()
        self._progress.log.ended(concurrent.futures.CancelledError())
        self._outbox.close()
        self._call.cancel()

    def leave_at_exit(self) -> None:
        """Leave it at the end of the program, unless a thread reads it, which just ends."""
        if not self._is_read:
            self.close()
            self._outbox.join()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # The constructor may have failed.
        if hasattr(self, "_call"):
            self.close()

    def _send(self, request: Request) -> None:
        while True:
            if self._fault is not None:
                raise self._fault
            if self._over:
                raise over_error()
            call = self._call
            if self._outbox.put(request, call.is_active):
                return
            self._recover(call)

    def _dial(self) -> Any:
        call = self._open_stream(
            self._outbox.stream(self._progress.first()),
            timeout=self._progress.deadline.remaining(),
            metadata=self._progress.metadata,
        )
        # Not a method of the session, which could not be garbage-collected then.
        call.add_callback(self._outbox.wake)
        self._attempt = self._reach.attempt(call)
        return call

    def _complete(self) -> None:
        try:
            self._progress.check_complete()
        except Error as fault:
            self._fault = fault
            raise
        self._over = True
        self._outbox.close()

    def _recover(self, call: Any) -> None:
        """Resume the session if its stream broke, unless another thread has."""
        with self._recovering:
            if self._fault is not None:
                raise self._fault
            if self._closed.is_set():
                raise concurrent.futures.CancelledError
            if self._call is not call:
                return
            if call.code() is grpc.StatusCode.OK:
                raise over_error()
            try:
                error = self._reach.explained(from_rpc(call, self.request_id), self._attempt)
                delay = self._progress.broken(error)
            except Error as fault:
                self._fault = fault
                self._outbox.close()
                raise
            if self._closed.wait(delay):
                raise concurrent.futures.CancelledError
            self._call = self._dial()
            # Closing may have cancelled the stream before.
            if self._closed.is_set():
                self._call.cancel()


class LiveSession(_Session[v1.ConverseLiveRequest, v1.ConverseLiveResponse]):
    """A spoken conversation: an iterator of events, and methods that send.

    Use it in a `with`; leaving a loop over its events does not end it. Send and read in different
    threads, or alternately. A method that sends waits while the gateway accepts no more. If the
    connection breaks, the session is resumed; an event `session_started` with `resumed` then shows
    that the input of that moment may be lost.
    """

    def send_audio(self, audio: bytes) -> None:
        """Send the next piece of audio, in the format of the setup. 100 ms are usual."""
        self._send(v1.ConverseLiveRequest(audio=audio))

    def send_image(self, image: bytes) -> None:
        """Send an image, JPEG, for the turn that is being spoken. Audio must precede it."""
        self._send(v1.ConverseLiveRequest(image=image))

    def send_text(self, text: str) -> None:
        """Send a text message. `create_response` requests the answer."""
        self._send(v1.ConverseLiveRequest(text=text))

    def commit(self) -> None:
        """End the turn, if turns are manual."""
        self._send(v1.ConverseLiveRequest(commit=v1.CommitInput()))

    def clear(self) -> None:
        """Discard audio and images that are not committed."""
        self._send(v1.ConverseLiveRequest(clear=v1.ClearInput()))

    def create_response(self, instructions: str = "", modalities: Iterable[str] = ()) -> None:
        """Request a response; the arguments replace those of the session."""
        create = v1.CreateResponse(instructions=instructions, modalities=modalities)
        self._send(v1.ConverseLiveRequest(create_response=create))

    def cancel_response(self) -> None:
        """Cancel the running response. Nothing of it follows its `response_completed`."""
        self._send(v1.ConverseLiveRequest(cancel_response=v1.CancelResponse()))

    def send_tool_result(self, tool_call_id: str, output: str) -> None:
        """Send the result of a tool call. `create_response` requests the answer."""
        result = v1.ToolResult(tool_call_id=tool_call_id, output=output)
        self._send(v1.ConverseLiveRequest(tool_result=result))

    def update(self, update: v1.UpdateSession) -> None:
        """Change the configuration. What is not set stays."""
        self._send(v1.ConverseLiveRequest(update=update))

    def delete_item(self, item_id: str) -> None:
        """Remove an item of the conversation."""
        self._send(v1.ConverseLiveRequest(delete_item=v1.DeleteItem(item_id=item_id)))


class SpeechSession(_Session[v1.SynthesizeLiveRequest, v1.SynthesizeLiveResponse]):
    """Text that is spoken while it is written: an iterator of events, and methods that send.

    Use it as a `LiveSession`.
    """

    def send_text(self, text: str) -> None:
        """Send the next piece of the text."""
        self._send(v1.SynthesizeLiveRequest(text=text))

    def commit(self) -> None:
        """Speak the text so far. Required with `SYNTHESIS_MODE_COMMIT`."""
        self._send(v1.SynthesizeLiveRequest(commit=v1.CommitText()))

    def clear(self) -> None:
        """Discard text that is not spoken yet."""
        self._send(v1.SynthesizeLiveRequest(clear=v1.ClearText()))

    def audio(self) -> Iterator[bytes]:
        """Return an iterator of the audio of the remaining events."""
        for event in self:
            if event.response_delta.audio:
                yield event.response_delta.audio
