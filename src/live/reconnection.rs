//! The connection to DashScope: what is sent on it, and, when it ended, whether the session
//! continues on another one, and what was lost.

use std::time::Duration;

use tokio::time::Instant;

use crate::chat::live_event::ResponseStatus;
use crate::chat::live_session::SessionChanges;
use crate::error::{Error, Reason};
use crate::telemetry::live_metrics::Repair;

use super::command::Command;
use super::event::{LiveEvent, SessionWarning};
use super::session::{Effects, End, Session};
use super::start::created;
use super::task::{CLOSE_TIMEOUT, Task};

/// A connection that lasts less is no success.
const SHORT_CONNECTION: Duration = Duration::from_secs(10);

/// The maximum number of such connections in a row after which another one is opened.
const MAX_SHORT_CONNECTIONS: u32 = 3;

impl Session {
    /// The connection was closed, or broke.
    pub(super) fn disconnected(&mut self, error: Error, now: Instant) -> End {
        let is_running = self.responses.is_running();
        if self.finish.is_asked() && self.is_quiet() && self.profile.has_responses {
            return End::Done;
        }
        let is_cut = matches!(
            error.reason(),
            Reason::SessionExpired | Reason::StreamTruncated | Reason::UpstreamReset
        );
        let continues = self.options.continue_after_limit && !self.finish.is_begun();
        match continues && is_cut && !is_running && self.may_reconnect(now) {
            true => End::Reconnect,
            false => End::Failed(error),
        }
    }

    /// Whether another connection may be opened: not again and again.
    fn may_reconnect(&mut self, now: Instant) -> bool {
        match now.saturating_duration_since(self.connected) < SHORT_CONNECTION {
            true => self.short_connections = self.short_connections.saturating_add(1),
            false => self.short_connections = 0,
        }
        self.short_connections <= MAX_SHORT_CONNECTIONS
    }

    /// The session continues on a new connection. Returns what was lost.
    pub(super) fn reconnected(&mut self, now: Instant) -> Effects {
        let mut effects = Effects::default();
        effects.warn(SessionWarning {
            code: "SESSION_RECONNECTED".to_owned(),
            message: "the session continues on a new connection to DashScope, with the text of \
                      the conversation; audio, images and tool calls before it are lost"
                .to_owned(),
            ..SessionWarning::default()
        });
        if !self.turn.is_answered() {
            effects.warn(response_lost(
                "the connection to DashScope ended before it started",
            ));
        }
        self.connected = now;
        self.appended = 0;
        self.turn.reconnected();
        self.responses.unrequest();
        if let Some(stored) = &mut self.stored {
            stored.reconnected();
        }
        // Ids of events are those of a connection.
        self.sent.clear();
        self.before_update = None;
        effects
    }

    /// The text of the conversation, for a new connection.
    pub(super) fn restored(&self) -> Vec<Command> {
        let said = self.history.messages();
        let said = said.filter(|_| self.profile.has_items);
        said.map(|message| match message.by_user {
            true => Command::UserText(message.text.clone()),
            false => Command::AssistantText(message.text.clone()),
        })
        .collect()
    }

    /// Ends what is running at the end of the session.
    pub(super) fn abandon(&mut self, status: ResponseStatus, now: Instant) -> Vec<LiveEvent> {
        let mut effects = Effects::default();
        let status = match self.responses.is_cancelled() {
            true => ResponseStatus::Cancelled,
            false => status,
        };
        let end = self.responses.end(status);
        self.pass_on(end.into(), now, &mut effects);
        effects.events
    }
}

impl Task {
    /// Sends a command. What the model does not support becomes a warning.
    pub(super) fn send(
        &mut self,
        position: u32,
        command: &Command,
        now: Instant,
    ) -> Result<(), Error> {
        match self.socket.send(&command.event()) {
            Ok(id) => {
                self.session.sent(id, position, command, now);
                if let Command::Update(_) = command {
                    let changes = self.session.changes();
                    self.update_bytes = changes.map_or(0, SessionChanges::weight);
                }
                Ok(())
            }
            // A field that this model does not have: the session continues without it.
            Err(error) if error.reason() == Reason::InvalidRequest => {
                let violation = error.violations().first();
                self.journal
                    .push(LiveEvent::Warning(Box::new(SessionWarning {
                        reason: Some(error.reason()),
                        code: error.reason().name().to_owned(),
                        message: error.message().to_owned(),
                        field: violation.map_or_else(String::new, |first| first.field.to_string()),
                        refused_message: position,
                        ..SessionWarning::default()
                    })))
            }
            Err(error) => Err(error),
        }
    }

    /// Continues the session on a new connection: with its configuration, and with the text of the
    /// conversation.
    pub(super) async fn reconnect(&mut self) -> Result<(), Error> {
        self.socket.close();
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.socket.flush()).await;
        self.call.setup = self.session.setup.clone();
        self.socket = self.call.reconnect().await?;
        let limit = self.config.start_timeout;
        let started = created(&mut self.socket, limit, self.deadline).await?;
        let (upstream, setup_id) = started;
        self.call.started(&upstream.id);
        self.reconnects = self.reconnects.saturating_add(1);
        self.call.repaired(Repair::Reconnect);
        let now = Instant::now();
        let effects = self.session.reconnected(now);
        self.session.started(&upstream, setup_id)?;
        for command in self.session.restored() {
            self.send(0, &command, now)?;
        }
        for event in effects.events {
            self.journal.push(event)?;
        }
        Ok(())
    }
}

/// The warning of a response that will not come.
pub(super) fn response_lost(why: &str) -> SessionWarning {
    SessionWarning {
        code: "RESPONSE_LOST".to_owned(),
        message: format!("the response to the last turn will not come: {why}"),
        ..SessionWarning::default()
    }
}
