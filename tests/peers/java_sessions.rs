//! DashScope's official SDK for Java on the emulator's WebSockets: realtime sessions and tasks.

use std::path::Path;

use serde_json::Value;

use super::Case;
use super::java_calls::surfaced;
use super::judge::{equal, holds, number, text};
use super::realtime::{bytes, kinds, of_kind};
use super::server::Server;
use super::tools::Tool;

const TONE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tone.wav");

pub(crate) const CASES: &[Case] = &[
    (
        "java_sdk_holds_a_turn_by_voice_activity",
        Tool::JavaSdk,
        turn_by_voice_activity,
    ),
    (
        "java_sdk_holds_turns_by_commit",
        Tool::JavaSdk,
        turns_by_commit,
    ),
    ("java_sdk_cancels_a_response", Tool::JavaSdk, cancelled),
    (
        "java_sdk_transcribes_in_a_session",
        Tool::JavaSdk,
        transcripts,
    ),
    (
        "java_sdk_translates_in_a_session",
        Tool::JavaSdk,
        translated_session,
    ),
    (
        "java_sdk_has_speech_of_text_in_pieces",
        Tool::JavaSdk,
        speech,
    ),
    (
        "java_sdk_has_speech_of_committed_text",
        Tool::JavaSdk,
        speech_by_commit,
    ),
    (
        "java_sdk_recognizes_sentences_of_a_task",
        Tool::JavaSdk,
        recognition,
    ),
    (
        "java_sdk_recognizes_a_file_in_a_task",
        Tool::JavaSdk,
        recognition_of_file,
    ),
    ("java_sdk_translates_in_a_task", Tool::JavaSdk, translation),
    ("java_sdk_has_the_audio_of_a_task", Tool::JavaSdk, synthesis),
    ("java_sdk_reports_failed_tasks", Tool::JavaSdk, failures),
];

fn events(java: &Path, case: &str) -> Result<Vec<Value>, String> {
    surfaced(java, &Server::emulator()?, case, &[])
}

fn turn_by_voice_activity(java: &Path) -> Result<(), String> {
    let events = events(java, "vad_turn")?;
    let expected = [
        "session.created",
        "session.updated",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.created",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_item.added",
        "conversation.item.created",
        "response.content_part.added",
        "response.audio.delta",
        "response.audio.done",
        "response.audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
        "session.finished",
        "closed",
        "known",
    ];
    equal("the events", kinds(&events).as_slice(), expected.as_slice())?;
    let done = of_kind(&events, "response.audio_transcript.done");
    let said = done.first().map_or("", |done| text(done, "/transcript"));
    let heard = said.starts_with("I heard 1.0 seconds of a tone at about 440 Hz");
    holds("the tone is heard", heard, said)?;
    holds("there is audio", bytes(&events) > 48_000, bytes(&events))?;
    let known = events.last().unwrap_or(&Value::Null);
    let ids = [text(known, "/session"), text(known, "/response")];
    holds(
        "both ids are known",
        ids.iter().all(|id| id.len() > 8),
        known,
    )?;
    let delays = ["/text_ms", "/audio_ms"].map(|delay| number(known, delay));
    let are_known = delays.iter().all(|delay| *delay >= Some(0));
    holds("the delays are known", are_known, known)
}

fn turns_by_commit(java: &Path) -> Result<(), String> {
    let events = events(java, "manual_turn")?;
    for (kind, count) in [
        ("error", 0),
        ("input_audio_buffer.cleared", 1),
        ("input_audio_buffer.committed", 2),
        ("response.done", 2),
        ("closed", 1),
    ] {
        equal(kind, of_kind(&events, kind).len(), count)?;
    }
    let answer = |kind: &str, place: &str| {
        let done = of_kind(&events, kind);
        done.first().map_or("", |done| text(done, place)).to_owned()
    };
    let first = answer("response.text.done", "/text");
    let cleared = first.contains("0.5 seconds of a tone");
    holds("cleared audio is not heard", cleared, &first)?;
    let second = answer("response.audio_transcript.done", "/transcript");
    let heard = second.contains("0.7 seconds of a tone");
    holds("the second turn is heard", heard, &second)?;
    holds(
        "the second has audio",
        bytes(&events) > 24_000,
        bytes(&events),
    )
}

fn cancelled(java: &Path) -> Result<(), String> {
    let events = events(java, "cancel")?;
    for (kind, count) in [
        ("error", 0),
        ("response.created", 2),
        ("response.output_item.done", 2),
        ("response.done", 1),
    ] {
        equal(kind, of_kind(&events, kind).len(), count)?;
    }
    Ok(())
}

fn transcripts(java: &Path) -> Result<(), String> {
    let events = events(java, "transcription")?;
    let completed = "conversation.item.input_audio_transcription.completed";
    let completed = of_kind(&events, completed);
    equal("the sentences", completed.len(), 2)?;
    for (event, seconds) in completed.into_iter().zip(["1.0", "0.5"]) {
        let heard = format!("{seconds} seconds of a tone at about 440 Hz.");
        equal("the transcript", text(event, "/transcript"), heard.as_str())?;
        equal("the language", text(event, "/language"), "en")?;
    }
    ends(&events)
}

/// The session ends before its connection.
fn ends(events: &[Value]) -> Result<(), String> {
    let kinds = kinds(events);
    let last = kinds.get(kinds.len().saturating_sub(2)..);
    let expected = ["session.finished", "closed"];
    equal("the end", last, Some(expected.as_slice()))
}

