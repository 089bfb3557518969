//! Converts the events of a live session to messages.

use crate::chat::live_event::{LivePiece, ResponseStatus, SpeechBoundary};
use crate::chat::live_session::{AudioEncoding, AudioFormat};
use crate::error::Reason;
use crate::live::event::{
    LiveEvent, ResponseCompleted, ResponseTurn, SessionEnded, SessionStarted, SessionWarning,
    Transcript,
};

use super::pb::{self, converse_live_response, response_delta, synthesize_live_response};
use super::response::{duration, history_used, tool_call};
use super::struct_value::fields;
use super::usage::usage;

/// The message of ConverseLive for an event.
pub(super) fn converse(
    sequence: i32,
    event: LiveEvent,
    request_id: &str,
) -> pb::ConverseLiveResponse {
    use converse_live_response::Event;
    let event = match event {
        LiveEvent::Started(event) => Event::SessionStarted(started(*event, request_id)),
        LiveEvent::Updated(session) => Event::SessionUpdated(pb::SessionUpdated {
            session: fields(session),
        }),
        LiveEvent::SpeechStarted(SpeechBoundary { item_id, at, .. }) => {
            Event::SpeechStarted(pb::SpeechStarted {
                item_id,
                audio_start: Some(duration(at)),
            })
        }
        LiveEvent::SpeechStopped(SpeechBoundary {
            item_id,
            at,
            reason,
        }) => Event::SpeechStopped(pb::SpeechStopped {
            item_id,
            audio_end: Some(duration(at)),
            reason,
        }),
        LiveEvent::Committed { item_id } => Event::InputCommitted(pb::InputCommitted { item_id }),
        LiveEvent::Transcript {
            is_ambient: false,
            transcript,
        } => Event::InputTranscript(self::transcript(transcript)),
        LiveEvent::Transcript { transcript, .. } => {
            Event::AmbientTranscript(self::transcript(transcript))
        }
        LiveEvent::ResponseStarted { response_id } => {
            Event::ResponseStarted(response_started(&response_id))
        }
        LiveEvent::Delta {
            response_id,
            item_id,
            piece,
        } => Event::ResponseDelta(delta(&response_id, &item_id, piece)),
        LiveEvent::ResponseCompleted(end) => Event::ResponseCompleted(completed(*end)),
        LiveEvent::Warning(one) => Event::SessionWarning(warning(*one)),
        LiveEvent::Ending { time_left, reason } => Event::SessionEnding(pb::SessionEnding {
            time_left: Some(duration(time_left)),
            reason: self::reason(Some(reason)),
        }),
        LiveEvent::Ended(end) => Event::SessionEnded(ended(&end)),
    };
    pb::ConverseLiveResponse {
        sequence,
        event: Some(event),
    }
}

/// The message of SynthesizeLive for an event; an event of speech recognition has none.
pub(super) fn synthesize(
    sequence: i32,
    event: LiveEvent,
    request_id: &str,
) -> pb::SynthesizeLiveResponse {
    use synthesize_live_response::Event;
    let event = match event {
        LiveEvent::Started(event) => Some(Event::SessionStarted(started(*event, request_id))),
        LiveEvent::ResponseStarted { response_id } => {
            Some(Event::ResponseStarted(response_started(&response_id)))
        }
        LiveEvent::Delta {
            response_id,
            item_id,
            piece,
        } => Some(Event::ResponseDelta(delta(&response_id, &item_id, piece))),
        LiveEvent::ResponseCompleted(end) => Some(Event::ResponseCompleted(completed(*end))),
        LiveEvent::Warning(one) => Some(Event::SessionWarning(warning(*one))),
        LiveEvent::Ending { time_left, reason } => Some(Event::SessionEnding(pb::SessionEnding {
            time_left: Some(duration(time_left)),
            reason: self::reason(Some(reason)),
        })),
        LiveEvent::Ended(end) => Some(Event::SessionEnded(ended(&end))),
        LiveEvent::Updated(_)
        | LiveEvent::SpeechStarted(_)
        | LiveEvent::SpeechStopped(_)
        | LiveEvent::Committed { .. }
        | LiveEvent::Transcript { .. } => None,
    };
    pb::SynthesizeLiveResponse { sequence, event }
}

