//! The commands of a conversation: lines that start with a slash.

use crate::chat::sniffing::Modality;

/// The output of `/help`.
pub(crate) const HELP: &str = "\
/audio F   /image F   /video F   attach a file or a URL to the next question
/system TEXT    set the system instructions; without TEXT, remove them
/model NAME     switch the model; without NAME, show the current one
/clear          clear the conversation
/usage          show the tokens used so far
/help           show this help
/quit           leave, as Ctrl-D does
Ctrl-C stops an answer. Anything else is sent as a question.";

/// The names, for completion.
pub(crate) const NAMES: [&str; 9] = [
    "/audio ", "/clear", "/help", "/image ", "/model ", "/quit", "/system ", "/usage", "/video ",
];

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Slash {
    /// Attach a file or URL.
    Attach(Modality, String),
    /// Set the system instructions; none removes them.
    System(Option<String>),
    /// Set the model; none prints the current one.
    Model(Option<String>),
    /// Clear the conversation.
    Clear,
    /// Print the usage.
    Usage,
    /// Print the commands.
    Help,
    /// Quit.
    Quit,
}

/// Parses a line: a command, an invalid command, or `None` for other lines.
pub(crate) fn read(line: &str) -> Option<Result<Slash, String>> {
    let command = line.trim().strip_prefix('/')?;
    let (name, rest) = command
        .split_once(char::is_whitespace)
        .unwrap_or((command, ""));
    let rest = rest.trim();
    let given = || (!rest.is_empty()).then(|| rest.to_owned());
    let attach = |modality: Modality| {
        given()
            .map(|text| Slash::Attach(modality, plain(&text)))
            .ok_or_else(|| format!("/{name} needs a file or a URL"))
    };
    Some(match name {
        "audio" => attach(Modality::Audio),
        "image" => attach(Modality::Image),
        "video" => attach(Modality::Video),
        "system" => Ok(Slash::System(given())),
        "model" => Ok(Slash::Model(given())),
        "clear" => Ok(Slash::Clear),
        "usage" => Ok(Slash::Usage),
        "help" => Ok(Slash::Help),
        "quit" | "exit" => Ok(Slash::Quit),
        _ => Err(format!("there is no /{name}; /help lists the commands")),
    })
}

/// Unquotes a path: in quotes, or with a backslash before spaces, as completion writes it.
fn plain(text: &str) -> String {
    for quote in ['"', '\''] {
        let inside = text
            .strip_prefix(quote)
            .and_then(|text| text.strip_suffix(quote));
        if let Some(inside) = inside {
            return inside.to_owned();
        }
    }
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => plain.extend(letters.next()),
            letter => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_a_slash_are_commands() {
        let attach = |modality, path: &str| Some(Ok(Slash::Attach(modality, path.to_owned())));
        for (line, expected) in [
            ("/audio a.wav", attach(Modality::Audio, "a.wav")),
            (
                "/image \"two words.png\"",
                attach(Modality::Image, "two words.png"),
            ),
            (
                "/image two\\ words.png",
                attach(Modality::Image, "two words.png"),
            ),
            (
                "  /video  https://h/f ",
                attach(Modality::Video, "https://h/f"),
            ),
            (
                "/system be brief",
                Some(Ok(Slash::System(Some("be brief".into())))),
            ),
            ("/system", Some(Ok(Slash::System(None)))),
            ("/model", Some(Ok(Slash::Model(None)))),
            ("/quit", Some(Ok(Slash::Quit))),
            ("what is 1/2?", None),
            ("", None),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
        assert!(read("/audio").unwrap().is_err());
        assert!(read("/loud").unwrap().unwrap_err().contains("/help"));
    }

    #[test]
    fn every_command_is_in_the_help() {
        for name in NAMES {
            assert!(HELP.contains(name.trim()), "{name}");
            assert!(include_str!("../../docs/command-line.md").contains(HELP));
            assert!(read(&format!("{name} x")).unwrap().is_ok(), "{name}");
        }
    }
}
