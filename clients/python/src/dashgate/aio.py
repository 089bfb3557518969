"""The client for asyncio."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import grpc.aio

from dashgate import v1
from dashgate._aio_connection import AsyncConnections
from dashgate._aio_media import AsyncMediaCalls
from dashgate._aio_models import AsyncModelCalls
from dashgate._aio_sessions import AsyncLiveCalls
from dashgate._backoff import Deadline
from dashgate._calls import (
    given_name,
    rpc_name,
    stream_request,
    unary_request,
    without_name,
)
from dashgate._endpoint import TLS, ChannelOptions, Endpoint
from dashgate._large_files import Uploads, has_large_media
from dashgate._log import CallLog
from dashgate._resume import Resumption
from dashgate._retry import Retries
from dashgate._settings import Metadata, Settings
from dashgate._tools import MAX_ROUNDS, ToolRounds
from dashgate.aio_stream import AsyncStream
from dashgate.aio_tool_stream import AsyncToolStream
from dashgate.answer import Answer
from dashgate.conversation import Conversation
from dashgate.errors import Error
from dashgate.structured import Schema, repairing
from dashgate.tools import Tool

_Value = TypeVar("_Value")


class AsyncClient(AsyncMediaCalls, AsyncModelCalls, AsyncLiveCalls):
    """A client of a dashgate gateway, for asyncio.

    The arguments are those of `Client`, with the interceptors of `grpc.aio`. It may be created
    outside an event loop: each loop that uses it opens its own connection with the first call.
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
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
        channel_options: ChannelOptions = (),
    ) -> None:
        self._settings = Settings.of(api_key, timeout, idle_timeout, metadata, max_retries)
        self._connections = AsyncConnections(
            Endpoint.of(target, tls, channel_options), None, interceptors
        )
        self._uploads = Uploads()

    @classmethod
    def from_channel(
        cls,
        channel: grpc.aio.Channel,
        *,
        api_key: str | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        idle_timeout: float | None = None,
        max_retries: int = 0,
    ) -> AsyncClient:
        """Create a client that uses an existing channel, in the event loop of that channel.

        The owner closes the channel. Message limits, retries of `UNAVAILABLE`, and keepalive are
        those of the channel.
        """
        client = cls.__new__(cls)
        settings = Settings.of(api_key, timeout, idle_timeout, metadata, max_retries)
        client._settings = settings  # noqa: SLF001
        client._connections = AsyncConnections(None, channel)  # noqa: SLF001
        client._uploads = Uploads()  # noqa: SLF001
        return client

    async def converse(
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
        request_id = given_name(request_id, metadata)
        deadline = Deadline(self._settings.unary_timeout(timeout))
        request = unary_request(
            conversation, request_id, options=options, expected_turn=expected_turn, history=history
        )
        await self._upload_files(request, deadline, metadata)
        response, headers = await self._complete(
            lambda connection: connection.conversations.Converse,
            request,
            request_id=request.request_id,
            deadline=deadline,
            metadata=metadata,
            max_retries=self._settings.retries(max_retries),
        )
        return Answer(response, headers)

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
    ) -> AsyncStream:
        """Return the next answer as a stream. The arguments are those of `converse`.

        Call it in a running event loop. With large files, the call begins when it is first read.

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
        has_files = has_large_media(request.conversation)

        async def prepare() -> None:
            await self._upload_files(request, deadline, metadata)

        connection = self._connections.here()
        log = CallLog(rpc_name(request), request.request_id, connection.address)
        retries = Retries(log, deadline, max_retries=self._settings.retries(max_retries))
        state = Resumption(request, retries, named=bool(request_id))
        return AsyncStream(
            connection,
            self._settings.idle_timeout,
            state,
            self._settings.sent_metadata(metadata),
            prepare if has_files else None,
        )

    async def converse_as(
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
        answer = await self.converse(
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
        answer = await self.converse(
            again,
            options=options,
            history=history,
            timeout=timeout,
            metadata=without_name(metadata),
            max_retries=max_retries,
        )
        return schema.value(answer), answer

    async def cancel_call(
        self, request_id: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> None:
        """Cancel a running call of this caller by its request id, whatever process made it.

        Its streams end with `ABORTED` and the reason `CALL_CANCELLED`. If no call with this request
        id is running, the reason of the error is `CALL_NOT_FOUND`.
        """
        await self._complete(
            lambda connection: connection.calls.CancelCall,
            v1.CancelCallRequest(request_id=request_id),
            request_id=request_id,
            deadline=Deadline(self._settings.unary_timeout(timeout)),
            metadata=metadata,
        )

    async def run_tools(
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
        at the same time. `timeout` applies to each call. A function may be a coroutine function;
        its exceptions are raised unchanged.
        """
        rounds = ToolRounds(conversation, tools, max_rounds, parallel=parallel)
        while True:
            answer = await self.converse(
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
            await rounds.run_async(calls)

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
    ) -> AsyncToolStream:
        """Do what `run_tools` does with streams. The events are those of all rounds."""
        given = [metadata]

        def begin() -> AsyncStream:
            sent, given[0] = given[0], without_name(given[0])
            return self.stream(
                conversation,
                options=options,
                timeout=timeout,
                metadata=sent,
                max_retries=max_retries,
            )

        rounds = ToolRounds(conversation, tools, max_rounds, parallel=parallel)
        return AsyncToolStream(begin, rounds)
