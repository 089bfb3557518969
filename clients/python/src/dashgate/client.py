"""The synchronous client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType

import grpc

from dashgate import v1
from dashgate._calls import given_name, named_metadata, stream_request, unary_request
from dashgate._connection import Connections
from dashgate._idle import Wait
from dashgate._live import Progress, converse_opening, speech_opening
from dashgate._resume import Resumption
from dashgate._settings import TLS, Endpoint, Metadata, Settings
from dashgate._tools import MAX_ROUNDS, ToolRounds, without_name
from dashgate._unary import Pending, waited
from dashgate._upload import UploadMessages, UploadSource, opened
from dashgate.answer import Answer
from dashgate.conversation import Conversation, Tool
from dashgate.live import LiveSession, SpeechSession
from dashgate.stream import Stream
from dashgate.v1.call_service_pb2_grpc import CallServiceStub
from dashgate.v1.conversation_service_pb2_grpc import ConversationServiceStub
from dashgate.v1.live_service_pb2_grpc import LiveServiceStub
from dashgate.v1.media_service_pb2_grpc import MediaServiceStub
from dashgate.v1.model_service_pb2_grpc import ModelServiceStub


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
        self._connections = Connections(Endpoint.of(target, tls), None)

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
        client._connections = Connections(None, channel)  # noqa: SLF001
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
        request_id = given_name(request_id, metadata)
        request = unary_request(conversation, options, request_id)
        call = self._connections.here().conversations.Converse.future(
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
        request_id = given_name(request_id, metadata)
        request = stream_request(conversation, options, request_id, resume=resume)
        state = Resumption(
            request, named=bool(request_id), timeout=self._settings.stream_timeout(timeout)
        )
        wait = Wait(self._settings.idle_timeout, lambda: None)
        return Stream(self._connections.here(), wait, state, self._settings.sent_metadata(metadata))

    def cancel_call(
        self, request_id: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> None:
        """Cancel a running call of this caller by its request id, whatever process made it.

        Its streams end with `ABORTED` and the reason `CALL_CANCELLED`. If no call with this request
        id is running, the reason of the error is `CALL_NOT_FOUND`.
        """
        call = self._connections.here().calls.CancelCall.future(
            v1.CancelCallRequest(request_id=request_id),
            timeout=self._settings.unary_timeout(timeout),
            metadata=self._settings.sent_metadata(metadata),
        )
        waited(call, request_id)

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
        return LiveSession(self._connections.here().sessions.ConverseLive, progress)

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
        return SpeechSession(self._connections.here().sessions.SynthesizeLive, progress)

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
            messages = UploadMessages(reader, model, mime_type, its_name, size)
            call = self._connections.here().media.UploadMedia.future(
                iter(messages),
                timeout=self._settings.unary_timeout(timeout),
                metadata=self._settings.sent_metadata(more),
            )
            messages.started(call)
            try:
                return waited(call, request_id)
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
            call = self._connections.here().models.ListModels.future(
                v1.ListModelsRequest(page_size=page_size, page_token=token),
                timeout=self._settings.unary_timeout(timeout),
                metadata=self._settings.sent_metadata(more),
            )
            page = waited(call, request_id)
            yield from page.models
            token = page.next_page_token
            if not token:
                return

    def get_model(
        self, name: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> v1.Model:
        """Return what the gateway knows of a model. The default deadline is 10 minutes."""
        request_id, more = named_metadata(self._settings, metadata)
        call = self._connections.here().models.GetModel.future(
            v1.GetModelRequest(name=name),
            timeout=self._settings.unary_timeout(timeout),
            metadata=self._settings.sent_metadata(more),
        )
        return waited(call, request_id).model

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
        rounds = ToolRounds(conversation, tools, max_rounds)
        while True:
            answer = self.converse(
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
                        kind = type(result).__name__
                        raise TypeError(f"tool {call.name} gave {kind}, not a text")
                conversation.tool_result(call, result)

    @property
    def conversations(self) -> ConversationServiceStub:
        """The generated stub of `ConversationService`. Pass it `self.metadata`."""
        return self._connections.here().conversations

    @property
    def media(self) -> MediaServiceStub:
        """The generated stub of `MediaService`. Pass it `self.metadata`."""
        return self._connections.here().media

    @property
    def sessions(self) -> LiveServiceStub:
        """The generated stub of `LiveService`. Pass it `self.metadata`."""
        return self._connections.here().sessions

    @property
    def calls(self) -> CallServiceStub:
        """The generated stub of `CallService`. Pass it `self.metadata`."""
        return self._connections.here().calls

    @property
    def models(self) -> ModelServiceStub:
        """The generated stub of `ModelService`. Pass it `self.metadata`."""
        return self._connections.here().models

    @property
    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """The metadata of every call, including the API key."""
        return self._settings.sent_metadata()

    def close(self) -> None:
        """Cancel all calls and close the connection. The client cannot be used again.

        Before, it waits, for at most 2 seconds, until the gateway has ended the calls whose streams
        were left.
        """
        self._connections.close()

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
        return f"Client({self._connections.name()})"


class AnswerFuture:
    """The future of an answer."""

    def __init__(self, call: Pending[v1.ConverseResponse], request_id: str) -> None:
        self._call = call
        self.request_id = request_id
        """The request id of the call."""

    def result(self) -> Answer:
        """Wait for the answer. Raises `concurrent.futures.CancelledError` after `cancel`."""
        return Answer(waited(self._call, self.request_id))

    def cancel(self) -> None:
        """Cancel the call, also in the gateway and at DashScope."""
        self._call.cancel()

    def done(self) -> bool:
        """Return whether the call has ended."""
        return self._call.done()
