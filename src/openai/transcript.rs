//! The language before the text of a speech recognition: `language English<asr_text>Hello.`
//!
//! Qwen3-ASR generates it, and servers that run the model pass it on as text. DashScope reports it
//! as an annotation with a code, and so does this module. The text may come in any pieces.

use std::borrow::Cow;

use super::dialect::Dialect;
use crate::dashscope::answer_json::{Annotation, Content, Message, Part};
use crate::dashscope::json_text::Text;

/// The words before the name of the language.
const BEFORE: &str = "language ";

/// The token between the name and the text.
const AFTER: &str = "<asr_text>";

/// The name if there is no speech.
const NONE: &str = "None";

/// The longest name. Those of the model have 25 characters at most.
const MAX_NAME: usize = 64;

/// The most choices whose texts are examined: as many as an answer has.
const MAX_CHOICES: usize = 64;

/// DashScope's type of such an annotation.
const AUDIO_INFO: &str = "audio_info";

/// The languages of the model, with DashScope's codes.
const LANGUAGES: [(&str, &str); 30] = [
    ("Arabic", "ar"),
    ("Cantonese", "yue"),
    ("Chinese", "zh"),
    ("Czech", "cs"),
    ("Danish", "da"),
    ("Dutch", "nl"),
    ("English", "en"),
    ("Filipino", "fil"),
    ("Finnish", "fi"),
    ("French", "fr"),
    ("German", "de"),
    ("Greek", "el"),
    ("Hindi", "hi"),
    ("Hungarian", "hu"),
    ("Indonesian", "id"),
    ("Italian", "it"),
    ("Japanese", "ja"),
    ("Korean", "ko"),
    ("Macedonian", "mk"),
    ("Malay", "ms"),
    ("Persian", "fa"),
    ("Polish", "pl"),
    ("Portuguese", "pt"),
    ("Romanian", "ro"),
    ("Russian", "ru"),
    ("Spanish", "es"),
    ("Swedish", "sv"),
    ("Thai", "th"),
    ("Turkish", "tr"),
    ("Vietnamese", "vi"),
];

/// Removes the language from the texts of an answer.
#[derive(Debug)]
pub(super) struct LanguagePrefix {
    is_possible: bool,
    /// The index of each choice, and the beginning of its text while that may be a language.
    choices: Vec<(i32, Option<String>)>,
}

/// What a text begins with.
#[derive(Debug, PartialEq, Eq)]
enum Beginning<'t> {
    /// Perhaps a language, of which more must come.
    Incomplete,
    /// A language, before this text.
    Language(&'t str, &'t str),
    Other,
}

impl LanguagePrefix {
    /// For an answer of this kind of server. DashScope removes the language itself, and spoken
    /// answers have none.
    pub(super) fn of(dialect: &Dialect, has_audio: bool) -> Self {
        Self {
            is_possible: !dialect.is_dashscope() && !has_audio,
            choices: Vec::new(),
        }
    }

    /// Excludes a language, unless a text is withheld already: the answer is a spoken one.
    pub(super) fn exclude(&mut self) {
        let is_withheld = |text: &Option<String>| text.as_ref().is_some_and(|t| !t.is_empty());
        self.is_possible &= self.choices.iter().any(|(_, text)| is_withheld(text));
    }

    /// Whether it is known of each choice whether its text begins with a language.
    pub(super) fn is_known(&self) -> bool {
        let all_known = || self.choices.iter().all(|(_, withheld)| withheld.is_none());
        !self.is_possible || !self.choices.is_empty() && all_known()
    }

    /// Removes the language from the message of a choice, or withholds its text until it is known
    /// whether it is one. Nothing is withheld at the end of the choice.
    pub(super) fn remove<'a>(
        &mut self,
        index: i32,
        message: Option<Message<'a>>,
        is_end: bool,
    ) -> Option<Message<'a>> {
        if !self.is_possible {
            return message;
        }
        let at = match self.choices.iter().position(|(known, _)| *known == index) {
            Some(at) => at,
            None if self.choices.len() >= MAX_CHOICES => return message,
            None => {
                self.choices.push((index, Some(String::new())));
                self.choices.len() - 1
            }
        };
        let Some((_, withheld)) = self.choices.get_mut(at) else {
            return message;
        };
        let Some(before) = withheld.take() else {
            return message;
        };
        let mut message = match message {
            None if before.is_empty() => {
                *withheld = (!is_end).then_some(before);
                return None;
            }
            message => message.unwrap_or_default(),
        };
        *withheld = examine(&mut message, before, is_end);
        Some(message)
    }
}

/// Examines a message after a text that was withheld. Returns what is withheld now.
fn examine(message: &mut Message<'_>, before: String, is_end: bool) -> Option<String> {
    let text = match &mut message.content {
        Some(Content::Text(Text(text))) => std::mem::take(text),
        Some(Content::Parts(_)) => {
            restore(message, before);
            return None;
        }
        None => Cow::default(),
    };
    // A recognition has neither.
    let is_other = !Text::or_empty(&message.reasoning_content).is_empty()
        || message
            .tool_calls
            .as_ref()
            .is_some_and(|calls| !calls.is_empty());
    if before.is_empty() {
        let is_undecided = text.is_empty() && !is_end && !is_other;
        if is_other || text.is_empty() || matches!(beginning(&text), Beginning::Other) {
            // As it was, so that it is still a part of its JSON.
            if message.content.is_some() {
                message.content = Some(Content::Text(Text(text)));
            }
            return is_undecided.then_some(before);
        }
    }
    let all = before + &text;
    let (rest, withheld) = match beginning(&all) {
        _ if is_other => (all, None),
        Beginning::Incomplete if !is_end => (String::new(), Some(all)),
        Beginning::Incomplete | Beginning::Other => (all, None),
        Beginning::Language(name, rest) => {
            let rest = rest.to_owned();
            annotate(message, name);
            (rest, None)
        }
    };
    message.content = Some(Content::Text(Text(Cow::Owned(rest))));
    // Events that equal this one are not alike: their texts are complete.
    message.annotations.get_or_insert_default();
    withheld
}