fn translated_session(java: &Path) -> Result<(), String> {
    let events = events(java, "translation_session")?;
    equal("errors", of_kind(&events, "error").len(), 0)?;
    let done = of_kind(&events, "response.audio_transcript.done");
    let said = done.first().map_or("", |done| text(done, "/transcript"));
    let is_translated = said.starts_with("[en] ") && said.contains("440 Hz");
    holds("it is translated", is_translated, said)?;
    holds("there is audio", bytes(&events) > 24_000, bytes(&events))?;
    ends(&events)
}

/// The characters of all responses.
fn characters(events: &[Value]) -> i64 {
    let done = of_kind(events, "response.done");
    let characters = done.iter();
    characters
        .filter_map(|done| number(done, "/response/usage/characters"))
        .sum()
}

fn speech(java: &Path) -> Result<(), String> {
    let events = events(java, "speech")?;
    equal("the characters", characters(&events), 22)?;
    // 60 ms at 24 kHz for each of the twelve characters.
    equal("the bytes of audio", bytes(&events), 12 * 2880)?;
    ends(&events)
}

fn speech_by_commit(java: &Path) -> Result<(), String> {
    let events = events(java, "speech_commit")?;
    for (kind, count) in [
        ("error", 0),
        ("input_text_buffer.cleared", 1),
        ("input_text_buffer.committed", 2),
        ("response.done", 2),
    ] {
        equal(kind, of_kind(&events, kind).len(), count)?;
    }
    equal("the characters", characters(&events), 9)?;
    equal("the bytes of audio", bytes(&events), 5 * 2880)?;
    ends(&events)
}

fn recognition(java: &Path) -> Result<(), String> {
    let events = events(java, "recognition")?;
    // Two of the callback, and two of the stream.
    let sentences = of_kind(&events, "sentence");
    let texts: Vec<&str> = sentences.iter().map(|event| text(event, "/text")).collect();
    equal("the sentences", texts.len(), 4)?;
    let are_heard = texts.iter().all(|text| text.contains("440 Hz"));
    holds("the tone is heard", are_heard, &texts)?;
    let seconds = of_kind(&events, "usage");
    let are_counted = seconds
        .iter()
        .all(|usage| number(usage, "/seconds") > Some(0));
    holds("the seconds are counted", are_counted, &seconds)?;
    equal("the ends", of_kind(&events, "complete").len(), 1)?;
    let id = of_kind(&events, "id");
    let id = id.first().map_or("", |id| text(id, "/id"));
    holds("the request id is known", id.len() > 8, id)
}

fn recognition_of_file(java: &Path) -> Result<(), String> {
    let answers = surfaced(java, &Server::emulator()?, "recognition_file", &[TONE])?;
    let sentences = answers.first().and_then(|answer| answer.get("sentences"));
    let last = sentences.and_then(|sentences| sentences.as_array()?.last());
    let last = last.ok_or_else(|| format!("no sentence in {answers:?}"))?;
    let heard = text(last, "/text").starts_with("2.0 seconds of a tone");
    holds("the tone is heard", heard, last)?;
    let times = ["/begin_time", "/end_time"].map(|time| number(last, time));
    equal("the times", times, [Some(0), Some(2000)])?;
    let ends = last.get("sentence_end") == Some(&true.into());
    holds("the sentence has ended", ends, last)
}

fn translation(java: &Path) -> Result<(), String> {
    // The model for conversations ends after one sentence.
    for (case, count) in [("translation", 2), ("translation_chat", 1)] {
        let events = events(java, case)?;
        let sentences = of_kind(&events, "sentence");
        equal("the sentences", sentences.len(), count)
            .map_err(|why| format!("{case}: {why}: {events:?}"))?;
        for sentence in sentences {
            let (said, english) = (text(sentence, "/text"), text(sentence, "/en"));
            holds("the tone is heard", said.contains("约 440 Hz"), said)?;
            let is_translated = english.contains("about 440 Hz");
            holds("it is translated", is_translated, english)?;
        }
        equal("the ends", of_kind(&events, "complete").len(), 1)?;
    }
    Ok(())
}

fn synthesis(java: &Path) -> Result<(), String> {
    let whole = events(java, "synthesis")?;
    let audio = whole.first().unwrap_or(&Value::Null);
    equal("the format", text(audio, "/head"), "RIFF")?;
    let streamed = events(java, "synthesis_stream")?;
    let audio = of_kind(&streamed, "audio");
    let bytes = audio.iter().filter_map(|audio| number(audio, "/bytes"));
    // 60 ms at 16 kHz for each of the six characters, by a callback and as a stream.
    equal("the bytes of audio", bytes.sum::<i64>(), 2 * 6 * 1920)?;
    equal("the ends", of_kind(&streamed, "complete").len(), 1)
}

fn failures(java: &Path) -> Result<(), String> {
    let failed = events(java, "synthesis_failed")?;
    let failed = failed.first().unwrap_or(&Value::Null);
    equal("the code", text(failed, "/error/code"), "ModelNotFound")?;
    let refused = events(java, "refused")?;
    let refused = refused.first().unwrap_or(&Value::Null);
    let is_named = text(refused, "/error/message").contains("InvalidApiKey");
    holds("the key is refused", is_named, refused)
}
