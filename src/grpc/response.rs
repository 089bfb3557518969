//! Converts events and answers to response messages.

use std::time::Duration;

use crate::chat::answer::{Answer, Choice};
use crate::chat::event::{ChoiceEnd, Delta, End, Event, Logprobs, Piece, SearchInfo, TokenLogprob};
use crate::chat::media::{Audio, AudioFile, Image, Medium, Source, Video, VideoSource};
use crate::chat::message::{Annotation, Body, Part, Role, ToolCall, Turn};
use crate::chat::stored::HistoryUsed;
use crate::chat::warning::Warning;
use crate::relay::reply::Timing;

use super::pb::{self, content, converse_stream_response, delta};
use super::struct_value::fields;
use super::usage::usage;

/// The message of a whole answer.
pub fn response(answer: Answer, request_id: &str, took: Timing) -> pb::ConverseResponse {
    pb::ConverseResponse {
        choices: answer.choices.into_iter().map(choice).collect(),
        usage: answer.usage.map(|used| Box::new(usage(&used))),
        request_id: request_id.to_owned(),
        upstream_request_id: answer.started.upstream_request_id,
        model: answer.started.model.as_ref().to_owned(),
        timing: Some(timing(took)),
        extra_output: fields(answer.extra_output),
        extra: fields(answer.extra),
        warnings: answer.warnings.into_iter().map(warning).collect(),
        search_info: answer.search.map(search_info),
        history_used: answer.history.map(history_used),
    }
}

/// The event of a stream, without its sequence number. `took` is called at the end only.
pub fn event(
    event: Event,
    (request_id, resumable): (&str, bool),
    took: impl FnOnce() -> Timing,
) -> converse_stream_response::Event {
    match event {
        Event::Started(started) => converse_stream_response::Event::Started(pb::Started {
            model: started.model.as_ref().to_owned(),
            upstream_request_id: started.upstream_request_id,
            request_id: request_id.to_owned(),
            resumable,
        }),
        Event::Delta(delta) => converse_stream_response::Event::Delta(self::delta(delta)),
        Event::End(end) => {
            let completed = completed(*end, took());
            converse_stream_response::Event::Completed(Box::new(completed))
        }
    }
}

fn completed(end: End, took: Timing) -> pb::Completed {
    pb::Completed {
        choices: end.choices.into_iter().map(choice_end).collect(),
        usage: end.usage.map(|used| usage(&used)),
        timing: Some(timing(took)),
        extra_output: fields(end.extra_output),
        extra: fields(end.extra),
        warnings: end.warnings.into_iter().map(warning).collect(),
        history_used: end.history.map(history_used),
    }
}

/// What was sent of a history.
pub(super) fn history_used(used: HistoryUsed) -> pb::HistoryUsed {
    let count = |count: i64| i32::try_from(count).unwrap_or(i32::MAX);
    pb::HistoryUsed {
        turn: count(used.turn),
        turns_sent: count(used.turns_sent),
        turns_left_out: count(used.turns_left_out),
        media_left_out: count(used.media_left_out),
        estimated_input_tokens: count(used.estimated_input_tokens),
    }
}

fn choice_end(end: ChoiceEnd) -> pb::ChoiceEnd {
    pb::ChoiceEnd {
        index: end.index,
        finish_reason: finish_reason(&end.finish_reason).into(),
        raw_finish_reason: end.finish_reason,
        extra: fields(end.extra),
    }
}

fn warning(from: Warning) -> pb::Warning {
    pb::Warning {
        code: from.code.as_str().to_owned(),
        field: from.field,
        message: from.message,
    }
}

fn finish_reason(word: &str) -> pb::FinishReason {
    match word {
        "stop" => pb::FinishReason::Stop,
        "length" => pb::FinishReason::Length,
        "tool_calls" => pb::FinishReason::ToolCalls,
        _ => pb::FinishReason::Unspecified,
    }
}

fn delta(delta: Delta) -> pb::Delta {
    let part = match delta.piece {
        Piece::Text(text) => delta::Part::Text(text),
        Piece::Reasoning(text) => delta::Part::ReasoningText(text),
        Piece::Audio(bytes) => delta::Part::Audio(bytes),
        Piece::ToolCall(call) => delta::Part::ToolCall(tool_call(call)),
        Piece::Annotation(note) => delta::Part::Annotation(annotation(note)),
        Piece::Image(uri) => delta::Part::ImageUri(uri),
        Piece::AudioFile(file) => delta::Part::AudioFile(audio_file(file)),
        Piece::Extra(extra) => delta::Part::Extra(fields(extra).unwrap_or_default()),
        Piece::MessageExtra(extra) => delta::Part::MessageExtra(fields(extra).unwrap_or_default()),
        Piece::Logprobs(probabilities) => delta::Part::Logprobs(logprobs(probabilities)),
        Piece::Search(info) => delta::Part::SearchInfo(search_info(info)),
    };
    pb::Delta {
        choice_index: delta.choice,
        starts_part: delta.starts_part,
        part: Some(part),
    }
}

fn choice(choice: Choice) -> pb::Choice {
    pb::Choice {
        index: choice.index,
        message: Some(message(choice.turn)),
        finish_reason: finish_reason(&choice.finish_reason).into(),
        raw_finish_reason: choice.finish_reason,
        logprobs: choice.logprobs.map(logprobs),
        extra: fields(choice.extra),
    }
}

