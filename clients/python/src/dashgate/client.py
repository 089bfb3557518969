"""The client for programs with threads, or with one."""

from __future__ import annotations

import concurrent.futures
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
    note_output,
    opened,
    rounds_error,
    stream_request,
    unary_request,
    unknown_tool,
    upload_metadata,
)
from dashgate._idle import Wait, Watch
from dashgate._settings import TLS, Endpoint, Metadata, Settings
from dashgate.answer import Answer, Fold
from dashgate.conversation import Conversation, Tool
from dashgate.errors import from_rpc
from dashgate.v1.conversation_service_pb2_grpc import ConversationServiceStub
from dashgate.v1.media_service_pb2_grpc import MediaServiceStub

_Response_co = TypeVar("_Response_co", covariant=True)

# A channel of the parent process must not be used after a fork, nor be closed: that would wait for
# threads that are not there. It is kept, so that nothing closes it.
_inherited: list[object] = []


class Client:
    """Talks with a dashgate.

    `target` is `host:port`, `http://host:port`, `https://host:port` or `unix:/path`; left out, the
    environment's `DASHGATE_ADDR`, else `127.0.0.1:50051`. `api_key` is the key for this gateway, by
    default `DASHGATE_API_KEY`. `timeout`, in seconds, is the deadline of each call; without it a
    stream has none, and all else has 10 minutes. A stream on which nothing comes for `idle_timeout`
    seconds fails. `metadata` is sent with every call.

    Nothing is connected before the first call. A client may be used by many threads, and after a
    fork: each process connects by itself.
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
        """Make a client of a channel that is there; its owner closes it.

        Limits of messages, retries and keepalive are then the channel's own.
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
        """Ask for the next turn, and wait for the whole answer."""
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
        """Ask for the next turn, and do not wait: the answer can be waited for, or cancelled."""
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
    ) -> Stream:
        """Return the next answer as a stream."""
        request = stream_request(conversation, options, request_id)
        line = self._connected()
        call = line.conversations.ConverseStream(
            request,
            timeout=self._settings.stream_timeout(timeout),
            metadata=self._settings.sent_metadata(metadata),
        )
        wait = Wait(self._settings.idle_timeout, cast("grpc.RpcContext", call).cancel)
        return Stream(call, wait, line.watch, request.request_id)

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
        """Put a file where the model can reach it; the `uri` that comes back goes into a part.

        `source` is a path, bytes, or something to read from, and is never held whole.
        """
        request_id, more = upload_metadata(self._settings, metadata)
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
                # Its owner may close the reader from now on.
                messages.stop()

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
        """Converse, call what the model asks for, and go on until it asks for nothing more.

        All messages are appended to the conversation. `timeout` is each call's own. What a function
        raises is raised here.
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
        """The generated stub, for what this class does not do. Give it `self.metadata`."""
        return self._connected().conversations

    @property
    def media(self) -> MediaServiceStub:
        """The generated stub, for what this class does not do. Give it `self.metadata`."""
        return self._connected().media

    @property
    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """What is sent with every call: the key, and what the client was given."""
        return self._settings.sent_metadata()

    def close(self) -> None:
        """End all calls and the connection. A client that is closed stays closed."""
        with self._lock:
            self._closed = True
            line, self._line = self._line, None
        if line is not None and line.process == os.getpid() and self._given is None:
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
        # A lock that another thread held when the process forked would be held for ever: the line
        # is made without it, and the lock only settles whose is kept.
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
    """An answer that is on its way."""

    def __init__(self, call: _Pending[v1.ConverseResponse], request_id: str) -> None:
        self._call = call
        self.request_id = request_id
        """The request id of the call."""

    def result(self) -> Answer:
        """Wait for the answer. Raises `concurrent.futures.CancelledError` after `cancel`."""
        return Answer(_waited(self._call, self.request_id))

    def cancel(self) -> None:
        """End the call: the gateway and DashScope are told at once."""
        self._call.cancel()

    def done(self) -> bool:
        """Tell whether the call is over."""
        return self._call.done()


class Stream:
    """A streamed answer: its items are the events.

    It is read once. Leaving it early (`break`, `close`, the end of a `with`, or when nothing refers
    to it any more) ends the call.
    """

    def __init__(
        self, call: Iterator[v1.ConverseStreamResponse], wait: Wait, watch: Watch, request_id: str
    ) -> None:
        self._call = call
        self._wait = wait
        self._watch = watch
        self._fold = Fold()
        self._ended = False
        self._fault: BaseException | None = None
        self._cancelled = False
        self.request_id = request_id
        """The request id of the call."""
        watch.add(wait)

    def __iter__(self) -> Iterator[v1.ConverseStreamResponse]:
        try:
            while (event := self._next()) is not None:
                yield event
        finally:
            self.close()

    def text_deltas(self) -> Iterator[str]:
        """Give the texts of the first choice as they come."""
        for event in self:
            if event.delta.choice_index == 0 and event.delta.text:
                yield event.delta.text

    def final(self) -> Answer:
        """Read what is left, and give the answer that the events add up to."""
        while self._next() is not None:
            pass
        return Answer(self._fold.response())

    def cancel(self) -> None:
        """End the call, from any thread. Who reads gets `concurrent.futures.CancelledError`."""
        self._cancelled = True
        self._wait.cancel()

    def close(self) -> None:
        """Leave the stream. If it has not ended, the call is ended."""
        if not self._ended:
            self.cancel()
        self._watch.remove(self._wait)

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

    def _next(self) -> v1.ConverseStreamResponse | None:
        if self._fault is not None:
            raise self._fault
        if self._ended:
            return None
        try:
            event = self._read()
        except Exception as fault:
            note_output(fault, self._fold)
            self._end(fault)
            raise
        if event is None:
            self._end(None)
        else:
            self._fold.add(event)
        return event

    def _read(self) -> v1.ConverseStreamResponse | None:
        self._wait.arm()
        try:
            return next(self._call)
        except StopIteration:
            check_complete(self._fold, self.request_id)
            return None
        except grpc.RpcError as error:
            if self._wait.expired:
                raise idle_error(self._wait.limit, self.request_id) from None
            if self._cancelled:
                raise concurrent.futures.CancelledError from None
            raise from_rpc(cast("Any", error), self.request_id) from None
        finally:
            self._wait.disarm()

    def _end(self, fault: Exception | None) -> None:
        self._ended = True
        self._fault = fault
        self._watch.remove(self._wait)


class _Pending(Protocol[_Response_co]):
    """What is used of gRPC's future."""

    def result(self) -> _Response_co: ...

    def cancel(self) -> object: ...

    def done(self) -> bool: ...


class _Line:
    """A channel of this process, and what belongs to it."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.process = os.getpid()
        self.channel = channel
        self.conversations = ConversationServiceStub(channel)
        self.media = MediaServiceStub(channel)
        self.watch = Watch()


class _Messages:
    """The messages of an upload, which gRPC takes from a thread of its own."""

    def __init__(
        self, reader: Reader, model: str, mime_type: str, name: str, size: int | None
    ) -> None:
        self.fault: BaseException | None = None
        self._reader = reader
        self._call: _Pending[v1.UploadMediaResponse] | None = None
        self._begun = threading.Event()
        self._stopped = False
        # Read here, so that a file that cannot be read fails before there is a call.
        self._chunk = reader.read(CHUNK)
        self._next = describe(model, mime_type, name, self._chunk, size)
        # Held while a chunk is read.
        self._reading = threading.Lock()

    def started(self, call: _Pending[v1.UploadMediaResponse]) -> None:
        """Say which call is to be ended if reading fails."""
        self._call = call
        self._begun.set()

    def stop(self) -> None:
        """Read no more; a read that goes on is waited for."""
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
                    # gRPC would log it and tell nothing of it.
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
        # The person pressed Ctrl-C: the answer is wanted no more.
        call.cancel()
        raise
