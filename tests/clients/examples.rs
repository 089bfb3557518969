//! The examples of every language, against the real binary and its embedded DashScope.

use super::language::Language;
use super::place;
use super::server::Server;

/// What the embedded DashScope begins every answer with.
const ANSWERED: &str = "[embedded DashScope emulator]";
/// What it measures of the sound that the examples are given: one wrong byte changes it.
const MEASURED: &str = "CRC32 f44c3a80";

/// Each example with what its output must hold. Those that hear are given sounds.
pub(crate) const ALL: [(&str, &[&str]); 5] = [
    ("ask", &[ANSWERED]),
    ("stream", &[ANSWERED]),
    ("conversation", &[ANSWERED, MEASURED]),
    ("tools", &[ANSWERED]),
    ("live", &LIVE),
];

/// What the example of live sessions must print: what was heard, what was answered, and how much
/// was spoken.
const LIVE: [&str; 3] = ["You: ", "Model: ", "bytes of speech"];

/// Runs one.
pub(crate) fn run(language: Language, name: &str, needs: &[&str]) -> Result<(), String> {
    let server = Server::embedded()?;
    let [sentence, tone] = ["sentence-en.wav", "tone.wav"].map(place::example);
    let (sentence, tone) = (sentence.display().to_string(), tone.display().to_string());
    let mut arguments = vec!["example", name];
    match name {
        // Its second argument, where it has one, is a question.
        "ask" | "live" => arguments.push(&sentence),
        "conversation" => arguments.extend([sentence.as_str(), tone.as_str()]),
        _ => {}
    }
    let said = language.does(&arguments, Some(server.address()))?;
    for need in needs {
        if !said.out.contains(need) {
            return Err(format!("{need:?} is not in what it said:\n{}", said.told()));
        }
    }
    Ok(())
}
