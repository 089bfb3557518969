//! DashScope's official SDK for Java on the emulator's HTTP API.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::Case;
use super::judge::{ANSWER, equal, hears_the_tone, holds, json_values, number, text};
use super::process::ask;
use super::server::Server;
use super::tools::Tool;

/// Far longer than a virtual machine takes to start; no call here takes long.
const LIMIT: Duration = Duration::from_secs(120);

const TONE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tone.wav");

const WORDS: &str = "/output/choices/0/message/content/0/text";
const FINISH: &str = "/output/choices/0/finish_reason";

pub(crate) const CASES: &[Case] = &[
    (
        "java_sdk_returns_a_whole_answer",
        Tool::JavaSdk,
        whole_answer,
    ),
    ("java_sdk_streams_text_in_parts", Tool::JavaSdk, parts),
    ("java_sdk_streams_text_that_grows", Tool::JavaSdk, growing),
    ("java_sdk_uploads_a_file", Tool::JavaSdk, upload),
    (
        "java_sdk_streams_text_and_audio",
        Tool::JavaSdk,
        spoken_answer,
    ),
    ("java_sdk_returns_a_tool_call", Tool::JavaSdk, tool_call),
    ("java_sdk_transcribes_a_file", Tool::JavaSdk, transcript),
    (
        "java_sdk_returns_speech_of_text",
        Tool::JavaSdk,
        text_to_speech,
    ),
    ("java_sdk_reports_refused_calls", Tool::JavaSdk, refusals),
];

/// What the SDK surfaces in a case; `more` are the arguments that the case takes.
pub(crate) fn surfaced(
    java: &Path,
    server: &Server,
    case: &str,
    more: &[&str],
) -> Result<Vec<Value>, String> {
    let mut command = Command::new("java");
    command.arg(format!("@{}", java.display()));
    command.args(["Sdk", server.address(), case]).args(more);
    let said = ask(&mut command, LIMIT)?;
    let log = || format!("{}\n{}\n{}", said.out, said.err, server.log());
    equal("the exit code", said.code, Some(0)).map_err(|why| format!("{why}\n{}", log()))?;
    let values = json_values(&said.out)?;
    holds("there is an answer", !values.is_empty(), &said)?;
    Ok(values)
}

fn answers(java: &Path, case: &str, more: &[&str]) -> Result<Vec<Value>, String> {
    let answers = surfaced(java, &Server::emulator()?, case, more)?;
    for answer in answers.iter().filter(|answer| !is_end(answer)) {
        equal("the status", number(answer, "/status_code"), Some(200))
            .map_err(|why| format!("{why}: {answer}"))?;
        let id = text(answer, "/requestId");
        holds("it has an id", id.len() > 8, answer)?;
    }
    Ok(answers)
}

/// Whether it is the end of what a callback receives.
fn is_end(value: &Value) -> bool {
    text(value, "/type") == "complete"
}

fn one(java: &Path, case: &str, more: &[&str]) -> Result<Value, String> {
    let answers = answers(java, case, more)?;
    equal("the number of answers", answers.len(), 1)?;
    Ok(answers.into_iter().next().unwrap_or_default())
}

fn usage(answer: &Value) -> Result<(), String> {
    equal("the finish reason", text(answer, FINISH), "stop")?;
    let counts = [
        "/usage/input_tokens",
        "/usage/audio_tokens",
        "/usage/output_tokens",
    ];
    let counts = counts.map(|name| number(answer, name));
    equal("the usage", counts, [Some(1276), Some(768), Some(19)])
}

fn whole_answer(java: &Path) -> Result<(), String> {
    let answer = one(java, "call", &[])?;
    equal("the text", text(&answer, WORDS), ANSWER)?;
    usage(&answer)?;
    let received = answers(java, "callback", &[])?;
    equal("what the callback receives", received.len(), 2)?;
    let [answer, end] = received.as_slice() else {
        return Err(format!("an answer and an end: {received:?}"));
    };
    equal("the text", text(answer, WORDS), ANSWER)?;
    holds("it ends", is_end(end), end)
}

fn streamed(java: &Path, case: &str) -> Result<Vec<Value>, String> {
    let mut answers = answers(java, case, &[])?;
    answers.retain(|answer| !is_end(answer));
    holds("it comes in parts", answers.len() > 2, &answers)?;
    let (last, before) = answers.split_last().ok_or("no answer")?;
    for answer in before {
        holds("it has not ended", text(answer, FINISH) != "stop", answer)?;
    }
    usage(last)?;
    Ok(answers)
}