/// A message, of an answer or of a stored turn.
pub(super) fn message(turn: Turn) -> pb::Message {
    let role = match turn.role {
        Role::System => pb::Role::System,
        Role::User => pb::Role::User,
        Role::Assistant => pb::Role::Assistant,
        Role::Tool => pb::Role::Tool,
    };
    pb::Message {
        role: role.into(),
        content: turn.parts.into_iter().map(content).collect(),
        reasoning_text: turn.reasoning,
        tool_calls: turn.tool_calls.into_iter().map(tool_call).collect(),
        tool_call_id: turn.tool_call_id,
        annotations: turn.annotations.into_iter().map(annotation).collect(),
        extra: fields(turn.extra),
    }
}

fn content(part: Part) -> pb::Content {
    let kind = match part.body {
        Body::Text(text) => Some(content::Kind::Text(text)),
        Body::Audio(audio) => Some(content::Kind::Audio(self::audio(audio))),
        Body::Image(image) => Some(content::Kind::Image(self::image(image))),
        Body::Video(video) => Some(content::Kind::Video(self::video(video))),
        Body::Other => None,
    };
    pb::Content {
        kind,
        cache_control: part
            .cache_control
            .map(|kind| pb::CacheControl { r#type: kind }),
        extra: fields(part.extra),
    }
}

fn audio(audio: Audio) -> pb::Audio {
    let (mime_type, source) = match audio.medium {
        None => (String::new(), None),
        Some(Medium {
            mime_type,
            source: Source::Uri(uri),
        }) => (mime_type, Some(pb::audio::Source::Uri(uri))),
        Some(Medium {
            mime_type,
            source: Source::Inline(data),
        }) => (mime_type, Some(pb::audio::Source::Data(data))),
    };
    pb::Audio {
        mime_type,
        source,
        file: audio.file.map(audio_file),
    }
}

fn audio_file(file: AudioFile) -> pb::AudioFile {
    pb::AudioFile {
        uri: file.uri,
        id: file.id,
        expires_at: file
            .expires_at
            .map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
        extra: fields(file.extra),
    }
}

fn image(image: Image) -> pb::Image {
    let source = match image.medium.source {
        Source::Uri(uri) => pb::image::Source::Uri(uri),
        Source::Inline(data) => pb::image::Source::Data(data),
    };
    pb::Image {
        mime_type: image.medium.mime_type,
        source: Some(source),
        min_pixels: image.min_pixels,
        max_pixels: image.max_pixels,
        enable_rotate: image.enable_rotate,
    }
}

fn video(video: Video) -> pb::Video {
    let (mime_type, source) = match video.source {
        VideoSource::File(Medium {
            mime_type,
            source: Source::Uri(uri),
        }) => (mime_type, pb::video::Source::Uri(uri)),
        VideoSource::File(Medium {
            mime_type,
            source: Source::Inline(data),
        }) => (mime_type, pb::video::Source::Data(data)),
        VideoSource::Frames(frames) => {
            let frames = frames.into_iter().map(|medium| {
                let (min_pixels, max_pixels, enable_rotate) = (None, None, None);
                self::image(Image {
                    medium,
                    min_pixels,
                    max_pixels,
                    enable_rotate,
                })
            });
            let frames = pb::VideoFrames {
                frames: frames.collect(),
            };
            (String::new(), pb::video::Source::Frames(frames))
        }
    };
    pb::Video {
        mime_type,
        source: Some(source),
        fps: video.fps.map(|fps| fps.0),
        max_frames: video.max_frames,
        min_pixels: video.min_pixels,
        max_pixels: video.max_pixels,
        total_pixels: video.total_pixels,
    }
}

/// A tool call, or a delta of one.
pub(super) fn tool_call(call: ToolCall) -> pb::ToolCall {
    pb::ToolCall {
        index: call.index,
        id: call.id,
        r#type: call.kind,
        name: call.name,
        arguments: call.arguments,
        extra: fields(call.extra),
    }
}

fn annotation(note: Annotation) -> pb::Annotation {
    pb::Annotation {
        r#type: note.kind,
        language: note.language,
        emotion: note.emotion,
        extra: fields(note.extra),
    }
}

fn logprobs(from: Logprobs) -> pb::Logprobs {
    pb::Logprobs {
        content: from.content.into_iter().map(token).collect(),
        extra: fields(from.extra),
    }
}

fn token(from: TokenLogprob) -> pb::TokenLogprob {
    pb::TokenLogprob {
        token: from.token,
        bytes: from.bytes.into(),
        logprob: from.logprob.map(|real| real.0),
        top_logprobs: from.top_logprobs.into_iter().map(token).collect(),
        extra: fields(from.extra),
    }
}

fn search_info(info: SearchInfo) -> pb::SearchInfo {
    let results = info.results.into_iter().map(|result| pb::SearchResult {
        index: result.index,
        title: result.title,
        url: result.url,
        site_name: result.site_name,
        icon: result.icon,
        extra: fields(result.extra),
    });
    pb::SearchInfo {
        search_results: results.collect(),
        extra: fields(info.extra),
    }
}

fn timing(took: Timing) -> pb::Timing {
    pb::Timing {
        first_event: took.first_event.map(duration),
        total: Some(duration(took.total)),
        attempts: i32::try_from(took.attempts).unwrap_or(i32::MAX),
    }
}

/// A duration.
pub(super) fn duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(span).unwrap_or_default()
}
