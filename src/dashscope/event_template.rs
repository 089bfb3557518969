//! Decodes an event that equals an earlier one except for its texts and counts.
//!
//! Nearly all events of a stream do, and decoding them needs no JSON parser, which saves a third of
//! the work of an event. The comparison is by bytes: an event with any other difference, an escape
//! in its text, or a number in another form is read by `lenient.rs`.

use std::borrow::Cow;
use std::ops::Range;

use super::answer_json::{Body, Choice, Content, Message, Output, Part, Raw};
use super::json_text::Text;
use super::usage;
use crate::quoted;

/// The maximum length of an event that is kept, without its texts. One with a request id and all
/// known counts has a third of it.
const MAX_BYTES: usize = 1024;

/// A decoded event, and where the next may differ.
#[derive(Debug)]
pub(super) struct Template {
    /// Its bytes without its texts.
    json: String,
    slots: Vec<Slot>,
    request_id: Option<Range<usize>>,
    index: Option<i32>,
    finish_reason: Option<Range<usize>>,
    role: Option<Range<usize>>,
    content: ContentForm,
}

/// A range that may differ.
#[derive(Clone, Debug)]
struct Slot {
    holds: Holds,
    /// Its range in the kept bytes; empty for a text.
    at: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Content,
    Reasoning,
    Usage,
}

/// The form of the content.
#[derive(Clone, Copy, Debug)]
enum ContentForm {
    Missing,
    NoParts,
    Text,
    OnePart,
}

/// The ranges of the texts and counts of an event.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    content: Option<Range<usize>>,
    reasoning: Option<Range<usize>>,
    usage: Option<Range<usize>>,
}

/// Decodes an event with the template, or without it and keeps the event as the new template.
/// `None` if it is not a JSON object.
pub(super) fn read<'a>(
    template: &'a mut Option<Box<Template>>,
    json: &'a str,
    parse: impl FnOnce(&'a str) -> Option<Body<'a>>,
) -> Option<Body<'a>> {
    let found = template.as_ref().and_then(|known| known.find(json));
    if let Some(found) = found {
        return template.as_ref().map(|known| known.body(json, &found));
    }
    let body = parse(json)?;
    if let Some(next) = Template::of(json, &body) {
        *template = Some(Box::new(next));
    }
    Some(body)
}

impl Template {
    /// The template of an event whose body was decoded from this JSON. `None` if it is not of the
    /// common form: one choice with a text, and only what most models send.
    fn of(json: &str, body: &Body<'_>) -> Option<Self> {
        let Body {
            request_id,
            code: None,
            message: None,
            error: None,
            output: Some(output),
            usage,
            extra,
            warnings,
        } = body
        else {
            return None;
        };
        let choice = only_choice(output)?;
        let Choice {
            index,
            finish_reason,
            message: Some(message),
            logprobs: None,
            extra: extra_choice,
        } = choice
        else {
            return None;
        };
        let Message {
            role,
            content,
            reasoning_content,
            tool_calls: None,
            annotations: None,
            extra: extra_message,
        } = message
        else {
            return None;
        };
        let has_more = [extra, extra_choice, extra_message]
            .into_iter()
            .any(|extra| !extra.is_empty());
        if has_more || !warnings.is_empty() {
            return None;
        }
        let (content, text) = ContentForm::of(content)?;
        let texts = [text, reasoning_content.as_ref()];
        let mut template = Self {
            json: String::new(),
            slots: slots(json, texts, usage.as_ref())?,
            request_id: each(request_id, json)?,
            index: *index,
            finish_reason: each(finish_reason, json)?,
            role: each(role, json)?,
            content,
        };
        template.cut_texts(json)?;
        Some(template)
    }

