"""Live sessions of the client for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

import grpc
import grpc.aio

from dashgate import v1
from dashgate._aio_writing import has_connected, has_written
from dashgate._failure import from_rpc
from dashgate._live import Progress, Request, Response, finished_error, over_error
from dashgate._reach import AsyncReach
from dashgate._unary import cancellations, left_error
from dashgate.errors import Error

_Self = TypeVar("_Self", bound="_AsyncSession[Any, Any]")

# The errors of operations on a stream that has ended.
_ENDED = (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError)


class _AsyncSession(Generic[Request, Response]):
    """A session: an asynchronous iterator of events, and methods that send."""

    def __init__(
        self, open_stream: Callable[..., Any], progress: Progress[Request], reach: AsyncReach
    ) -> None:
        self._open_stream = open_stream
        self._reach = reach
        self._progress = progress
        self._call: Any = None
        # The stream that was written to: one that is new must begin before.
        self._connected: Any = None
        self._changing = asyncio.Lock()
        self._sending = asyncio.Lock()
        self._receiving = asyncio.Lock()
        self._writing: asyncio.Future[Any] | None = None
        self._reading: tuple[Any, asyncio.Future[Any]] | None = None
        # What a stream that takes no more messages still had: at most its flow control window.
        self._unread: deque[Response] = deque()
        self._finished = False
        self._closed = asyncio.Event()
        self._fault: Exception | None = None
        self._over = False

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

    def __aiter__(self: _Self) -> _Self:
        return self

    async def __anext__(self) -> Response:
        while True:
            event = await self._next()
            if event is not None:
                return event

    async def finish(self) -> None:
        """End the input. Running responses complete, then the session ends. Read its events."""
        async with self._sending:
            if self._finished:
                return
            self._finished = True
            call = await self._attached()
            await self._done_writing(call)

    def cancel(self) -> None:
        """Leave the session at once. Readers get an `Error` with `CANCELLED`.

        If the session has not ended, the gateway ends it when the time to resume it is over, 30
        seconds by default.
        """
        self._closed.set()
        self._progress.log.ended(asyncio.CancelledError())
        if self._reading is not None:
            self._reading[1].cancel()
        if self._call is not None:
            self._call.cancel()

    async def close(self) -> None:
        """Leave the session, as `cancel` does."""
        reading = self._reading
        self.cancel()
        if reading is not None:
            await asyncio.wait([reading[1]])

    async def __aenter__(self: _Self) -> _Self:
        await self._attached()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _send(self, request: Request) -> None:
        if self._finished:
            raise finished_error()
        async with self._sending:
            try:
                while not await self._accepted(request):
                    pass
            except (Error, ValueError):
                # Reading reports it, after the events that came before.
                if not self._unread:
                    raise

    async def _accepted(self, request: Request) -> bool:
        """Return whether the stream has taken a message. If not, the session was resumed."""
        if self._fault is not None:
            raise self._fault
        if self._over:
            raise over_error()
        call = await self._attached()
        if await self._written(call, request):
            return True
        await self._drain(call)
        await self._recover(call)
        return False

    async def _written(self, call: Any, request: Request) -> bool:
        """Return whether the stream has taken a message.

        Another task writes, because gRPC ends a call if the task that writes is cancelled.
        """
        if self._writing is not None:
            await asyncio.wait([self._writing])
        is_first = self._connected is not call
        self._writing = asyncio.ensure_future(_write(call, request, connects=is_first))
        self._connected = call
        return bool(await asyncio.shield(self._writing))

    async def _next(self) -> Response | None:
        """Return the next message. None: the session was resumed, or it was received before."""
        async with self._receiving:
            if self._unread:
                return self._unread.popleft()
            if self._fault is not None:
                raise self._fault
            if self._over:
                raise StopAsyncIteration
            call = await self._attached()
            event = await self._read(call)
        if event is grpc.aio.EOF:
            self._complete()
            raise StopAsyncIteration
        if event is None:
            await self._recover(call)
            return None
        return cast("Response", event) if self._progress.received(event) else None

    async def _read(self, call: Any) -> Any:
        """Return the next message of the stream, or None if it has failed.

        Another task reads, because gRPC ends a call if the task that reads is cancelled, for
        example by `asyncio.wait_for`.
        """
        if self._reading is None or self._reading[0] is not call:
            self._reading = (call, asyncio.ensure_future(call.read()))
        reading = self._reading[1]
        before = cancellations()
        try:
            event = await asyncio.shield(reading)
        except asyncio.CancelledError:
            if not reading.done() or cancellations() > before:
                raise
            event = None
        except _ENDED:
            event = None
        self._reading = None
        return event

    async def _drain(self, call: Any) -> None:
        """Read what is left of a stream that takes no more messages: its status comes last."""
        async with self._receiving:
            while self._call is call and not call.done():
                event = await self._read(call)
                if event is None or event is grpc.aio.EOF:
                    return
                if self._progress.received(event):
                    self._unread.append(event)

    async def _attached(self) -> Any:
        """Return the stream, which the first use opens."""
        async with self._changing:
            if self._call is None:
                if self._closed.is_set():
                    raise left_error(self.request_id, "session")
                await self._dial()
            return self._call

    async def _dial(self) -> None:
        call = self._open_stream(
            timeout=self._progress.deadline.remaining(), metadata=self._progress.metadata
        )
        self._call = call
        self._attempt = self._reach.attempt(call)
        # If it fails, reading reports the status.
        if await self._written(call, self._progress.first()) and self._finished:
            await self._done_writing(call)

    async def _done_writing(self, call: Any) -> None:
        # If it has ended, reading reports the status, and a resumed stream ends its input again.
        with contextlib.suppress(*_ENDED):
            await call.done_writing()

    def _complete(self) -> None:
        try:
            self._progress.check_complete()
        except Error as fault:
            self._fault = fault
            raise
        self._over = True

    async def _recover(self, call: Any) -> None:
        """Resume the session if its stream broke, unless another task has."""
        async with self._changing:
            if self._fault is not None:
                raise self._fault
            if self._closed.is_set():
                raise left_error(self.request_id, "session")
            if self._call is not call:
                return
            code, details = await call.code(), await call.details()
            if code is grpc.StatusCode.OK:
                raise over_error()
            failed = grpc.aio.AioRpcError(
                code,
                await call.initial_metadata(),
                await call.trailing_metadata(),
                details=details,
            )
            error = await self._reach.explained(
                from_rpc(cast("Any", failed), self.request_id), self._attempt
            )
            try:
                delay = self._progress.broken(error)
            except Error as fault:
                self._fault = fault
                raise
            try:
                await asyncio.wait_for(self._closed.wait(), delay)
            except asyncio.TimeoutError:
                # It may have been set since.
                if not self._closed.is_set():
                    await self._dial()
                    return
            raise left_error(self.request_id, "session") from None


async def _write(call: Any, request: Any, *, connects: bool) -> bool:
    return (not connects or await has_connected(call)) and await has_written(call, request)


class AsyncLiveSession(_AsyncSession[v1.ConverseLiveRequest, v1.ConverseLiveResponse]):
    """A spoken conversation: an asynchronous iterator of events, and methods that send.

    Use it in an `async with`; leaving a loop over its events does not end it. Send and read in
    different tasks, or alternately. A method that sends waits while the gateway accepts no more. If
    the connection breaks, the session is resumed; an event `session_started` with `resumed` then
    shows that the input of that moment may be lost.
    """

    async def send_audio(self, audio: bytes) -> None:
        """Send the next piece of audio, in the format of the setup. 100 ms are usual."""
        await self._send(v1.ConverseLiveRequest(audio=audio))

    async def send_image(self, image: bytes) -> None:
        """Send an image, JPEG, for the turn that is being spoken. Audio must precede it."""
        await self._send(v1.ConverseLiveRequest(image=image))

    async def send_text(self, text: str) -> None:
        """Send a text message. `create_response` requests the answer."""
        await self._send(v1.ConverseLiveRequest(text=text))

    async def commit(self) -> None:
        """End the turn, if turns are manual."""
        await self._send(v1.ConverseLiveRequest(commit=v1.CommitInput()))

    async def clear(self) -> None:
        """Discard audio and images that are not committed."""
        await self._send(v1.ConverseLiveRequest(clear=v1.ClearInput()))

    async def create_response(self, instructions: str = "", modalities: Iterable[str] = ()) -> None:
        """Request a response; the arguments replace those of the session."""
        create = v1.CreateResponse(instructions=instructions, modalities=modalities)
        await self._send(v1.ConverseLiveRequest(create_response=create))

    async def cancel_response(self) -> None:
        """Cancel the running response. Nothing of it follows its `response_completed`."""
        await self._send(v1.ConverseLiveRequest(cancel_response=v1.CancelResponse()))

    async def send_tool_result(self, tool_call_id: str, output: str) -> None:
        """Send the result of a tool call. `create_response` requests the answer."""
        result = v1.ToolResult(tool_call_id=tool_call_id, output=output)
        await self._send(v1.ConverseLiveRequest(tool_result=result))

    async def update(self, update: v1.UpdateSession) -> None:
        """Change the configuration. What is not set stays."""
        await self._send(v1.ConverseLiveRequest(update=update))

    async def delete_item(self, item_id: str) -> None:
        """Remove an item of the conversation."""
        await self._send(v1.ConverseLiveRequest(delete_item=v1.DeleteItem(item_id=item_id)))


class AsyncSpeechSession(_AsyncSession[v1.SynthesizeLiveRequest, v1.SynthesizeLiveResponse]):
    """Text that is spoken while it is written: an asynchronous iterator of events.

    Use it as an `AsyncLiveSession`.
    """

    async def send_text(self, text: str) -> None:
        """Send the next piece of the text."""
        await self._send(v1.SynthesizeLiveRequest(text=text))

    async def commit(self) -> None:
        """Speak the text so far. Required with `SYNTHESIS_MODE_COMMIT`."""
        await self._send(v1.SynthesizeLiveRequest(commit=v1.CommitText()))

    async def clear(self) -> None:
        """Discard text that is not spoken yet."""
        await self._send(v1.SynthesizeLiveRequest(clear=v1.ClearText()))

    async def audio(self) -> AsyncIterator[bytes]:
        """Give the audio of the remaining events."""
        async for event in self:
            if event.response_delta.audio:
                yield event.response_delta.audio
