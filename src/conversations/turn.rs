//! A turn, from the new messages of a call to its answer.

use crate::chat::answer::Answer;
use crate::chat::call::Call;
use crate::chat::message::{Body, Role, Turn};
use crate::chat::usage::Usage;
use crate::error::{Error, Reason, Violation};
use crate::store::turn::{Answered, NewTurn};

use super::Conversations;
use super::content::{encode, media_bytes};
use super::errors::damaged;

impl Conversations {
    /// The turn that a call begins, if it is one of a stored conversation.
    pub fn new_turn(&self, call: &Call) -> Result<Option<NewTurn>, Error> {
        let Some(of) = &call.stored else {
            return Ok(None);
        };
        let messages = &call.prompt.turns;
        self.check_media(messages)?;
        Ok(Some(NewTurn {
            conversation: of.id.clone(),
            expected: of.expected_turn,
            model: call.prompt.model.clone(),
            has_system: messages.iter().any(|message| message.role == Role::System),
            messages: encode(messages)?,
        }))
    }

    fn check_media(&self, messages: &[Turn]) -> Result<(), Error> {
        let (bytes, limit) = (media_bytes(messages), self.config.max_media_bytes);
        if bytes <= limit {
            return Ok(());
        }
        let description = format!(
            "has {bytes} bytes of media, and a turn of a stored conversation may have {limit}; \
             store larger media with MediaService.UploadMedia and send their URIs"
        );
        let field = "conversation.messages".to_owned();
        let message = format!("{field}: {description}");
        let violation = Violation { field, description };
        Err(Error::new(Reason::MediaTooLarge, message).with_violation(violation))
    }

    /// The answer of a turn as it is stored: the first choice.
    pub fn answered(&self, answer: Answer) -> Result<Answered, Error> {
        let usage = encode_usage(answer.usage.as_deref())?;
        let choice = answer.choices.into_iter().next();
        let mut messages: Vec<_> = choice.map(|choice| choice.turn).into_iter().collect();
        if media_bytes(&messages) > self.config.max_media_bytes {
            let parts = messages.iter_mut().flat_map(|message| &mut message.parts);
            for part in parts {
                if let Body::Audio(audio) = &mut part.body {
                    audio.medium = None;
                }
            }
        }
        let message = encode(&messages)?;
        Ok(Answered { message, usage })
    }
}

/// A usage as it is stored.
pub fn encode_usage(usage: Option<&Usage>) -> Result<Vec<u8>, Error> {
    match usage {
        Some(usage) => rmp_serde::to_vec_named(usage).map_err(damaged),
        None => Ok(Vec::new()),
    }
}

/// A stored usage.
pub(super) fn decode_usage(bytes: &[u8]) -> Result<Option<Usage>, Error> {
    match bytes {
        [] => Ok(None),
        bytes => rmp_serde::from_slice(bytes).map(Some).map_err(damaged),
    }
}