    /// Keeps the bytes without the texts, and adjusts the ranges.
    fn cut_texts(&mut self, json: &str) -> Option<()> {
        let texts = self.slots.iter().filter(|slot| slot.holds != Holds::Usage);
        let texts: Vec<Range<usize>> = texts.map(|slot| slot.at.clone()).collect();
        let length: usize = texts.iter().map(ExactSizeIterator::len).sum();
        if json.len().checked_sub(length)? > MAX_BYTES {
            return None;
        }
        let moved = |range: &mut Range<usize>| {
            let before = texts.iter().filter(|text| text.end <= range.start);
            let gone: usize = before.map(ExactSizeIterator::len).sum();
            *range = range.start - gone..range.end - gone;
        };
        let mut at = 0;
        for text in &texts {
            self.json.push_str(json.get(at..text.start)?);
            at = text.end;
        }
        self.json.push_str(json.get(at..)?);
        for slot in &mut self.slots {
            let is_text = slot.holds != Holds::Usage;
            moved(&mut slot.at);
            if is_text {
                slot.at.end = slot.at.start;
            }
        }
        [
            &mut self.request_id,
            &mut self.finish_reason,
            &mut self.role,
        ]
        .into_iter()
        .flatten()
        .for_each(moved);
        Some(())
    }

    /// The ranges of texts and counts in an event that differs in nothing else.
    pub(super) fn find(&self, json: &str) -> Option<Found> {
        let (known, new) = (self.json.as_bytes(), json.as_bytes());
        let mut found = Found::default();
        let (mut before, mut at) = (0, 0);
        for slot in &self.slots {
            let same = known.get(before..slot.at.start)?;
            let rest = new.get(at..)?.strip_prefix(same)?;
            let start = at + same.len();
            let (length, place) = match slot.holds {
                Holds::Content => (text_length(rest)?, &mut found.content),
                Holds::Reasoning => (text_length(rest)?, &mut found.reasoning),
                Holds::Usage => {
                    let counts = known.get(slot.at.clone())?;
                    let length = usage::alike(counts, rest, is_whole)?;
                    (length, &mut found.usage)
                }
            };
            at = start + length;
            *place = Some(start..at);
            before = slot.at.end;
        }
        (known.get(before..) == new.get(at..)).then_some(found)
    }

    /// The body of an event with these ranges.
    pub(super) fn body<'a>(&'a self, json: &'a str, found: &Found) -> Body<'a> {
        let part = |at: &Option<Range<usize>>| Some(json.get(at.clone()?).unwrap_or_default());
        let text = |at| part(at).map(|text| Text(Cow::Borrowed(text)));
        let known = |at: &Option<Range<usize>>| {
            let text = self.json.get(at.clone()?).unwrap_or_default();
            Some(Text(Cow::Borrowed(text)))
        };
        let content = match self.content {
            ContentForm::Missing => None,
            ContentForm::NoParts => Some(Content::Parts(Vec::new())),
            ContentForm::Text => text(&found.content).map(Content::Text),
            ContentForm::OnePart => Some(Content::Parts(vec![Part {
                text: text(&found.content),
                ..Part::default()
            }])),
        };
        let message = Message {
            role: known(&self.role),
            content,
            reasoning_content: text(&found.reasoning),
            ..Message::default()
        };
        let choice = Choice {
            index: self.index,
            finish_reason: known(&self.finish_reason),
            message: Some(message),
            ..Choice::default()
        };
        Body {
            request_id: known(&self.request_id),
            output: Some(Output {
                choices: Some(vec![choice]),
                ..Output::default()
            }),
            usage: part(&found.usage).map(Raw),
            ..Body::default()
        }
    }
}

/// The one choice of an output that has nothing else.
fn only_choice<'t, 'a>(output: &'t Output<'a>) -> Option<&'t Choice<'a>> {
    let Output {
        choices: Some(choices),
        text: None,
        finish_reason: None,
        audio: None,
        search_info: None,
        finished: None,
        extra,
        is_bare: false,
    } = output
    else {
        return None;
    };
    match choices.as_slice() {
        [choice] if extra.is_empty() => Some(choice),
        _ => None,
    }
}

