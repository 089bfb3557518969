//! The usage of a call as text.

use dashgate_client::v1 as pb;

/// The counts without details. `None` if there are none.
pub(crate) fn words(usage: &pb::Usage) -> Option<String> {
    let mut words = Vec::new();
    if let Some(count) = usage.input_tokens {
        let details = usage.input_tokens_details.as_ref();
        let audio = details.and_then(|details| details.audio_tokens);
        match usage.audio_tokens.or(audio) {
            Some(audio) => words.push(format!("{count} tokens in ({audio} audio)")),
            None => words.push(format!("{count} tokens in")),
        }
    }
    if let Some(count) = usage.output_tokens {
        words.push(format!("{count} out"));
    }
    if let Some(seconds) = usage.audio_seconds {
        words.push(format!("{seconds} s of audio"));
    }
    if let Some(count) = usage.characters {
        words.push(format!("{count} characters"));
    }
    if let Some(count) = usage.image_count {
        let noun = if count == 1 { "image" } else { "images" };
        words.push(format!("{count} {noun}"));
    }
    (!words.is_empty()).then(|| words.join(", "))
}
