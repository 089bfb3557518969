//! Detects file names in a question that were meant as attachments.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::chat::sniffing::{self, HEAD_BYTES, Modality};

use super::error::Failure;

/// Refuses a question in which a word is an existing file, and suggests the intended command.
///
/// `before` is what the command line already attaches.
///
/// # Errors
///
/// If there is such a word.
pub(crate) fn refuse_files(words: &[String], before: &[(Modality, String)]) -> Result<(), Failure> {
    let is_file = |word: &&String| Path::new(word).is_file();
    let Some(first) = words.iter().find(is_file) else {
        return Ok(());
    };
    let failure = Failure::usage(format!("{first} is a file, not a part of the question"));
    let mut command = "dashgate ask".to_owned();
    for (modality, text) in before {
        command += &format!(" --{} {}", modality.name(), quoted(text));
    }
    let mut question = Vec::new();
    for word in words {
        match Path::new(word).is_file() {
            false => question.push(word.as_str()),
            true => match modality(word) {
                Some(modality) => command += &format!(" --{} {}", modality.name(), quoted(word)),
                None => {
                    return Err(failure
                        .with_advice(format!("as the question: dashgate ask < {}", quoted(word))));
                }
            },
        }
    }
    if !question.is_empty() {
        command += &format!(" {}", quoted(&question.join(" ")));
    }
    Err(failure.with_advice(command))
}

/// The kind of a file, by its first bytes and its name.
fn modality(path: &str) -> Option<Modality> {
    let mut head = Vec::new();
    let file = File::open(path).ok()?;
    file.take(HEAD_BYTES as u64).read_to_end(&mut head).ok()?;
    Modality::of(sniffing::mime_type(&head, path, None)?)
}

/// Quotes a word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,=@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_command_gets_a_suggestion() {
        let folder = std::env::temp_dir().join(format!("dashgate-words-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, bytes).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let two = file("two words.wav", b"RIFF....WAVEfmt ");
        let picture = file("b.png", b"\x89PNG\r\n\x1a\n");
        let notes = file("notes.txt", b"they met at noon");
        let before = [(Modality::Audio, "a.wav".to_owned())];
        let words = [two.clone(), picture.clone(), "What?".to_owned()];
        let told = refuse_files(&words, &before).unwrap_err().text();
        let command =
            format!("dashgate ask --audio a.wav --audio \"{two}\" --image {picture} \"What?\"");
        assert!(told.contains(&command), "{told}");
        let told = refuse_files(&[notes], &[]).unwrap_err().text();
        assert!(told.contains("dashgate ask < "), "{told}");
        assert!(refuse_files(&["no-such-file.wav".to_owned()], &before).is_ok());
    }
}