/// The ranges of texts and counts, in order. `None` if there is no text.
fn slots(
    json: &str,
    [content, reasoning]: [Option<&Text<'_>>; 2],
    usage: Option<&Raw<'_>>,
) -> Option<Vec<Slot>> {
    let mut slots = Vec::new();
    for (holds, text) in [(Holds::Content, content), (Holds::Reasoning, reasoning)] {
        if let Some(text) = text {
            let at = quoted_at(json, text)?;
            slots.push(Slot { holds, at });
        }
    }
    if slots.is_empty() {
        return None;
    }
    if let Some(Raw(usage)) = usage {
        let (holds, at) = (Holds::Usage, range(json, usage)?);
        slots.push(Slot { holds, at });
    }
    slots.sort_unstable_by_key(|slot| slot.at.start);
    Some(slots)
}

impl ContentForm {
    /// The form of a content, and its text.
    fn of<'t, 'a>(content: &'t Option<Content<'a>>) -> Option<(Self, Option<&'t Text<'a>>)> {
        match content {
            None => Some((Self::Missing, None)),
            Some(Content::Text(text)) => Some((Self::Text, Some(text))),
            Some(Content::Parts(parts)) => match parts.as_slice() {
                [] => Some((Self::NoParts, None)),
                [
                    Part {
                        text: Some(text),
                        image: None,
                        audio: None,
                        extra,
                    },
                ] if extra.is_empty() => Some((Self::OnePart, Some(text))),
                _ => None,
            },
        }
    }
}

/// The range of an optional text. `None` if it is present, but not borrowed from the JSON.
fn each(text: &Option<Text<'_>>, json: &str) -> Option<Option<Range<usize>>> {
    match text {
        None => Some(None),
        Some(text) => quoted_at(json, text).map(Some),
    }
}

/// The range of a text between its quotes. `None` if it had escapes, or was not quoted.
fn quoted_at(json: &str, text: &Text<'_>) -> Option<Range<usize>> {
    let Cow::Borrowed(text) = text.0 else {
        return None;
    };
    let at = range(json, text)?;
    let (before, after) = (at.start.checked_sub(1)?, at.end);
    let bytes = json.as_bytes();
    (bytes.get(before) == Some(&b'"') && bytes.get(after) == Some(&b'"')).then_some(at)
}

/// The range of a substring. `None` if it is not one.
fn range(text: &str, part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= text.len()).then_some(start..end)
}

/// The length of a text up to its closing quote. `None` if it has an escape or no end.
fn text_length(bytes: &[u8]) -> Option<usize> {
    let length = quoted::plain_length(bytes);
    (bytes.get(length) == Some(&b'"')).then_some(length)
}

