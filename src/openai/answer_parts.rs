//! Messages of OpenAI-style answers: their parts, and choices that belong together.

use super::answer_images::take_image;
use super::answer_json::CompletionAudio;
use crate::dashscope::answer_json::{Audio, Choice, Content, Message, Part};
use crate::dashscope::json_text::Text;

/// Adds what a choice has to another.
pub(super) fn join<'a>(first: &mut Choice<'a>, next: Choice<'a>) {
    if let Some(more) = next.message {
        let message = first.message.get_or_insert_default();
        message.content = joined_parts(message.content.take(), parts_of(more.content));
        message.reasoning_content = message.reasoning_content.take().or(more.reasoning_content);
        message.extra.merge(more.extra);
        if let Some(calls) = more.tool_calls {
            message.tool_calls.get_or_insert_default().extend(calls);
        }
        if let Some(notes) = more.annotations {
            message.annotations.get_or_insert_default().extend(notes);
        }
    }
    first.finish_reason = first.finish_reason.take().or(next.finish_reason);
    first.logprobs = first.logprobs.take().or(next.logprobs);
    first.extra.merge(next.extra);
}

/// Whether a content has text.
pub(super) fn has_text(content: Option<&Content<'_>>) -> bool {
    match content {
        Some(Content::Text(Text(text))) => !text.is_empty(),
        Some(Content::Parts(parts)) => parts
            .iter()
            .any(|part| !Text::or_empty(&part.text).is_empty()),
        None => false,
    }
}

/// Whether a message has audio or images.
pub(super) fn has_media(message: &Message<'_>) -> bool {
    let is_medium = |part: &Part<'_>| part.audio.is_some() || part.image.is_some();
    match &message.content {
        Some(Content::Parts(parts)) => parts.iter().any(is_medium),
        Some(Content::Text(_)) | None => false,
    }
}

/// A part with audio.
pub(super) fn audio_part(audio: CompletionAudio<'_>) -> Part<'_> {
    Part {
        audio: Some(Audio {
            data: audio.data,
            url: None,
            id: audio.id,
            expires_at: audio.expires_at,
            extra: audio.extra,
            may_be_file: true,
        }),
        ..Part::default()
    }
}

/// The parts of a content, with images where DashScope has them. The type of a part is implied by
/// its keys.
fn parts_of(content: Option<Content<'_>>) -> Vec<Part<'_>> {
    match content {
        Some(Content::Text(text)) => vec![Part {
            text: Some(text),
            ..Part::default()
        }],
        Some(Content::Parts(mut parts)) => {
            for part in &mut parts {
                part.extra.0.retain(|(key, _)| key != "type");
                if part.image.is_none() {
                    part.image = take_image(&mut part.extra);
                }
            }
            parts
        }
        None => Vec::new(),
    }
}

/// A content with these parts at its end. A text alone stays as it is.
pub(super) fn joined_parts<'a>(
    content: Option<Content<'a>>,
    more: Vec<Part<'a>>,
) -> Option<Content<'a>> {
    match (content, more.is_empty()) {
        (Some(Content::Parts(parts)), true) => {
            Some(Content::Parts(parts_of(Some(Content::Parts(parts)))))
        }
        (content, true) => content,
        (content, false) => {
            let mut parts = parts_of(content);
            parts.extend(more);
            Some(Content::Parts(parts))
        }
    }
}
