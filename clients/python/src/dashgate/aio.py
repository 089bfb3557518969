"""The client for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import weakref
from collections.abc import AsyncIterator, Awaitable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc
import grpc.aio

from dashgate import v1
from dashgate._calls import (
    CHUNK,
    MAX_ROUNDS,
    AsyncReader,
    Reader,
    UploadSource,
    check_complete,
    describe,
    idle_error,
    named_metadata,
    note_output,
    opened,
    rounds_error,
    stream_request,
    unary_request,
    unknown_tool,
)
from dashgate._live import Progress, converse_opening, speech_opening
from dashgate._resume import LEAVE_LIMIT, Resumption
from dashgate._settings import TLS, Endpoint, Metadata, Settings
from dashgate.aio_live import AsyncLiveSession, AsyncSpeechSession
from dashgate.answer import Answer
from dashgate.conversation import Conversation, Tool
from dashgate.errors import Error, from_rpc
from dashgate.v1.call_service_pb2_grpc import CallServiceStub
from dashgate.v1.conversation_service_pb2_grpc import ConversationServiceStub
from dashgate.v1.live_service_pb2_grpc import LiveServiceStub
from dashgate.v1.media_service_pb2_grpc import MediaServiceStub
from dashgate.v1.model_service_pb2_grpc import ModelServiceStub

if TYPE_CHECKING:
    # Imported for types only: at run time one class serves both kinds of channel.
    from dashgate.v1.call_service_pb2_grpc import CallServiceAsyncStub
    from dashgate.v1.conversation_service_pb2_grpc import ConversationServiceAsyncStub
    from dashgate.v1.live_service_pb2_grpc import LiveServiceAsyncStub
    from dashgate.v1.media_service_pb2_grpc import MediaServiceAsyncStub
    from dashgate.v1.model_service_pb2_grpc import ModelServiceAsyncStub

_Response = TypeVar("_Response")

# gRPC's message if the call was cancelled here and not by the server.
_CANCELLED_HERE = "Locally cancelled by application!"

# See client.py: channels of a parent process are neither used nor closed after a fork.
_inherited: list[object] = []


class AsyncClient:
    """A client of a dashgate gateway, for asyncio.

    The arguments are those of `Client`. It may be created outside an event loop: each loop that
    uses it opens its own connection with the first call.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        api_key: str | None = None,
        tls: TLS | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        idle_timeout: float | None = None,
    ) -> None:
        self._settings = Settings.of(api_key, timeout, idle_timeout, metadata)
        self._lines = _Lines(Endpoint.of(target, tls), None)

    @classmethod
    def from_channel(
        cls,
        channel: grpc.aio.Channel,
        *,
        api_key: str | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        idle_timeout: float | None = None,
    ) -> AsyncClient:
        """Create a client that uses an existing channel, in the event loop of that channel.

        The owner closes the channel. Message limits, retries and keepalive are those of the
        channel.
        """
        client = cls.__new__(cls)
        client._settings = Settings.of(api_key, timeout, idle_timeout, metadata)  # noqa: SLF001
        client._lines = _Lines(None, channel)  # noqa: SLF001
        return client

    async def converse(
        self,
        conversation: Conversation | v1.Conversation,
        *,
        options: v1.GenerationOptions | None = None,
        request_id: str = "",
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> Answer:
        """Return the next answer when complete. The default deadline is 10 minutes."""
        request = unary_request(conversation, options, request_id)
        call = self._lines.here().conversations.Converse(
            request,
            timeout=self._settings.unary_timeout(timeout),
            metadata=self._settings.sent_metadata(metadata),
        )
        return Answer(await _waited(call, request.request_id))

    def stream(
        self,
        conversation: Conversation | v1.Conversation,
        *,
        options: v1.GenerationOptions | None = None,
        request_id: str = "",
        timeout: float | None = None,
        metadata: Metadata | None = None,
        resume: bool = True,
    ) -> AsyncStream:
        """Return the next answer as a stream. Call it in a running event loop.

        If its connection is lost, it continues on another one, after the last event that was
        received. Leaving such a stream also cancels the call by its request id, for all streams
        that have the same; `resume=False` switches both off.
        """
        request = stream_request(conversation, options, request_id, resume=resume)
        state = Resumption(
            request, named=bool(request_id), timeout=self._settings.stream_timeout(timeout)
        )
        metadata_sent = self._settings.sent_metadata(metadata)
        return AsyncStream(self._lines.here(), self._settings.idle_timeout, state, metadata_sent)

    async def cancel_call(
        self, request_id: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> None:
        """Cancel a running call of this caller by its request id, whatever process made it.

        Its streams end with `ABORTED` and the reason `CALL_CANCELLED`. If no call with this request
        id is running, the reason of the error is `CALL_NOT_FOUND`.
        """
        call = self._lines.here().calls.CancelCall(
            v1.CancelCallRequest(request_id=request_id),
            timeout=self._settings.unary_timeout(timeout),
            metadata=self._settings.sent_metadata(metadata),
        )
        await _waited(call, request_id)

    def live(
        self,
        setup: v1.LiveSetup | str,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> AsyncLiveSession:
        """Open a spoken conversation. `setup` is its configuration, or a model.

        `timeout` is the deadline of the whole session; default: none. Call it in a running event
        loop.
        """
        given, opening = converse_opening(setup)
        progress = Progress(
            self._settings, timeout=timeout, metadata=metadata, given=given, opening=opening
        )
        return AsyncLiveSession(self._lines.here().sessions.ConverseLive, progress)

    def speak(
        self,
        setup: v1.SynthesisSetup | str,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> AsyncSpeechSession:
        """Open a session that speaks text while it is written. `setup` is as for `live`."""
        given, opening = speech_opening(setup)
        progress = Progress(
            self._settings, timeout=timeout, metadata=metadata, given=given, opening=opening
        )
        return AsyncSpeechSession(self._lines.here().sessions.SynthesizeLive, progress)

    async def upload(
        self,
        model: str,
        source: UploadSource | AsyncReader,
        *,
        mime_type: str = "",
        name: str = "",
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> v1.UploadMediaResponse:
        """Upload a file to DashScope's storage.

        The returned `uri` goes into a part, such as `audio(uploaded.uri)`.
        `source` is a path, bytes, or a reader, which is read in chunks. Asynchronous readers are
        awaited, others are read in a thread.
        """
        request_id, more = named_metadata(self._settings, metadata)
        with opened(cast("UploadSource", source), name) as (reader, its_name, size):
            chunk = await _read(reader)
            call = self._lines.here().media.UploadMedia(
                timeout=self._settings.unary_timeout(timeout),
                metadata=self._settings.sent_metadata(more),
            )
            try:
                await call.write(describe(model, mime_type, its_name, chunk, size))
                while chunk:
                    await call.write(v1.UploadMediaRequest(chunk=chunk))
                    chunk = await _read(reader)
                await call.done_writing()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                # The gateway has ended the call; its status is raised below.
                pass
            except BaseException:
                call.cancel()
                raise
            return await _waited(call, request_id)

    async def list_models(
        self,
        *,
        page_size: int = 0,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> AsyncIterator[v1.Model]:
        """Give the models that can be used, in the order of their names.

        A page of at most `page_size` models is fetched when its first model is needed; default: the
        gateway's page size. `timeout` applies to each page; default: 10 minutes.
        """
        token = ""
        while True:
            request_id, more = named_metadata(self._settings, metadata)
            call = self._lines.here().models.ListModels(
                v1.ListModelsRequest(page_size=page_size, page_token=token),
                timeout=self._settings.unary_timeout(timeout),
                metadata=self._settings.sent_metadata(more),
            )
            page = await _waited(call, request_id)
            for model in page.models:
                yield model
            token = page.next_page_token
            if not token:
                return

    async def get_model(
        self, name: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> v1.Model:
        """Return what the gateway knows of a model. The default deadline is 10 minutes."""
        request_id, more = named_metadata(self._settings, metadata)
        call = self._lines.here().models.GetModel(
            v1.GetModelRequest(name=name),
            timeout=self._settings.unary_timeout(timeout),
            metadata=self._settings.sent_metadata(more),
        )
        return (await _waited(call, request_id)).model

    async def run_tools(
        self,
        conversation: Conversation,
        tools: Iterable[Tool],
        *,
        max_rounds: int = MAX_ROUNDS,
        options: v1.GenerationOptions | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> Answer:
        """Run the tools that the model calls until it returns an answer without tool calls.

        All messages are appended to the conversation. `timeout` applies to each call. A function
        may be a coroutine function; its exceptions are raised unchanged.
        """
        known = {tool.name: tool for tool in tools}
        conversation.declare(*known.values())
        rounds = 0
        while True:
            answer = await self.converse(
                conversation, options=options, timeout=timeout, metadata=metadata
            )
            conversation.append(answer)
            if not answer.tool_calls:
                return answer
            if rounds == max_rounds:
                raise rounds_error(max_rounds)
            rounds += 1
            for call in answer.tool_calls:
                tool = known.get(call.name)
                result = unknown_tool(call.name) if tool is None else tool.function(call.arguments)
                if not isinstance(result, str):
                    result = await result
                conversation.tool_result(call, result)

    @property
    def conversations(self) -> ConversationServiceAsyncStub:
        """The generated stub of `ConversationService`. Pass it `self.metadata`."""
        return self._lines.here().conversations

    @property
    def media(self) -> MediaServiceAsyncStub:
        """The generated stub of `MediaService`. Pass it `self.metadata`."""
        return self._lines.here().media

    @property
    def sessions(self) -> LiveServiceAsyncStub:
        """The generated stub of `LiveService`. Pass it `self.metadata`."""
        return self._lines.here().sessions

    @property
    def calls(self) -> CallServiceAsyncStub:
        """The generated stub of `CallService`. Pass it `self.metadata`."""
        return self._lines.here().calls

    @property
    def models(self) -> ModelServiceAsyncStub:
        """The generated stub of `ModelService`. Pass it `self.metadata`."""
        return self._lines.here().models

    @property
    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """The metadata of every call, including the API key."""
        return self._settings.sent_metadata()

    async def close(self) -> None:
        """Cancel all calls of this loop and close its connection. The client stays closed.

        Before, it waits, for at most 2 seconds, until the gateway has ended the calls whose streams
        were left.
        """
        await self._lines.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self._lines.name()})"


class AsyncStream:
    """A streamed answer: an asynchronous iterator of events.

    It is read once. Leaving it early (`break`, `close`, the end of an `async with`, cancellation of
    the task, or garbage collection) cancels the call.
    """

    def __init__(
        self,
        line: _Line,
        idle_timeout: float,
        state: Resumption,
        metadata: tuple[tuple[str, str | bytes], ...],
    ) -> None:
        self._line = line
        self._idle_timeout = idle_timeout
        self._state = state
        self._metadata = metadata
        self._ended = False
        self._fault: BaseException | None = None
        self._expired = False
        self._cancelled = asyncio.Event()
        self._left = False
        self.request_id = state.request_id
        """The request id of the call."""
        self._call = self._open()

    @property
    def resumes(self) -> int:
        """How often this stream was tried to be resumed."""
        return self._state.resumes

    async def __aiter__(self) -> AsyncIterator[v1.ConverseStreamResponse]:
        try:
            while (event := await self._next()) is not None:
                yield event
        finally:
            self.cancel()

    async def text_deltas(self) -> AsyncIterator[str]:
        """Give the texts of the first choice as they come."""
        try:
            while (event := await self._next()) is not None:
                if event.delta.choice_index == 0 and event.delta.text:
                    yield event.delta.text
        finally:
            self.cancel()

    async def final(self) -> Answer:
        """Read the remaining events and return the complete answer."""
        while await self._next() is not None:
            pass
        return Answer(self._state.fold.response())

    def cancel(self) -> None:
        """Cancel the call, if it has not ended. Readers get `asyncio.CancelledError`."""
        if not self._ended:
            self._cancelled.set()
            self._call.cancel()
            self._leave(None)

    async def close(self) -> None:
        """Close the stream, and cancel the call if it has not ended."""
        self.cancel()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()

    def _open(
        self,
    ) -> grpc.aio.UnaryStreamCall[v1.ConverseStreamRequest, v1.ConverseStreamResponse]:
        return self._line.conversations.ConverseStream(
            self._state.request, timeout=self._state.remaining(), metadata=self._metadata
        )

    async def _next(self) -> v1.ConverseStreamResponse | None:
        if self._fault is not None:
            raise self._fault
        if self._ended:
            return None
        try:
            event = await self._read()
        except BaseException as fault:
            note_output(fault, self._state.fold)
            self._ended = True
            self._fault = fault
            self._leave(fault)
            raise
        if event is None:
            self._ended = True
        return event

    async def _read(self) -> v1.ConverseStreamResponse | None:
        while True:
            try:
                event = await self._receive()
            except Error as error:
                delay = self._state.failed(error)
                if delay is None:
                    return None
                await self._pause(delay)
                self._call = self._open()
                continue
            if event is None or self._state.received(event):
                return event

    async def _receive(self) -> v1.ConverseStreamResponse | None:
        timer = None
        if self._idle_timeout != float("inf"):
            timer = asyncio.get_running_loop().call_later(self._idle_timeout, self._expire)
        try:
            event = await self._call.read()
        except asyncio.CancelledError:
            if self._expired:
                raise idle_error(self._idle_timeout, self.request_id) from None
            await _raise_if_cancelled_there(self._call, self.request_id)
            raise
        except grpc.aio.AioRpcError as error:
            raise from_rpc(cast("Any", error), self.request_id) from None
        finally:
            if timer is not None:
                timer.cancel()
        if isinstance(event, v1.ConverseStreamResponse):
            return event
        check_complete(self._state.fold, self.request_id)
        return None

    async def _pause(self, delay: float) -> None:
        try:
            await asyncio.wait_for(self._cancelled.wait(), delay)
        except asyncio.TimeoutError:
            return
        raise asyncio.CancelledError

    def _leave(self, fault: BaseException | None) -> None:
        if not self._left and self._state.must_leave(fault):
            self._left = True
            self._line.leave(self.request_id, self._metadata)

    def _expire(self) -> None:
        self._expired = True
        self._call.cancel()


class _Line:
    """The channel of one event loop, and its stubs."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.conversations: ConversationServiceAsyncStub = ConversationServiceStub(channel)
        self.media: MediaServiceAsyncStub = MediaServiceStub(channel)
        self.sessions: LiveServiceAsyncStub = LiveServiceStub(channel)
        self.models: ModelServiceAsyncStub = ModelServiceStub(channel)
        self.calls: CallServiceAsyncStub = CallServiceStub(channel)
        # The calls that end another one.
        self._leaving: set[grpc.aio.UnaryUnaryCall[Any, Any]] = set()

    def leave(self, request_id: str, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
        """End a call whose stream was left, without waiting."""
        # It fails if the channel or the loop is closed; the call is then at its end too.
        with contextlib.suppress(Exception):
            call = self.calls.CancelCall(
                v1.CancelCallRequest(request_id=request_id), timeout=LEAVE_LIMIT, metadata=metadata
            )
            self._leaving.add(call)
            call.add_done_callback(self._leaving.discard)

    async def finish_leaving(self) -> None:
        """Wait for the calls that end another one. Each has a deadline."""
        with contextlib.suppress(Exception):
            await asyncio.gather(*(call.code() for call in tuple(self._leaving)))


class _Lines:
    """The channels of all event loops that use a client."""

    def __init__(self, endpoint: Endpoint | None, given: grpc.aio.Channel | None) -> None:
        self._endpoint = endpoint
        self._given = given
        self._closed = False
        self._process = os.getpid()
        # Channels of closed loops are removed.
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = (
            weakref.WeakKeyDictionary()
        )

    def here(self) -> _Line:
        """Return the channel of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._closed:
            raise ValueError("the client is closed")
        if self._process != os.getpid():
            _inherited.extend(self._by_loop.values())
            self._by_loop = weakref.WeakKeyDictionary()
            self._process = os.getpid()
        line = self._by_loop.get(loop)
        if line is None:
            line = _Line(self._given or self._dial())
            self._by_loop[loop] = line
        return line

    async def close(self) -> None:
        """Close this loop's channel; other loops close their own."""
        self._closed = True
        line = self._by_loop.pop(asyncio.get_running_loop(), None)
        if line is not None and self._process == os.getpid():
            await line.finish_leaving()
            if self._given is None:
                await line.channel.close()

    def name(self) -> str:
        """Return the address for `repr`."""
        return repr(self._endpoint.address if self._endpoint else self._given)

    def _dial(self) -> grpc.aio.Channel:
        assert self._endpoint is not None
        options = self._endpoint.options()
        credentials = self._endpoint.credentials()
        if credentials is None:
            return grpc.aio.insecure_channel(self._endpoint.address, options)
        return grpc.aio.secure_channel(self._endpoint.address, credentials, options)


async def _read(reader: Reader) -> bytes:
    if inspect.iscoroutinefunction(reader.read):
        return cast("bytes", await reader.read(CHUNK))
    return await asyncio.to_thread(reader.read, CHUNK)


async def _waited(call: Awaitable[_Response], request_id: str) -> _Response:
    try:
        return await call
    except asyncio.CancelledError:
        await _raise_if_cancelled_there(call, request_id)
        raise
    except grpc.aio.AioRpcError as error:
        raise from_rpc(cast("Any", error), request_id) from None


async def _raise_if_cancelled_there(call: Any, request_id: str) -> None:
    """Distinguish CANCELLED of a server or proxy, an error, from a cancellation by the caller."""
    if call.done() and (details := await call.details()) != _CANCELLED_HERE:
        raise Error(grpc.StatusCode.CANCELLED, details or "", request_id=request_id) from None