fn started(event: SessionStarted, request_id: &str) -> pb::SessionStarted {
    pb::SessionStarted {
        session_id: event.session_id.as_ref().to_owned(),
        resume_token: event.resume_token.expose().to_owned(),
        request_id: request_id.to_owned(),
        model: event.model.as_ref().to_owned(),
        upstream_session_id: event.upstream.id,
        input_audio: Some(format(event.input_audio)),
        output_audio: Some(format(event.output_audio)),
        resumed: event.resumed,
        voice: event.upstream.voice,
        history_used: event.history.map(history_used),
    }
}

fn format(from: AudioFormat) -> pb::AudioFormat {
    let encoding = match from.encoding {
        AudioEncoding::Pcm => pb::AudioEncoding::Pcm,
        AudioEncoding::Wav => pb::AudioEncoding::Wav,
        AudioEncoding::Mp3 => pb::AudioEncoding::Mp3,
        AudioEncoding::Opus => pb::AudioEncoding::Opus,
    };
    let rate = from.sample_rate.unwrap_or_default();
    pb::AudioFormat {
        encoding: encoding.into(),
        sample_rate_hz: i32::try_from(rate).unwrap_or(i32::MAX),
    }
}

fn transcript(from: Transcript) -> pb::InputTranscript {
    pb::InputTranscript {
        item_id: from.item_id,
        text: from.text,
        tentative: from.tentative,
        r#final: from.is_final,
        language: from.language,
        emotion: from.emotion,
    }
}

fn response_started(response_id: &str) -> pb::ResponseStarted {
    pb::ResponseStarted {
        response_id: response_id.to_owned(),
    }
}

fn delta(response_id: &str, item_id: &str, piece: LivePiece) -> pb::ResponseDelta {
    let part = match piece {
        LivePiece::Text(text) => response_delta::Part::Text(text),
        LivePiece::Transcript(text) => response_delta::Part::Transcript(text),
        LivePiece::Audio(audio) => response_delta::Part::Audio(audio),
        LivePiece::ToolCall(call) => response_delta::Part::ToolCall(tool_call(*call)),
    };
    pb::ResponseDelta {
        response_id: response_id.to_owned(),
        item_id: item_id.to_owned(),
        part: Some(part),
    }
}

fn completed(end: ResponseCompleted) -> pb::ResponseCompleted {
    let status = match end.status {
        ResponseStatus::Completed => pb::ResponseStatus::Completed,
        ResponseStatus::Cancelled => pb::ResponseStatus::Cancelled,
        ResponseStatus::Incomplete => pb::ResponseStatus::Incomplete,
        ResponseStatus::Failed => pb::ResponseStatus::Failed,
        ResponseStatus::Other => pb::ResponseStatus::Unspecified,
    };
    pb::ResponseCompleted {
        response_id: end.response_id.as_ref().to_owned(),
        status: status.into(),
        usage: end.usage.as_ref().map(usage),
        finish_reason: end.reason,
        first_audio_latency: end.first_audio_latency.map(duration),
        extra: fields(end.extra),
        turn: match end.turn {
            ResponseTurn::Stored(number) => Some(i32::try_from(number).unwrap_or(i32::MAX)),
            ResponseTurn::None | ResponseTurn::Unstored => None,
        },
    }
}

fn warning(from: SessionWarning) -> pb::SessionWarning {
    pb::SessionWarning {
        reason: reason(from.reason),
        code: from.code,
        message: from.message,
        field: from.field,
        refused_message: i32::try_from(from.refused_message).unwrap_or(i32::MAX),
        extra: fields(from.extra),
    }
}

fn ended(end: &SessionEnded) -> pb::SessionEnded {
    pb::SessionEnded {
        usage: end.usage.as_ref().map(usage),
        input_audio_duration: Some(duration(end.input_audio)),
        output_audio_duration: Some(duration(end.output_audio)),
        responses: i32::try_from(end.responses).unwrap_or(i32::MAX),
    }
}

fn reason(from: Option<Reason>) -> i32 {
    let reason = from.and_then(|reason| pb::ErrorReason::from_str_name(reason.name()));
    reason.unwrap_or_default().into()
}
