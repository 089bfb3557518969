"""The calls that open live sessions, of the client for asyncio."""

from __future__ import annotations

from dashgate import v1
from dashgate._aio_caller import AsyncCaller
from dashgate._live import Progress, converse_opening, speech_opening
from dashgate._settings import Metadata
from dashgate.aio_live import AsyncLiveSession, AsyncSpeechSession


class AsyncLiveCalls(AsyncCaller):
    """The calls that open live sessions."""

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
        connection = self._connections.here()
        given, opening = converse_opening(setup)
        progress = Progress(
            self._settings,
            address=connection.address,
            timeout=timeout,
            metadata=metadata,
            given=given,
            opening=opening,
        )
        return AsyncLiveSession(connection.sessions.ConverseLive, progress, connection.reach)

    def speak(
        self,
        setup: v1.SynthesisSetup | str,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> AsyncSpeechSession:
        """Open a session that speaks text while it is written. `setup` is as for `live`."""
        connection = self._connections.here()
        given, opening = speech_opening(setup)
        progress = Progress(
            self._settings,
            address=connection.address,
            timeout=timeout,
            metadata=metadata,
            given=given,
            opening=opening,
        )
        return AsyncSpeechSession(connection.sessions.SynthesizeLive, progress, connection.reach)
