//! Converts the messages that a caller sends in a live session, after its setup.

use crate::chat::live_session::{LiveInput, ResponseOptions};
use crate::error::Error;

use super::live_setup;
use super::pb::{self, converse_live_request, synthesize_live_request};

/// The input of a message of ConverseLive.
pub(super) fn converse(message: pb::ConverseLiveRequest) -> Result<LiveInput, Error> {
    use converse_live_request::Event;
    Ok(match message.event {
        Some(Event::Setup(_)) => return Err(second_setup()),
        Some(Event::Audio(audio)) => LiveInput::Audio(audio),
        Some(Event::Image(image)) if image.is_empty() => {
            return Err(Error::field("image", "is empty; send a JPEG image"));
        }
        Some(Event::Image(image)) => LiveInput::Image(image),
        Some(Event::Text(text)) if text.is_empty() => {
            return Err(Error::field("text", "is empty; send the words of the user"));
        }
        Some(Event::Text(text)) => LiveInput::Text(text),
        Some(Event::Commit(pb::CommitInput {})) => LiveInput::Commit,
        Some(Event::Clear(pb::ClearInput {})) => LiveInput::Clear,
        Some(Event::CreateResponse(pb::CreateResponse {
            instructions,
            modalities,
        })) => LiveInput::CreateResponse(ResponseOptions {
            instructions,
            modalities,
        }),
        Some(Event::CancelResponse(pb::CancelResponse {})) => LiveInput::CancelResponse,
        Some(Event::ToolResult(result)) => {
            if result.tool_call_id.is_empty() {
                let what = "is empty; it is the id of the tool call";
                return Err(Error::field("tool_result.tool_call_id", what));
            }
            LiveInput::ToolResult {
                call_id: result.tool_call_id,
                output: result.output,
            }
        }
        Some(Event::Update(update)) => LiveInput::Update(Box::new(live_setup::update(update)?)),
        Some(Event::DeleteItem(pb::DeleteItem { item_id })) if item_id.is_empty() => {
            return Err(Error::field("delete_item.item_id", "is empty"));
        }
        Some(Event::DeleteItem(pb::DeleteItem { item_id })) => LiveInput::DeleteItem(item_id),
        Some(Event::Finish(pb::Finish {})) => LiveInput::Finish,
        Some(Event::Acknowledge(pb::Acknowledge { sequence })) => LiveInput::Acknowledge(sequence),
        None => return Err(unset()),
    })
}

/// The input of a message of SynthesizeLive.
pub(super) fn synthesize(message: pb::SynthesizeLiveRequest) -> Result<LiveInput, Error> {
    use synthesize_live_request::Event;
    Ok(match message.event {
        Some(Event::Setup(_)) => return Err(second_setup()),
        Some(Event::Text(text)) => LiveInput::Text(text),
        Some(Event::Commit(pb::CommitText {})) => LiveInput::Commit,
        Some(Event::Clear(pb::ClearText {})) => LiveInput::Clear,
        Some(Event::Finish(pb::Finish {})) => LiveInput::Finish,
        Some(Event::Acknowledge(pb::Acknowledge { sequence })) => LiveInput::Acknowledge(sequence),
        None => return Err(unset()),
    })
}

/// The error of a stream that does not begin with its setup.
pub(super) fn no_setup() -> Error {
    Error::field("setup", "must be the first message of the stream")
}

fn second_setup() -> Error {
    let what = "was sent twice; it is the first message, and `update` changes it";
    Error::field("setup", what)
}

fn unset() -> Error {
    let what = "is not set, or has a kind that this version of the gateway does not know";
    Error::field("event", what)
}