/// Puts a text that was withheld before the parts of a message.
fn restore(message: &mut Message<'_>, before: String) {
    if let Some(Content::Parts(parts)) = &mut message.content
        && !before.is_empty()
    {
        let part = Part {
            text: Some(Text(Cow::Owned(before))),
            ..Part::default()
        };
        parts.insert(0, part);
    }
}

fn annotate(message: &mut Message<'_>, name: &str) {
    let name = name.trim();
    if name.is_empty() || name == NONE {
        return;
    }
    let known = LANGUAGES.iter().find(|(known, _)| *known == name);
    let language = match known {
        Some((_, code)) => Cow::Borrowed(*code),
        None => Cow::Owned(name.to_owned()),
    };
    message
        .annotations
        .get_or_insert_default()
        .push(Annotation {
            kind: Some(Text(Cow::Borrowed(AUDIO_INFO))),
            language: Some(Text(language)),
            ..Annotation::default()
        });
}

fn beginning(text: &str) -> Beginning<'_> {
    let Some(name_on) = text.strip_prefix(BEFORE) else {
        return match BEFORE.starts_with(text) {
            true => Beginning::Incomplete,
            false => Beginning::Other,
        };
    };
    let (name, token_on) = match name_on.find('<') {
        Some(at) => name_on.split_at(at),
        None => (name_on, ""),
    };
    if name.len() > MAX_NAME || name.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Beginning::Other;
    }
    match token_on.strip_prefix(AFTER) {
        Some(rest) => Beginning::Language(name, rest),
        None if AFTER.starts_with(token_on) => Beginning::Incomplete,
        None => Beginning::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message<'_> {
        Message {
            content: Some(Content::Text(Text(Cow::Borrowed(text)))),
            ..Message::default()
        }
    }

    /// The text and the language of a text that comes in these pieces.
    fn read(pieces: &[&str]) -> (String, Option<String>) {
        let mut prefix = LanguagePrefix::of(Dialect::VLLM, false);
        let (mut all, mut language) = (String::new(), None);
        let mut take = |message: Option<Message<'_>>| {
            let Some(message) = message else { return };
            if let Some(Content::Text(Text(text))) = message.content {
                all.push_str(&text);
            }
            for note in message.annotations.into_iter().flatten() {
                assert_eq!(Text::or_empty(&note.kind), "audio_info");
                language = note.language.map(|Text(text)| text.into_owned());
            }
        };
        for piece in pieces {
            take(prefix.remove(0, Some(message(piece)), false));
        }
        take(prefix.remove(0, None, true));
        assert!(prefix.is_known());
        (all, language)
    }

    #[test]
    fn a_language_is_found_in_any_pieces() {
        for (text, expected, language) in [
            ("language English<asr_text>Hi <b>.", "Hi <b>.", Some("en")),
            ("language Chinese<asr_text>欢迎。", "欢迎。", Some("zh")),
            ("language None<asr_text>", "", None),
            (
                "language Klingon<asr_text>nuqneH",
                "nuqneH",
                Some("Klingon"),
            ),
            ("language English", "language English", None),
            ("language models are", "language models are", None),
            (
                "language of English<asr_text>b",
                "language of English<asr_text>b",
                None,
            ),
            ("language a<b", "language a<b", None),
            ("language English<asr_tex", "language English<asr_tex", None),
            ("language a\n<asr_text>b", "language a\n<asr_text>b", None),
            (
                " language English<asr_text>b",
                " language English<asr_text>b",
                None,
            ),
            ("l", "l", None),
            ("Hello", "Hello", None),
            ("", "", None),
        ] {
            let expected = (expected.to_owned(), language.map(str::to_owned));
            for (at, _) in text.char_indices().chain([(text.len(), ' ')]) {
                let (first, second) = text.split_at(at);
                assert_eq!(read(&[first, second]), expected, "{text:?} {at}");
                assert_eq!(read(&["", first, "", second]), expected, "{text:?} {at}");
            }
            let letters: Vec<String> = text.chars().map(String::from).collect();
            let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
            assert_eq!(read(&letters), expected, "{text:?}");
        }
    }

    #[test]
    fn a_name_has_a_limit() {
        let name = |length: usize| format!("{BEFORE}{}", "x".repeat(length));
        assert_eq!(beginning(&name(MAX_NAME)), Beginning::Incomplete);
        assert_eq!(beginning(&name(MAX_NAME + 1)), Beginning::Other);
    }

    #[test]
    fn each_choice_has_a_language_of_its_own() {
        let mut prefix = LanguagePrefix::of(Dialect::VLLM, false);
        prefix.remove(0, Some(message("Hello")), false);
        assert!(prefix.is_known());
        let held = prefix.remove(1, Some(message("language ")), false).unwrap();
        assert!(!prefix.is_known() && !held.has_content());
        let rest = prefix.remove(1, Some(message("is")), true).unwrap();
        assert!(matches!(rest.content, Some(Content::Text(Text(text))) if text == "language is"));
    }

    #[test]
    fn dashscope_removes_the_language_itself() {
        let mut prefix = LanguagePrefix::of(Dialect::DASHSCOPE, false);
        assert!(prefix.is_known());
        let text = "language English<asr_text>Hi";
        let same = prefix.remove(0, Some(message(text)), true).unwrap();
        assert!(matches!(same.content, Some(Content::Text(Text(same))) if same == text));
    }
}