fn parts(java: &Path) -> Result<(), String> {
    for case in ["parts", "stream_callback"] {
        let answers = streamed(java, case)?;
        let parts: Vec<&str> = answers.iter().map(|answer| text(answer, WORDS)).collect();
        holds("no part is all of it", !parts.contains(&ANSWER), &parts)?;
        equal("the parts together", parts.concat().as_str(), ANSWER)?;
    }
    Ok(())
}

fn growing(java: &Path) -> Result<(), String> {
    let answers = streamed(java, "growing")?;
    let mut before = "";
    for answer in &answers {
        let now = text(answer, WORDS);
        let both = (before, now);
        holds("it extends the text before", now.starts_with(before), both)?;
        before = now;
    }
    equal("the last text", before, ANSWER)
}

fn upload(java: &Path) -> Result<(), String> {
    let server = Server::emulator()?;
    let answers = surfaced(java, &server, "upload", &[TONE])?;
    let answer = answers.first().ok_or("no answer")?;
    hears_the_tone(text(answer, WORDS), number(answer, "/usage/audio_tokens"))?;
    let journal = server.fetch("/emulator/journal")?;
    for step in ["getPolicy", "oss://", "multimodal-generation"] {
        holds(step, journal.contains(step), &journal)?;
    }
    Ok(())
}

fn spoken_answer(java: &Path) -> Result<(), String> {
    let answers = answers(java, "spoken_answer", &[])?;
    let content = |name: &str| {
        let place = format!("/output/choices/0/message/content/0/{name}");
        let parts = answers.iter().map(|answer| text(answer, &place));
        parts.collect::<String>()
    };
    let words = content("text");
    holds(
        "there is text",
        words.contains("welcome") || words.contains("Audio"),
        &words,
    )?;
    let audio = content("audio/data").len();
    holds("there is audio", audio > 10_000, audio)?;
    let last = answers.last().ok_or("no answer")?;
    equal("the finish reason", text(last, FINISH), "stop")?;
    let spoken = number(last, "/usage/output_tokens_details/audio_tokens");
    holds("audio is in the usage", spoken > Some(0), last)
}

fn tool_call(java: &Path) -> Result<(), String> {
    let answer = one(java, "tool_call", &[])?;
    equal("the finish reason", text(&answer, FINISH), "tool_calls")?;
    let called = "/output/choices/0/message/tool_calls/0/function";
    let name = text(&answer, &format!("{called}/name"));
    equal("the tool", name, "get_weather")?;
    let arguments = text(&answer, &format!("{called}/arguments"));
    let is_there = arguments.starts_with("{\"city\":");
    holds("the argument is there", is_there, &answer)
}

fn transcript(java: &Path) -> Result<(), String> {
    let answer = one(java, "transcript", &[TONE])?;
    let heard = text(&answer, WORDS).contains("440");
    holds("the pitch is heard", heard, &answer)?;
    let language = "/output/choices/0/message/annotations/0/language";
    equal("the language", text(&answer, language), "en")?;
    equal("the seconds", number(&answer, "/usage/seconds"), Some(2))
}

fn text_to_speech(java: &Path) -> Result<(), String> {
    let answers = answers(java, "text_to_speech", &[])?;
    let (whole, streamed) = answers.split_first().ok_or("no answer")?;
    for (what, answer) in [("whole", Some(whole)), ("streamed", streamed.last())] {
        let answer = answer.ok_or_else(|| format!("no {what} answer"))?;
        let url = text(answer, "/output/audio/url");
        holds("it names a file", url.ends_with(".wav"), answer)?;
        let characters = number(answer, "/usage/characters");
        equal("the characters", characters, Some(10))?;
    }
    let data = streamed
        .iter()
        .map(|answer| text(answer, "/output/audio/data").len());
    let length = data.sum::<usize>();
    holds("the audio is streamed", length > 10_000, length)
}

fn refusals(java: &Path) -> Result<(), String> {
    let server = Server::emulator()?;
    for (case, times, status, code) in [
        ("wrong_key", 1, 401, "InvalidApiKey"),
        // As an answer, and as a stream.
        ("wrong_parameter", 2, 400, "InvalidParameter"),
        ("unknown_model", 1, 404, "ModelNotFound"),
    ] {
        let errors = surfaced(java, &server, case, &[])?;
        equal("the number of errors", errors.len(), times)?;
        for error in &errors {
            let found = number(error, "/error/statusCode");
            equal("the status", found, Some(status)).map_err(|why| format!("{why}: {error}"))?;
            equal("the code", text(error, "/error/code"), code)?;
            let parts = ["/error/message", "/error/requestId"].map(|place| text(error, place));
            let are_there = parts.iter().all(|part| part.len() > 8);
            holds("it has a message and an id", are_there, error)?;
        }
    }
    Ok(())
}
