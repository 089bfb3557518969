//! The start of a session at DashScope.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::chat::live_event::{UpstreamEvent, UpstreamSession};
use crate::chat::live_session::AudioFormat;
use crate::error::{Error, Reason};
use crate::relay::live_turns::{LiveTurns, StoredSession};
use crate::upstream::{EventId, LiveSocket, live_error};

use super::division::bounded;
use super::event::SessionStarted;
use super::session::Session;
use super::stop::too_late;

/// Waits until DashScope has started a session, and configures it. Returns the session, and the id
/// of the event that configures it.
pub(super) async fn created(
    socket: &mut LiveSocket,
    limit: Duration,
    deadline: Instant,
) -> Result<(UpstreamSession, EventId), Error> {
    let starting = async {
        loop {
            let event = socket.next().await?;
            if let UpstreamEvent::SessionCreated(session) = event {
                return Ok(session);
            }
            if let UpstreamEvent::Error(error) = event {
                return Err(live_error(&error));
            }
        }
    };
    let until = deadline.min(Instant::now() + limit);
    let session = match tokio::time::timeout_at(until, starting).await {
        Ok(session) => session?,
        Err(_) if until == deadline => return Err(too_late()),
        Err(_) => {
            let message = format!("DashScope did not start the live session within {limit:?}");
            return Err(Error::new(Reason::FirstEventTimeout, message));
        }
    };
    let id = socket.setup()?;
    Ok((session, id))
}

/// Sends the history of the stored conversation that the session continues, if it does. Returns
/// where its turns go.
pub(super) fn restore(
    session: &mut Session,
    socket: &mut LiveSocket,
    stored: Option<Box<StoredSession>>,
) -> Result<Option<LiveTurns>, Error> {
    let Some(stored) = stored else {
        return Ok(None);
    };
    if !session.profile.has_items {
        let what = "is for models that accept text items; leave it out, or choose another model";
        return Err(Error::field("setup.conversation", what));
    }
    session.continues(&stored.history, stored.instructions);
    for command in session.restored() {
        let id = socket.send(&command.event())?;
        session.sent(id, 0, &command, Instant::now());
    }
    Ok(Some(stored.turns))
}

/// The report that the session has started, without its token.
pub(super) fn report(
    session: &Session,
    session_id: &Arc<str>,
    mut upstream: UpstreamSession,
) -> SessionStarted {
    let (input_audio, output_audio) = formats(session);
    upstream.fields = bounded(upstream.fields);
    SessionStarted {
        session_id: Arc::clone(session_id),
        model: Arc::clone(&session.setup.model),
        upstream,
        input_audio,
        output_audio,
        ..SessionStarted::default()
    }
}

/// The formats of audio in both directions.
fn formats(session: &Session) -> (AudioFormat, AudioFormat) {
    let (input, output) = session.setup.task.audio_formats();
    let with_rate = |format: AudioFormat, rate| AudioFormat {
        sample_rate: Some(rate),
        ..format
    };
    (
        with_rate(input, session.profile.caller_input_rate),
        with_rate(output, session.caller_output_rate()),
    )
}
