"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, cast

import grpc.aio

from dashgate import v1
from dashgate._aio_connection import AsyncConnections
from dashgate._calls import given_name, named_metadata, stream_request, unary_request
from dashgate._live import Progress, converse_opening, speech_opening
from dashgate._resume import Resumption
from dashgate._settings import TLS, Endpoint, Metadata, Settings
from dashgate._tools import MAX_ROUNDS, ToolRounds, without_name
from dashgate._unary import awaited
from dashgate._upload import AsyncReader, UploadSource, describe, opened, read_chunk
from dashgate.aio_live import AsyncLiveSession, AsyncSpeechSession
from dashgate.aio_stream import AsyncStream
from dashgate.answer import Answer
from dashgate.conversation import Conversation, Tool

if TYPE_CHECKING:
    from dashgate.v1.call_service_pb2_grpc import CallServiceAsyncStub
    from dashgate.v1.conversation_service_pb2_grpc import ConversationServiceAsyncStub
    from dashgate.v1.live_service_pb2_grpc import LiveServiceAsyncStub
    from dashgate.v1.media_service_pb2_grpc import MediaServiceAsyncStub
    from dashgate.v1.model_service_pb2_grpc import ModelServiceAsyncStub


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
        self._connections = AsyncConnections(Endpoint.of(target, tls), None)

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
        client._connections = AsyncConnections(None, channel)  # noqa: SLF001
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
        request_id = given_name(request_id, metadata)
        request = unary_request(conversation, options, request_id)
        call = self._connections.here().conversations.Converse(
            request,
            timeout=self._settings.unary_timeout(timeout),
            metadata=self._settings.sent_metadata(metadata),
        )
        return Answer(await awaited(call, request.request_id))

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
        request_id = given_name(request_id, metadata)
        request = stream_request(conversation, options, request_id, resume=resume)
        state = Resumption(
            request, named=bool(request_id), timeout=self._settings.stream_timeout(timeout)
        )
        metadata_sent = self._settings.sent_metadata(metadata)
        return AsyncStream(
            self._connections.here(), self._settings.idle_timeout, state, metadata_sent
        )

    async def cancel_call(
        self, request_id: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> None:
        """Cancel a running call of this caller by its request id, whatever process made it.

        Its streams end with `ABORTED` and the reason `CALL_CANCELLED`. If no call with this request
        id is running, the reason of the error is `CALL_NOT_FOUND`.
        """
        call = self._connections.here().calls.CancelCall(
            v1.CancelCallRequest(request_id=request_id),
            timeout=self._settings.unary_timeout(timeout),
            metadata=self._settings.sent_metadata(metadata),
        )
        await awaited(call, request_id)

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
        return AsyncLiveSession(self._connections.here().sessions.ConverseLive, progress)

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
        return AsyncSpeechSession(self._connections.here().sessions.SynthesizeLive, progress)

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
            chunk = await read_chunk(reader)
            call = self._connections.here().media.UploadMedia(
                timeout=self._settings.unary_timeout(timeout),
                metadata=self._settings.sent_metadata(more),
            )
            try:
                await call.write(describe(model, mime_type, its_name, chunk, size))
                while chunk:
                    await call.write(v1.UploadMediaRequest(chunk=chunk))
                    chunk = await read_chunk(reader)
                await call.done_writing()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                # The gateway has ended the call; its status is raised below.
                pass
            except BaseException:
                call.cancel()
                raise
            return await awaited(call, request_id)

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
            call = self._connections.here().models.ListModels(
                v1.ListModelsRequest(page_size=page_size, page_token=token),
                timeout=self._settings.unary_timeout(timeout),
                metadata=self._settings.sent_metadata(more),
            )
            page = await awaited(call, request_id)
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
        call = self._connections.here().models.GetModel(
            v1.GetModelRequest(name=name),
            timeout=self._settings.unary_timeout(timeout),
            metadata=self._settings.sent_metadata(more),
        )
        return (await awaited(call, request_id)).model

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
        rounds = ToolRounds(conversation, tools, max_rounds)
        while True:
            answer = await self.converse(
                conversation, options=options, timeout=timeout, metadata=metadata
            )
            metadata = without_name(metadata)
            calls = rounds.calls(answer)
            if not calls:
                return answer
            for call in calls:
                with rounds.answered(call, calls):
                    result = rounds.run(call)
                    if not isinstance(result, str):
                        result = await result
                conversation.tool_result(call, result)

    @property
    def conversations(self) -> ConversationServiceAsyncStub:
        """The generated stub of `ConversationService`. Pass it `self.metadata`."""
        return self._connections.here().conversations

    @property
    def media(self) -> MediaServiceAsyncStub:
        """The generated stub of `MediaService`. Pass it `self.metadata`."""
        return self._connections.here().media

    @property
    def sessions(self) -> LiveServiceAsyncStub:
        """The generated stub of `LiveService`. Pass it `self.metadata`."""
        return self._connections.here().sessions

    @property
    def calls(self) -> CallServiceAsyncStub:
        """The generated stub of `CallService`. Pass it `self.metadata`."""
        return self._connections.here().calls

    @property
    def models(self) -> ModelServiceAsyncStub:
        """The generated stub of `ModelService`. Pass it `self.metadata`."""
        return self._connections.here().models

    @property
    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """The metadata of every call, including the API key."""
        return self._settings.sent_metadata()

    async def close(self) -> None:
        """Cancel all calls of this loop and close its connection. The client stays closed.

        Before, it waits, for at most 2 seconds, until the gateway has ended the calls whose streams
        were left.
        """
        await self._connections.close()

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
        return f"AsyncClient({self._connections.name()})"
