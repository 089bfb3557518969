//! DashScope's official SDK on the emulator's WebSockets: realtime sessions, recognition, speech.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::Case;
use super::judge::{equal, holds, json_values, text};
use super::process::ask;
use super::server::Server;
use super::tools::Tool;

/// Python takes its time to import; no session here takes long.
const LIMIT: Duration = Duration::from_secs(120);

const SCRIPT: &str = include_str!("realtime.py");

pub(crate) const CASES: &[Case] = &[
    ("sdk_holds_a_spoken_turn", Tool::Python, spoken_turn),
    ("sdk_holds_turns_by_hand", Tool::Python, manual_turns),
    (
        "sdk_goes_on_after_a_cancelled_response",
        Tool::Python,
        cancelled,
    ),
    (
        "sdk_has_transcripts_of_sentences",
        Tool::Python,
        transcripts,
    ),
    ("sdk_has_speech_of_text_in_pieces", Tool::Python, speech),
    (
        "sdk_recognizes_sentences_of_a_task",
        Tool::Python,
        recognition,
    ),
    ("sdk_translates_in_a_task", Tool::Python, translation),
    ("sdk_has_the_audio_of_a_task", Tool::Python, task_speech),
    (
        "sdk_client_holds_sessions_and_tasks",
        Tool::Python,
        new_client,
    ),
    (
        "sdk_is_refused_a_session_without_a_key",
        Tool::Python,
        refused,
    ),
];

/// The events that the SDK surfaces in a case.
fn events(python: &Path, case: &str) -> Result<Vec<Value>, String> {
    let server = Server::emulator()?;
    let mut command = Command::new(python);
    command.args(["-c", SCRIPT, server.address(), case]);
    let said = ask(&mut command, LIMIT)?;
    let log = || format!("{}\n{}\n{}", said.out, said.err, server.log());
    equal("the exit code", said.code, Some(0)).map_err(|why| format!("{why}\n{}", log()))?;
    json_values(&said.out)
}

/// The types of events; consecutive ones of a kind, and text beside audio, are one.
pub(crate) fn kinds(events: &[Value]) -> Vec<&str> {
    let kinds = events.iter().map(|event| text(event, "/type"));
    let mut kinds: Vec<&str> = kinds
        .filter(|kind| *kind != "response.audio_transcript.delta")
        .collect();
    kinds.dedup();
    kinds
}

/// The events of a type.
pub(crate) fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let found = events.iter().filter(|event| text(event, "/type") == kind);
    found.collect()
}

/// The bytes of all audio.
pub(crate) fn bytes(events: &[Value]) -> i64 {
    let deltas = of_kind(events, "response.audio.delta");
    deltas
        .iter()
        .filter_map(|event| event.get("delta")?.as_i64())
        .sum()
}

fn spoken_turn(python: &Path) -> Result<(), String> {
    let events = events(python, "vad_turn")?;
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
    ];
    equal("the events", kinds(&events).as_slice(), expected.as_slice())?;
    let done = of_kind(&events, "response.done");
    let transcript = "/response/output/0/content/0/transcript";
    let said = done.first().map_or("", |done| text(done, transcript));
    let heard = said.starts_with("I heard 1.0 seconds of a tone at about 440 Hz");
    holds("the tone was heard", heard, said)?;
    holds("there is audio", bytes(&events) > 48_000, bytes(&events))
}

fn manual_turns(python: &Path) -> Result<(), String> {
    let events = events(python, "manual_turn")?;
    let said: Vec<&str> = of_kind(&events, "response.text.done")
        .iter()
        .map(|event| text(event, "/text"))
        .collect();
    equal("the answers", said.len(), 2)?;
    holds(
        "audio is answered",
        said.concat().contains("0.5 seconds of a tone"),
        &said,
    )?;
    holds(
        "text is answered",
        said.concat().contains("You said: \"hello\""),
        &said,
    )
}

fn cancelled(python: &Path) -> Result<(), String> {
    let events = events(python, "cancel")?;
    equal("responses", of_kind(&events, "response.created").len(), 2)?;
    equal(
        "ends of items",
        of_kind(&events, "response.output_item.done").len(),
        2,
    )?;
    equal(
        "ends of responses",
        of_kind(&events, "response.done").len(),
        1,
    )
}

fn transcripts(python: &Path) -> Result<(), String> {
    let events = events(python, "transcription")?;
    let completed = "conversation.item.input_audio_transcription.completed";
    let completed = of_kind(&events, completed);
    equal("the sentences", completed.len(), 2)?;
    for event in completed {
        let transcript = text(event, "/transcript");
        holds(
            "the tone was heard",
            transcript.contains("440 Hz"),
            transcript,
        )?;
    }
    let last = kinds(&events);
    let last = last.get(last.len().saturating_sub(2)..);
    equal(
        "the end",
        last,
        Some(["session.finished", "closed"].as_slice()),
    )
}

fn speech(python: &Path) -> Result<(), String> {
    let events = events(python, "speech")?;
    let done = of_kind(&events, "response.done");
    let characters = done.iter().filter_map(|done| {
        let usage = done.pointer("/response/usage/characters");
        usage.and_then(Value::as_i64)
    });
    equal("the characters", characters.sum::<i64>(), 22)?;
    // 60 ms at 24 kHz for each of the twelve characters.
    equal("the bytes of audio", bytes(&events), 12 * 2880)
}

fn recognition(python: &Path) -> Result<(), String> {
    let events = events(python, "recognition")?;
    let sentences = of_kind(&events, "sentence");
    let ended = sentences
        .iter()
        .filter(|event| event.get("is_end") == Some(&true.into()));
    let texts: Vec<&str> = ended.map(|event| text(event, "/text")).collect();
    equal("the sentences", texts.len(), 2)?;
    holds(
        "the tone was heard",
        texts.iter().all(|text| text.contains("440 Hz")),
        &texts,
    )?;
    equal("the end", kinds(&events).last().copied(), Some("complete"))
}

fn translation(python: &Path) -> Result<(), String> {
    let events = events(python, "translation")?;
    let sentences = of_kind(&events, "sentence");
    // Two of the realtime model, and one of the other.
    equal("the sentences", sentences.len(), 3)?;
    for sentence in sentences {
        let (said, english) = (text(sentence, "/text"), text(sentence, "/en"));
        holds("the tone was heard", said.contains("约 440 Hz"), said)?;
        holds(
            "it is translated",
            english.contains("about 440 Hz"),
            english,
        )?;
    }
    equal("the ends", of_kind(&events, "complete").len(), 2)
}

fn task_speech(python: &Path) -> Result<(), String> {
    let events = events(python, "cosyvoice")?;
    let audio = events.first().unwrap_or(&Value::Null);
    equal("the format", text(audio, "/head"), "RIFF")
}

fn new_client(python: &Path) -> Result<(), String> {
    let events = events(python, "new_client")?;
    equal("sessions", of_kind(&events, "session.updated").len(), 2)?;
    equal("responses", of_kind(&events, "response.done").len(), 2)?;
    equal(
        "acknowledged ends",
        of_kind(&events, "session.finished").len(),
        1,
    )?;
    equal(
        "the end",
        kinds(&events).last().copied(),
        Some("task-finished"),
    )
}

fn refused(python: &Path) -> Result<(), String> {
    let events = events(python, "refused")?;
    let expected = ["closed", "timeout"];
    equal("the events", kinds(&events).as_slice(), expected.as_slice())
}