/// Whether a number has the form that JSON requires.
fn is_whole(_: &[u8], number: &[u8]) -> bool {
    number.len() == 1 || number.first() != Some(&b'0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::lenient;
    use super::*;

    fn template(json: &str) -> Option<Template> {
        Template::of(json, &lenient::read(json)?)
    }

    /// The body decoded by the template, which must equal the one decoded without it.
    fn read_by(template: &Template, json: &str) -> Option<String> {
        let found = template.find(json)?;
        let body = format!("{:?}", template.body(json, &found));
        let whole = lenient::read(json).map(|body| format!("{body:?}"));
        assert_eq!(Some(&body), whole.as_ref(), "{json}");
        Some(body)
    }

    const EVENT: &str = concat!(
        r#"{"output":{"choices":[{"message":{"content":[{"text":"Hi"}],"role":"assistant"},"#,
        r#""finish_reason":"null","index":0}]},"usage":{"output_tokens":9,"total_tokens": 19,"#,
        r#""cost":1.5},"request_id":"r-1"}"#
    );

    #[test]
    fn events_that_differ_in_text_and_counts_match() {
        let known = template(EVENT).unwrap();
        for (from, to) in [
            ("Hi", "Hi"),
            ("Hi", ""),
            ("Hi", "a longer text, \u{4f60}\u{597d}, over two words"),
            (":9,", ":10,"),
            (": 19", ": 0"),
            (":1.5", ":2.5"),
        ] {
            let event = EVENT.replace(from, to);
            assert!(read_by(&known, &event).is_some(), "{event}");
        }
        let thought = concat!(
            r#"{"output":{"choices":[{"message":{"content":"","role":"assistant","#,
            r#""reasoning_content":"first"}}]}}"#
        );
        let known = template(thought).unwrap();
        let next = thought
            .replace("first", "then")
            .replace(r#""","#, r#""x","#);
        assert!(read_by(&known, &next).unwrap().contains("then"));
    }

    #[test]
    fn other_events_do_not_match() {
        let known = template(EVENT).unwrap();
        for (from, to) in [
            ("Hi", r"a\n"),
            ("Hi", "\t"),
            ("Hi", r#"x","image":"y"#),
            (":9,", ":09,"),
            (":9,", ":-9,"),
            (":9,", ":9.5,"),
            (":9,", ":,"),
            (":9,", r#":"9","#),
            (":1.5", ":1.6"),
            ("null", "stop"),
            ("r-1", "r-2"),
            ("r-1\"}", "r-1\"} "),
            ("r-1\"}", "r-1\""),
        ] {
            let event = EVENT.replacen(from, to, 1);
            assert_ne!(event, EVENT);
            assert!(read_by(&known, &event).is_none(), "{event}");
        }
    }

    #[test]
    fn events_with_more_than_a_text_are_not_templates() {
        for (from, to) in [
            ("Hi", r"a\n"),
            (r#""role""#, r#""other":1,"role""#),
            (r#""index":0"#, r#""logprobs":{"content":[]}"#),
            (r#"{"text":"Hi"}"#, r#"{"text":"Hi"},{"text":"Ho"}"#),
            (r#"{"text":"Hi"}"#, r#"{"text":7}"#),
            (r#"{"text":"Hi"}"#, ""),
            (r#""request_id""#, r#""code":"x","request_id""#),
            (r#""role""#, r#""tool_calls":[],"role""#),
            (r#""assistant""#, r#""\u0061""#),
        ] {
            let event = EVENT.replacen(from, to, 1);
            assert_ne!(event, EVENT);
            assert!(template(&event).is_none(), "{event}");
        }
        let long = EVENT.replace("r-1", &"r".repeat(MAX_BYTES));
        assert!(template(&long).is_none());
        let long = EVENT.replace("Hi", &"x".repeat(10 * MAX_BYTES));
        assert!(template(&long).is_some(), "its text is not kept");
    }

    fn event() -> impl Strategy<Value = String> {
        let text = r#"[a-c\\" ]{0,3}"#;
        (text, text, any::<u8>(), 0..6_u8, "[0-9.:e-]{1,3}").prop_map(|(one, two, n, form, odd)| {
            let content = match form {
                0 => format!(r#"[{{"text":"{one}"}}]"#),
                1 => format!(r#""{one}""#),
                2 => "[]".to_owned(),
                3 => format!(r#"[{{"text":"{one}","text":"{two}"}}]"#),
                4 => "null".to_owned(),
                _ => format!(r#"[{{"text":{n}}}]"#),
            };
            let message = format!(r#"{{"content":{content},"reasoning_content":"{two}"}}"#);
            let output = format!(r#"{{"choices":[{{"message":{message}}}]}}"#);
            format!(r#"{{"usage":{{"a":{n},"b":{{"c":{odd}}}}},"output":{output}}}"#)
        })
    }

    proptest! {
        #[test]
        fn a_matching_event_decodes_as_without_a_template(first in event(), next in event()) {
            if let Some(known) = template(&first) {
                read_by(&known, &first).expect("an event fits itself");
                read_by(&known, &next);
            }
        }

        #[test]
        fn matching_mutations_decode_as_without_a_template(
            at in 0..EVENT.len(), byte in 0x20..0x7f_u8, insert in any::<bool>()
        ) {
            let known = template(EVENT).unwrap();
            let mut event = EVENT.as_bytes().to_vec();
            match insert {
                true => event.insert(at, byte),
                false => event[at] = byte,
            }
            read_by(&known, &String::from_utf8(event).unwrap());
        }
    }
}
