"""The synchronous client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import grpc

from dashgate import v1
from dashgate._backoff import Deadline
from dashgate._calls import (
    given_name,
    rpc_name,
    stream_request,
    unary_request,
    without_name,
)
from dashgate._connection import Connections, Interceptors
from dashgate._endpoint import TLS, ChannelOptions, Endpoint
from dashgate._idle import Wait
from dashgate._large_files import Uploads
from dashgate._log import CallLog
from dashgate._media import MediaCalls
from dashgate._models import ModelCalls
from dashgate._resume import Resumption
from dashgate._retry import Retries
from dashgate._sessions import LiveCalls
from dashgate._settings import Metadata, Settings
from dashgate._tools import MAX_ROUNDS, ToolRounds
from dashgate._unary import Running
from dashgate.answer import Answer
from dashgate.conversation import Conversation
from dashgate.errors import Error
from dashgate.stream import Stream
from dashgate.structured import Schema, repairing
from dashgate.tool_stream import ToolStream
from dashgate.tools import Tool

_Value = TypeVar("_Value")


class Client(MediaCalls, ModelCalls, LiveCalls):
    """A client of a dashgate gateway.

    `target` is `host`, `host:port`, `http://host:port`, `https://host:port`, `dns:///host:port` or
    `unix:/path`; default: `DASHGATE_ADDR`, then `127.0.0.1:50051`. `api_key` is the API key;
    default: `DASHGATE_API_KEY`. `timeout`, in seconds, is the deadline of each call; default: 10
    minutes for unary calls and uploads, none for streams. A stream that receives nothing for
    `idle_timeout` seconds, not even a heartbeat, fails. `metadata` is sent with every call.
    `max_retries` is how often `converse` and `stream` make a call again that was throttled, after
    the time that the gateway sends. `interceptors` are interceptors of gRPC, the outermost first;
    `channel_options` replace single options of its channels.

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
        max_retries: int = 0,
        interceptors: Interceptors = (),
        channel_options: ChannelOptions = (),
    ) -> None:
        self._settings = Settings.of(api_key, timeout, idle_timeout, metadata, max_retries)
        self._connections = Connections(
            Endpoint.of(target, tls, channel_options), None, interceptors
        )
        self._uploads = Uploads()

    @classmethod
    def from_channel(
        cls,
        channel: grpc.Channel,
        *,
        api_key: str | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        idle_timeout: float | None = None,
        max_retries: int = 0,
    ) -> Client:
        """Create a client that uses an existing channel, which its owner closes.

        Message limits, retries of `UNAVAILABLE`, and keepalive are those of the channel.
        """
        client = cls.__new__(cls)
        settings = Settings.of(api_key, timeout, idle_timeout, metadata, max_retries)
        client._settings = settings  # noqa: SLF001
        client._connections = Connections(None, channel)  # noqa: SLF001
        client._uploads = Uploads()  # noqa: SLF001
        return client

    def converse(
        self,
        conversation: Conversation | v1.Conversation,
        *,
        options: v1.GenerationOptions | None = None,
        expected_turn: int | None = None,
        history: v1.HistoryPolicy | None = None,
        request_id: str = "",
        timeout: float | None = None,
        metadata: Metadata | None = None,
        max_retries: int | None = None,
    ) -> Answer:
        """Return the next answer when complete. The default deadline is 10 minutes.

        `options` are the generation options, such as `v1.GenerationOptions(temperature=0.2)`.
        `request_id` is the idempotency key: a second call with the same id and content returns the
        same answer and is not billed; default: a new UUID. `timeout` is the deadline in seconds,
        with all retries. `max_retries` is how often the call is made again if it is throttled.

        `expected_turn` and `history` are for stored conversations: the latest turn that the caller
        knows, by default the conversation's `last_turn`, and which part of the history is sent.
        """
        return self.converse_future(
            conversation,
            options=options,
            expected_turn=expected_turn,
            history=history,
            request_id=request_id,
            timeout=timeout,
            metadata=metadata,
            max_retries=max_retries,
        ).result()

    def converse_future(
        self,
        conversation: Conversation | v1.Conversation,
        *,
        options: v1.GenerationOptions | None = None,
        expected_turn: int | None = None,
        history: v1.HistoryPolicy | None = None,
        request_id: str = "",
        timeout: float | None = None,
        metadata: Metadata | None = None,
        max_retries: int | None = None,
    ) -> AnswerFuture:
        """Start a call and return a future of the answer.

        Large files are uploaded before it returns. A throttled call is made again while `result`
        waits.
        """
        request_id = given_name(request_id, metadata)
        deadline = Deadline(self._settings.unary_timeout(timeout))
        request = unary_request(
            conversation, request_id, options=options, expected_turn=expected_turn, history=history
        )
        self._upload_files(request, deadline, metadata)
        call = self._begin(
            lambda connection: connection.conversations.Converse,
            request,
            request_id=request.request_id,
            deadline=deadline,
            metadata=metadata,
            max_retries=self._settings.retries(max_retries),
        )
        return AnswerFuture(call)

    def stream(
        self,
        conversation: Conversation | v1.Conversation,
        *,
        options: v1.GenerationOptions | None = None,
        expected_turn: int | None = None,
        history: v1.HistoryPolicy | None = None,
        request_id: str = "",
        timeout: float | None = None,
        metadata: Metadata | None = None,
        max_retries: int | None = None,
        resume: bool = True,
    ) -> Stream:
        """Return the next answer as a stream. The arguments are those of `converse`.

        If its connection is lost, it continues on another one, after the last event that was
        received. Leaving such a stream also cancels the call by its request id, for all streams
        that have the same; `resume=False` switches both off.
        """
        request_id = given_name(request_id, metadata)
        deadline = Deadline(self._settings.stream_timeout(timeout))
        request = stream_request(
            conversation,
            request_id,
            options=options,
            expected_turn=expected_turn,
            history=history,
            resume=resume,
        )
        self._upload_files(request, deadline, metadata)
        connection = self._connections.here()
        log = CallLog(rpc_name(request), request.request_id, connection.address)
        retries = Retries(log, deadline, max_retries=self._settings.retries(max_retries))
        state = Resumption(request, retries, named=bool(request_id))
        wait = Wait(self._settings.idle_timeout, lambda: None)
        return Stream(connection, wait, state, self._settings.sent_metadata(metadata))

    def converse_as(
        self,
        kind: type[_Value] | Schema[_Value],
        conversation: Conversation | v1.Conversation,
        *,
        repair: bool = False,
        options: v1.GenerationOptions | None = None,
        expected_turn: int | None = None,
        history: v1.HistoryPolicy | None = None,
        request_id: str = "",
        timeout: float | None = None,
        metadata: Metadata | None = None,
        max_retries: int | None = None,
    ) -> tuple[_Value, Answer]:
        """Return the next answer as a value of a type, and the answer.

        `kind` is a dataclass, a model of pydantic, or a `Schema`. An answer that is not valid is an
        error with the reason `OUTPUT_INVALID`; with `repair`, the model is first shown the error,
        once, in a call of its own. The conversation is not changed. Other arguments are those of
        `converse`.
        """
        schema = Schema.of(kind)
        options = schema.options(options)
        answer = self.converse(
            conversation,
            options=options,
            expected_turn=expected_turn,
            history=history,
            request_id=request_id,
            timeout=timeout,
            metadata=metadata,
            max_retries=max_retries,
        )
        try:
            return schema.value(answer), answer
        except Error as error:
            if not repair:
                raise
            again = repairing(conversation, answer, error)
        answer = self.converse(
            again,
            options=options,
            history=history,
            timeout=timeout,
            metadata=without_name(metadata),
            max_retries=max_retries,
        )
        return schema.value(answer), answer

    def cancel_call(
        self, request_id: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> None:
        """Cancel a running call of this caller by its request id, whatever process made it.

        Its streams end with `ABORTED` and the reason `CALL_CANCELLED`. If no call with this request
        id is running, the reason of the error is `CALL_NOT_FOUND`.
        """
        self._begin(
            lambda connection: connection.calls.CancelCall,
            v1.CancelCallRequest(request_id=request_id),
            request_id=request_id,
            deadline=Deadline(self._settings.unary_timeout(timeout)),
            metadata=metadata,
        ).result()

    def run_tools(
        self,
        conversation: Conversation,
        tools: Iterable[Tool],
        *,
        max_rounds: int = MAX_ROUNDS,
        parallel: bool = False,
        options: v1.GenerationOptions | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        max_retries: int | None = None,
    ) -> Answer:
        """Run the tools that the model calls until it returns an answer without tool calls.

        All messages are appended to the conversation. With `parallel`, the functions of a round run
        at the same time, in threads. `timeout` applies to each call. Exceptions of a function are
        raised unchanged.
        """
        rounds = ToolRounds(conversation, tools, max_rounds, parallel=parallel)
        while True:
            answer = self.converse(
                conversation,
                options=options,
                timeout=timeout,
                metadata=metadata,
                max_retries=max_retries,
            )
            metadata = without_name(metadata)
            calls = rounds.calls(answer)
            if not calls:
                return answer
            rounds.run(calls)

    def stream_tools(
        self,
        conversation: Conversation,
        tools: Iterable[Tool],
        *,
        max_rounds: int = MAX_ROUNDS,
        parallel: bool = False,
        options: v1.GenerationOptions | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        max_retries: int | None = None,
    ) -> ToolStream:
        """Do what `run_tools` does with streams. The events are those of all rounds."""
        given = [metadata]

        def begin() -> Stream:
            sent, given[0] = given[0], without_name(given[0])
            return self.stream(
                conversation,
                options=options,
                timeout=timeout,
                metadata=sent,
                max_retries=max_retries,
            )

        rounds = ToolRounds(conversation, tools, max_rounds, parallel=parallel)
        return ToolStream(begin, rounds)


class AnswerFuture:
    """The future of an answer."""

    def __init__(self, call: Running[v1.ConverseResponse]) -> None:
        self._call = call
        self.request_id = call.request_id
        """The request id of the call."""

    def result(self) -> Answer:
        """Wait for the answer. Raises `concurrent.futures.CancelledError` after `cancel`."""
        return Answer(self._call.result(), self._call.headers())

    def cancel(self) -> None:
        """Cancel the call, also in the gateway and at DashScope."""
        self._call.cancel()

    def done(self) -> bool:
        """Return whether the call has ended and is not made again."""
        return self._call.done()
