"""The synchronous client."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Protocol, TypeVar, cast

import grpc

from dashgate import v1
from dashgate._calls import (
    CHUNK,
    MAX_ROUNDS,
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
from dashgate._idle import Wait, Watch
from dashgate._live import Progress, converse_opening, speech_opening
from dashgate._resume import LEAVE_LIMIT, Resumption
from dashgate._settings import TLS, Endpoint, Metadata, Settings
from dashgate.answer import Answer
from dashgate.conversation import Conversation, Tool
from dashgate.errors import Error, from_rpc
from dashgate.live import LiveSession, SpeechSession
from dashgate.v1.call_service_pb2_grpc import CallServiceStub
from dashgate.v1.conversation_service_pb2_grpc import ConversationServiceStub
from dashgate.v1.live_service_pb2_grpc import LiveServiceStub
from dashgate.v1.media_service_pb2_grpc import MediaServiceStub
from dashgate.v1.model_service_pb2_grpc import ModelServiceStub

_Response_co = TypeVar("_Response_co", covariant=True)

# After a fork, a channel of the parent process must not be used or closed: closing would wait for
# threads that do not exist. The reference is kept, so that it is not closed.
_inherited: list[object] = []


class Client:
    """A client of a dashgate gateway.

    `target` is `host:port`, `http://host:port`, `https://host:port`, `dns:///host:port` or
    `unix:/path`; default: `DASHGATE_ADDR`, then `127.0.0.1:50051`. `api_key` is the API key;
    default: `DASHGATE_API_KEY`. `timeout`, in seconds, is the deadline of each call; default: 10
    minutes for unary calls and uploads, none for streams. A stream that receives nothing for
    `idle_timeout` seconds, not even a heartbeat, fails. `metadata` is sent with every call.

    It connects with the first call. A client is thread-safe and can be used after a fork: each
    process opens its own connection.
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
        self._endpoint: Endpoint | None = Endpoint.of(target, tls)
        self._given: grpc.Channel | None = None
        self._lock = threading.Lock()
        self._line: _Line | None = None
        self._closed = False

    @classmethod
    def from_channel(
        cls,
        channel: grpc.Channel,
        *,
        api_key: str | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        idle_timeout: float | None = None,
    ) -> Client:
        """Create a client that uses an existing channel, which its owner closes.

        Message limits, retries and keepalive are those of the channel.
        """
        client = cls.__new__(cls)
        client._settings = Settings.of(api_key, timeout, idle_timeout, metadata)  # noqa: SLF001
        client._endpoint = None  # noqa: SLF001
        client._given = channel  # noqa: SLF001
        client._lock = threading.Lock()  # noqa: SLF001
        client._line = None  # noqa: SLF001
        client._closed = False  # noqa: SLF001
        return client

    def converse(
        self,
        conversation: Conversation | v1.Conversation,
        *,
        options: v1.GenerationOptions | None = None,
        request_id: str = "",
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> Answer:
        """Return the next answer when complete. The default deadline is 10 minutes."""
        return self.converse_future(
            conversation,
            options=options,
            request_id=request_id,
            timeout=timeout,
            metadata=metadata,
        ).result()

    def converse_future(
        self,
        conversation: Conversation | v1.Conversation,
        *,
        options: v1.GenerationOptions | None = None,
        request_id: str = "",
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> AnswerFuture:
        """Start a call and return a future of the answer."""
        request = unary_request(conversation, options, request_id)
        call = self._connected().conversations.Converse.future(
            request,
            timeout=self._settings.unary_timeout(timeout),
            metadata=self._settings.sent_metadata(metadata),
        )
        return AnswerFuture(call, request.request_id)

    def stream(
        self,
        conversation: Conversation | v1.Conversation,
        *,
        options: v1.GenerationOptions | None = None,
        request_id: str = "",
        timeout: float | None = None,
        metadata: Metadata | None = None,
        resume: bool = True,
    ) -> Stream:
        """Return the next answer as a stream.

        If its connection is lost, it continues on another one, after the last event that was
        received. Leaving such a stream also cancels the call by its request id, for all streams
        that have the same; `resume=False` switches both off.
        """
        request = stream_request(conversation, options, request_id, resume=resume)
        state = Resumption(
            request, named=bool(request_id), timeout=self._settings.stream_timeout(timeout)
        )
        wait = Wait(self._settings.idle_timeout, lambda: None)
        return Stream(self._connected(), wait, state, self._settings.sent_metadata(metadata))

    def cancel_call(
        self, request_id: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> None:
        """Cancel a running call of this caller by its request id, whatever process made it.

        Its streams end with `ABORTED` and the reason `CALL_CANCELLED`. If no call with this request
        id is running, the reason of the error is `CALL_NOT_FOUND`.
        """
        call = self._connected().calls.CancelCall.future(
            v1.CancelCallRequest(request_id=request_id),
            timeout=self._settings.unary_timeout(timeout),
            metadata=self._settings.sent_metadata(metadata),
        )
        _waited(call, request_id)

    def live(
        self,
        setup: v1.LiveSetup | str,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> LiveSession:
        """Open a spoken conversation. `setup` is its configuration, or a model.

        `timeout` is the deadline of the whole session; default: none.
        """
        given, opening = converse_opening(setup)
        progress = Progress(
            self._settings, timeout=timeout, metadata=metadata, given=given, opening=opening
        )
        return LiveSession(self._connected().sessions.ConverseLive, progress)

    def speak(
        self,
        setup: v1.SynthesisSetup | str,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> SpeechSession:
        """Open a session that speaks text while it is written. `setup` is as for `live`."""
        given, opening = speech_opening(setup)
        progress = Progress(
            self._settings, timeout=timeout, metadata=metadata, given=given, opening=opening
        )
        return SpeechSession(self._connected().sessions.SynthesizeLive, progress)

    def upload(
        self,
        model: str,
        source: UploadSource,
        *,
        mime_type: str = "",
        name: str = "",
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> v1.UploadMediaResponse:
        """Upload a file to DashScope's storage.

        The returned `uri` goes into a part, such as `audio(uploaded.uri)`.
        `source` is a path, bytes, or a reader, which is read in chunks.
        """
        request_id, more = named_metadata(self._settings, metadata)
        with opened(source, name) as (reader, its_name, size):
            messages = _Messages(reader, model, mime_type, its_name, size)
            call = self._connected().media.UploadMedia.future(
                iter(messages),
                timeout=self._settings.unary_timeout(timeout),
                metadata=self._settings.sent_metadata(more),
            )
            messages.started(call)
            try:
                return _waited(call, request_id)
            except BaseException:
                if messages.fault is not None:
                    raise messages.fault from None
                raise
            finally:
                # The caller may close the reader from now on.
                messages.stop()

    def list_models(
        self,
        *,
        page_size: int = 0,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> Iterator[v1.Model]:
        """Return an iterator of the models that can be used, in the order of their names.

        A page of at most `page_size` models is fetched when its first model is needed; default: the
        gateway's page size. `timeout` applies to each page; default: 10 minutes.
        """
        token = ""
        while True:
            request_id, more = named_metadata(self._settings, metadata)
            call = self._connected().models.ListModels.future(
                v1.ListModelsRequest(page_size=page_size, page_token=token),
                timeout=self._settings.unary_timeout(timeout),
                metadata=self._settings.sent_metadata(more),
            )
            page = _waited(call, request_id)
            yield from page.models
            token = page.next_page_token
            if not token:
                return

    def get_model(
        self, name: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> v1.Model:
        """Return what the gateway knows of a model. The default deadline is 10 minutes."""
        request_id, more = named_metadata(self._settings, metadata)
        call = self._connected().models.GetModel.future(
            v1.GetModelRequest(name=name),
            timeout=self._settings.unary_timeout(timeout),
            metadata=self._settings.sent_metadata(more),
        )
        return _waited(call, request_id).model

    def run_tools(
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

        All messages are appended to the conversation. `timeout` applies to each call. Exceptions of
        a function are raised unchanged.
        """
        known = {tool.name: tool for tool in tools}
        conversation.declare(*known.values())
        rounds = 0
        while True:
            answer = self.converse(
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
                    raise TypeError(f"tool {call.name} gave {type(result).__name__}, not a text")
                conversation.tool_result(call, result)

    @property
    def conversations(self) -> ConversationServiceStub:
        """The generated stub of `ConversationService`. Pass it `self.metadata`."""
        return self._connected().conversations

    @property
    def media(self) -> MediaServiceStub:
        """The generated stub of `MediaService`. Pass it `self.metadata`."""
        return self._connected().media

    @property
    def sessions(self) -> LiveServiceStub:
        """The generated stub of `LiveService`. Pass it `self.metadata`."""
        return self._connected().sessions

    @property
    def calls(self) -> CallServiceStub:
        """The generated stub of `CallService`. Pass it `self.metadata`."""
        return self._connected().calls

    @property
    def models(self) -> ModelServiceStub:
        """The generated stub of `ModelService`. Pass it `self.metadata`."""
        return self._connected().models

    @property
    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """The metadata of every call, including the API key."""
        return self._settings.sent_metadata()

    def close(self) -> None:
        """Cancel all calls and close the connection. The client cannot be used again.

        Before, it waits, for at most 2 seconds, until the gateway has ended the calls whose streams
        were left.
        """
        with self._lock:
            self._closed = True
            line, self._line = self._line, None
        if line is not None and line.process == os.getpid():
            line.finish_leaving()
            if self._given is None:
                line.channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._endpoint.address if self._endpoint else self._given!r})"

    def _connected(self) -> _Line:
        line = self._line
        if line is not None and line.process == os.getpid():
            return line
        # A lock that another thread held during a fork stays locked in the child: the channel is
        # created without it, and the lock only decides which one is kept.
        if line is not None:
            _inherited.append(line)
            self._lock = threading.Lock()
        with self._lock:
            if self._closed:
                raise ValueError("the client is closed")
            if self._line is None or self._line.process != os.getpid():
                self._line = _Line(self._given or self._dial())
            return self._line

    def _dial(self) -> grpc.Channel:
        assert self._endpoint is not None
        credentials = self._endpoint.credentials()
        if credentials is None:
            return grpc.insecure_channel(self._endpoint.address, self._endpoint.options())
        return grpc.secure_channel(self._endpoint.address, credentials, self._endpoint.options())


class AnswerFuture:
    """The future of an answer."""

    def __init__(self, call: _Pending[v1.ConverseResponse], request_id: str) -> None:
        self._call = call
        self.request_id = request_id
        """The request id of the call."""

    def result(self) -> Answer:
        """Wait for the answer. Raises `concurrent.futures.CancelledError` after `cancel`."""
        return Answer(_waited(self._call, self.request_id))

    def cancel(self) -> None:
        """Cancel the call, also in the gateway and at DashScope."""
        self._call.cancel()

    def done(self) -> bool:
        """Return whether the call has ended."""
        return self._call.done()


class Stream:
    """A streamed answer: an iterator of events.

    It is read once. Leaving it early (`break`, `close`, the end of a `with`, or garbage collection)
    cancels the call.
    """

    def __init__(
        self,
        line: _Line,
        wait: Wait,
        state: Resumption,
        metadata: tuple[tuple[str, str | bytes], ...],
    ) -> None:
        self._line = line
        self._wait = wait
        self._state = state
        self._metadata = metadata
        self._ended = True
        self._fault: BaseException | None = None
        self._cancelled = threading.Event()
        self._left = False
        self.request_id = state.request_id
        """The request id of the call."""
        self._call = self._open()
        self._ended = False
        line.watch.add(wait)

    @property
    def resumes(self) -> int:
        """How often this stream was tried to be resumed."""
        return self._state.resumes

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
        return Answer(self._state.fold.response())

    def cancel(self) -> None:
        """Cancel the call, from any thread. Readers get `concurrent.futures.CancelledError`."""
        self._cancelled.set()
        self._wait.cancel()
        self._leave(None)

    def close(self) -> None:
        """Close the stream, and cancel the call if it has not ended."""
        if not self._ended:
            self.cancel()
        self._line.watch.remove(self._wait)

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
        call = self._line.conversations.ConverseStream(
            self._state.request, timeout=self._state.remaining(), metadata=self._metadata
        )
        # Not a method of the stream, which would then not be collected while it is watched.
        self._wait.cancel = cast("grpc.RpcContext", call).cancel
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
        if event is None:
            self._end(None)
        return event

    def _read(self) -> v1.ConverseStreamResponse | None:
        while True:
            self._wait.arm()
            try:
                event = next(self._call)
            except StopIteration:
                check_complete(self._state.fold, self.request_id)
                return None
            except grpc.RpcError as error:
                delay = self._state.failed(self._error(error))
            else:
                if self._state.received(event):
                    return event
                continue
            finally:
                self._wait.disarm()
            if delay is None:
                return None
            if self._cancelled.wait(delay):
                raise concurrent.futures.CancelledError
            self._call = self._open()

    def _error(self, error: grpc.RpcError) -> Error:
        if self._wait.expired:
            return idle_error(self._wait.limit, self.request_id)
        if self._cancelled.is_set():
            raise concurrent.futures.CancelledError from None
        return from_rpc(cast("Any", error), self.request_id)

    def _end(self, fault: Exception | None) -> None:
        self._ended = True
        self._fault = fault
        self._line.watch.remove(self._wait)
        if fault is not None:
            self._leave(fault)

    def _leave(self, fault: Exception | None) -> None:
        if self._state.must_leave(fault):
            self._line.leave(self, self._metadata)


class _Pending(Protocol[_Response_co]):
    """The part of gRPC's future that is used."""

    def result(self) -> _Response_co: ...

    def cancel(self) -> object: ...

    def done(self) -> bool: ...


class _Line:
    """A channel of this process, and its stubs."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.process = os.getpid()
        self.channel = channel
        self.conversations = ConversationServiceStub(channel)
        self.media = MediaServiceStub(channel)
        self.sessions = LiveServiceStub(channel)
        self.models = ModelServiceStub(channel)
        self.calls = CallServiceStub(channel)
        self.watch = Watch()
        # The calls that end another one. gRPC cancels a call that nothing refers to.
        self._leaving: set[grpc.Future[v1.CancelCallResponse]] = set()
        # Reentrant, because a garbage-collected stream may be left at any time.
        self._changing = threading.RLock()

    def leave(self, stream: Stream, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
        """End the call of a stream that was left, once, without waiting."""
        if self.process != os.getpid():
            return
        # It fails if the channel is closed; the call is then at its end too.
        with self._changing, contextlib.suppress(Exception):
            if stream._left:  # noqa: SLF001
                return
            stream._left = True  # noqa: SLF001
            call = self.calls.CancelCall.future(
                v1.CancelCallRequest(request_id=stream.request_id),
                timeout=LEAVE_LIMIT,
                metadata=metadata,
            )
            self._leaving.add(call)
            call.add_done_callback(self._leaving.discard)

    def finish_leaving(self) -> None:
        """Wait for the calls that end another one. Each has a deadline."""
        with self._changing:
            calls = tuple(self._leaving)
        for call in calls:
            with contextlib.suppress(Exception):
                call.exception(LEAVE_LIMIT)


class _Messages:
    """The messages of an upload, which gRPC iterates in its own thread."""

    def __init__(
        self, reader: Reader, model: str, mime_type: str, name: str, size: int | None
    ) -> None:
        self.fault: BaseException | None = None
        self._reader = reader
        self._call: _Pending[v1.UploadMediaResponse] | None = None
        self._begun = threading.Event()
        self._stopped = False
        # Read here, so that an unreadable file fails before the call.
        self._chunk = reader.read(CHUNK)
        self._next = describe(model, mime_type, name, self._chunk, size)
        # Held while a chunk is read.
        self._reading = threading.Lock()

    def started(self, call: _Pending[v1.UploadMediaResponse]) -> None:
        """Set the call to cancel if reading fails."""
        self._call = call
        self._begun.set()

    def stop(self) -> None:
        """Stop reading, and wait for a read in progress."""
        with self._reading:
            self._stopped = True

    def __iter__(self) -> Iterator[v1.UploadMediaRequest]:
        yield self._next
        chunk = self._chunk
        while chunk:
            yield v1.UploadMediaRequest(chunk=chunk)
            with self._reading:
                if self._stopped:
                    return
                try:
                    chunk = self._reader.read(CHUNK)
                except BaseException as fault:
                    # gRPC would only log it.
                    self.fault = fault
                    self._begun.wait()
                    assert self._call is not None
                    self._call.cancel()
                    return


def _waited(call: _Pending[_Response_co], request_id: str) -> _Response_co:
    try:
        return call.result()
    except grpc.FutureCancelledError:
        raise concurrent.futures.CancelledError from None
    except grpc.RpcError as error:
        raise from_rpc(cast("Any", error), request_id) from None
    except BaseException:
        # Ctrl-C was pressed: the answer is not needed.
        call.cancel()
        raise
