//! The examples of every language, against the real binary and its embedded DashScope.

use super::language::Language;
use super::place;
use super::server::Server;

/// What the embedded DashScope begins every answer with.
const ANSWERED: &str = "[embedded DashScope emulator]";
/// What it measures of the sound that the examples are given: one wrong byte changes it.
const MEASURED: &str = "CRC32 f44c3a80";

/// Each example with what its output must hold. All are given two sounds, and take what they need.
pub(crate) const ALL: [(&str, &[&str]); 4] = [
    ("ask", &[ANSWERED]),
    ("stream", &[ANSWERED]),
    ("conversation", &[ANSWERED, MEASURED]),
    ("tools", &[ANSWERED]),
];

/// Runs one.
pub(crate) fn run(language: Language, name: &str, needs: &[&str]) -> Result<(), String> {
    let server = Server::embedded()?;
    let sounds = ["sentence-en.wav", "tone.wav"].map(place::example);
    let sounds = sounds.map(|sound| sound.display().to_string());
    let arguments = match name {
        "ask" | "conversation" => ["example", name, &sounds[0], &sounds[1]].to_vec(),
        _ => ["example", name].to_vec(),
    };
    let arguments = match name {
        // Its second argument is a question where it has one.
        "ask" => arguments.get(..3).unwrap_or(&arguments),
        _ => &arguments,
    };
    let said = language.does(arguments, Some(server.address()))?;
    for need in needs {
        if !said.out.contains(need) {
            return Err(format!("{need:?} is not in what it said:\n{}", said.told()));
        }
    }
    Ok(())
}
