"""The calls that open live sessions, of the synchronous client."""

from __future__ import annotations

from dashgate import v1
from dashgate._caller import Caller
from dashgate._live import Progress, converse_opening, speech_opening
from dashgate._settings import Metadata
from dashgate.live import LiveSession, SpeechSession


class LiveCalls(Caller):
    """The calls that open live sessions."""

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
        session = LiveSession(connection.sessions.ConverseLive, progress, connection.reach)
        connection.opened(session)
        return session

    def speak(
        self,
        setup: v1.SynthesisSetup | str,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> SpeechSession:
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
        session = SpeechSession(connection.sessions.SynthesizeLive, progress, connection.reach)
        connection.opened(session)
        return session
