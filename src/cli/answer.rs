//! An answer, assembled from the events of a stream or taken from a unary response.

use std::time::Duration;

use dashgate_client::v1 as pb;
use dashgate_client::v1::FinishReason;
use dashgate_client::v1::content::Kind;
use dashgate_client::v1::converse_stream_response::Event;
use dashgate_client::v1::delta::Part;
use prost_types::Struct;

use super::hidden_parts;
use super::terminal_text::{Piece, audio_file, heard, sources, warning};

/// The most audio of one answer that is kept: 45 minutes at DashScope's rate.
const MAX_AUDIO_BYTES: usize = 128 << 20;

/// The choice that is printed while it arrives. The others are printed after it.
const FIRST: i32 = 0;

/// An answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// The choices: one, unless `n` requested more.
    pub(crate) choices: Vec<pb::Choice>,
    /// URLs of generated images.
    pub(crate) images: Vec<String>,
    /// Bytes of audio received, which a terminal cannot play.
    pub(crate) audio_bytes: usize,
    /// Whether there was more audio than is kept.
    pub(crate) audio_cut: bool,
    /// Annotations of the input and search results, one per line.
    pub(crate) notes: Vec<String>,
    /// Sources of a web search.
    pub(crate) search_info: Option<pb::SearchInfo>,
    /// Keys without a field in the schema: of DashScope's `output`, and of the whole body.
    pub(crate) extras: [Option<Struct>; 2],
    /// Warnings of the gateway.
    pub(crate) warnings: Vec<pb::Warning>,
    /// The model that answered.
    pub(crate) model: String,
    /// The request id.
    pub(crate) request_id: String,
    /// DashScope's request id.
    pub(crate) upstream_request_id: String,
    /// The usage.
    pub(crate) usage: Option<pb::Usage>,
    /// The durations.
    pub(crate) timing: Timing,
}

/// The durations of an answer, as measured by the gateway.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timing {
    /// Time to DashScope's first event.
    pub(crate) first_event: Option<Duration>,
    /// Total time.
    pub(crate) total: Option<Duration>,
    /// Attempts at DashScope.
    pub(crate) attempts: i32,
}

impl Answer {
    /// Takes an event of a stream, and returns what is printed at once: parts of the first choice,
    /// except for incomplete ones.
    pub(crate) fn take(&mut self, event: &pb::ConverseStreamResponse) -> Option<Piece> {
        let Some(Event::Delta(delta)) = &event.event else {
            return None;
        };
        let part = delta.part.as_ref()?;
        if let Part::SearchInfo(info) = part {
            return self.note(sources(info));
        }
        if let Part::Audio(bytes) = part {
            self.audio_bytes = self.audio_bytes.saturating_add(bytes.len());
            self.audio_cut = self.audio_bytes > MAX_AUDIO_BYTES;
        }
        (delta.choice_index == FIRST).then(|| self.shown(part))?
    }

    fn shown(&mut self, part: &Part) -> Option<Piece> {
        match part {
            Part::Text(text) => Some(Piece::Text(text.clone())),
            Part::ReasoningText(text) => Some(Piece::Reasoning(text.clone())),
            Part::ImageUri(uri) => Some(self.image(uri)),
            Part::Annotation(annotation) => self.note(heard(annotation)),
            Part::AudioFile(file) => self.note(audio_file(file)),
            // Tool calls arrive in chunks and are printed when they are complete.
            Part::ToolCall(_)
            | Part::Audio(_)
            | Part::SearchInfo(_)
            | Part::Extra(_)
            | Part::MessageExtra(_)
            | Part::Logprobs(_) => None,
        }
    }

    /// Ends a stream with its complete response, and returns what was not printed before.
    pub(crate) fn complete(&mut self, response: pb::ConverseResponse) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for choice in &response.choices {
            pieces.extend(match choice.index == FIRST {
                true => self.calls(choice),
                false => self.other(choice),
            });
        }
        self.fill(response);
        pieces.extend(self.last());
        pieces
    }

    /// What other choices than the first have, for a stream that broke.
    pub(crate) fn rest(&mut self, partial: &pb::ConverseResponse) -> Vec<Piece> {
        let others = partial.choices.iter();
        let others = others.filter(|choice| choice.index != FIRST);
        others.flat_map(|choice| self.other(choice)).collect()
    }

    /// Converts a unary response, and returns what it contains.
    pub(crate) fn whole(response: pb::ConverseResponse) -> (Self, Vec<Piece>) {
        let mut answer = Self::default();
        let mut pieces = Vec::new();
        for choice in &response.choices {
            pieces.extend(match choice.index == FIRST {
                true => answer.pieces(choice),
                false => answer.other(choice),
            });
        }
        if let Some(info) = &response.search_info {
            pieces.extend(answer.note(sources(info)));
        }
        answer.fill(response);
        pieces.extend(answer.last());
        (answer, pieces)
    }

    /// Takes what is printed at the end, or as JSON.
    fn fill(&mut self, response: pb::ConverseResponse) {
        let messages = response
            .choices
            .iter()
            .filter_map(|one| one.message.as_ref());
        let sounds = messages
            .flat_map(|message| &message.content)
            .filter_map(sound);
        self.audio_bytes = sounds.map(bytes::Bytes::len).sum();
        self.model = response.model;
        self.request_id = response.request_id;
        self.upstream_request_id = response.upstream_request_id;
        self.usage = response.usage;
        self.timing = response.timing.as_ref().map(timing).unwrap_or_default();
        self.search_info = response.search_info;
        self.extras = [response.extra_output, response.extra];
        self.warnings = response.warnings;
        self.choices = response.choices;
    }

    /// A further choice, with its number and its finish reason.
    fn other(&mut self, choice: &pb::Choice) -> Vec<Piece> {
        let number = choice.index.saturating_add(1);
        let mut pieces = vec![Piece::Choice(number)];
        pieces.extend(self.pieces(choice));
        match finish(choice).as_str() {
            "stop" | "" => {}
            reason => pieces.push(Piece::Note(format!("answer {number} ended by {reason}"))),
        }
        pieces
    }

    /// The printable parts of a complete choice.
    fn pieces(&mut self, choice: &pb::Choice) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let Some(message) = &choice.message else {
            return pieces;
        };
        if !message.reasoning_text.is_empty() {
            pieces.push(Piece::Reasoning(message.reasoning_text.clone()));
        }
        for part in &message.content {
            pieces.extend(match &part.kind {
                Some(Kind::Text(text)) => Some(Piece::Text(text.clone())),
                Some(Kind::Audio(pb::Audio { file, .. })) => {
                    file.as_ref().and_then(|file| self.note(audio_file(file)))
                }
                Some(Kind::Image(image)) => match &image.source {
                    Some(pb::image::Source::Uri(uri)) => Some(self.image(uri)),
                    Some(pb::image::Source::Data(_)) | None => None,
                },
                Some(Kind::Video(_)) | None => None,
            });
        }
        for annotation in &message.annotations {
            pieces.extend(self.note(heard(annotation)));
        }
        pieces.extend(self.calls(choice));
        pieces
    }

    /// The tool calls of a choice.
    fn calls(&mut self, choice: &pb::Choice) -> Vec<Piece> {
        let calls = choice
            .message
            .iter()
            .flat_map(|message| &message.tool_calls);
        let lines = calls.map(|call| {
            let name = match call.name.is_empty() {
                true => &call.r#type,
                false => &call.name,
            };
            format!("tool call: {name} {}", call.arguments)
        });
        lines
            .filter_map(|line| self.note(line.trim_end().to_owned()))
            .collect()
    }

    /// The final lines: parts that cannot be printed, and warnings.
    fn last(&self) -> Vec<Piece> {
        let hidden = hidden_parts::line(&self.choices, self.search_info.as_ref(), &self.extras);
        let mut pieces: Vec<_> = hidden.map(Piece::Note).into_iter().collect();
        pieces.extend(self.warnings.iter().map(warning));
        pieces
    }

    fn image(&mut self, uri: &str) -> Piece {
        self.images.push(uri.to_owned());
        Piece::Image(uri.to_owned())
    }

    fn note(&mut self, line: String) -> Option<Piece> {
        if line.is_empty() {
            return None;
        }
        self.notes.push(line.clone());
        Some(Piece::Note(line))
    }

    /// The text of the first choice.
    pub(crate) fn text(&self) -> String {
        self.choices.first().map(text).unwrap_or_default()
    }

    /// The reasoning of the first choice.
    pub(crate) fn reasoning(&self) -> &str {
        let message = self.choices.first().and_then(|one| one.message.as_ref());
        message.map_or("", |message| &message.reasoning_text)
    }

    /// The finish reason of the first choice, as DashScope writes it.
    pub(crate) fn finish_reason(&self) -> String {
        self.choices.first().map(finish).unwrap_or_default()
    }

    /// The audio of the first choice that has any.
    pub(crate) fn audio(&self) -> Vec<u8> {
        let of = |choice: &pb::Choice| -> Vec<u8> {
            let parts = choice.message.iter().flat_map(|message| &message.content);
            parts.filter_map(sound).flatten().copied().collect()
        };
        let all = self.choices.iter().map(of);
        all.into_iter()
            .find(|audio| !audio.is_empty())
            .unwrap_or_default()
    }

    /// The type of that audio; empty if it is not stated.
    pub(crate) fn audio_type(&self) -> String {
        let choices = self.choices.iter().filter_map(|one| one.message.as_ref());
        let parts = choices.flat_map(|message| &message.content);
        let mut types = parts.filter_map(|part| match &part.kind {
            Some(Kind::Audio(audio)) => sound(part).map(|_| audio.mime_type.clone()),
            Some(Kind::Text(_) | Kind::Image(_) | Kind::Video(_)) | None => None,
        });
        types.next().unwrap_or_default()
    }

    /// The answer as a message of the conversation.
    pub(crate) fn message(&self) -> pb::Message {
        pb::Message {
            role: pb::Role::Assistant.into(),
            content: vec![super::attach::content(Kind::Text(self.text()))],
            ..pb::Message::default()
        }
    }
}

/// The text of a choice.
pub(crate) fn text(choice: &pb::Choice) -> String {
    let parts = choice.message.iter().flat_map(|message| &message.content);
    let texts = parts.filter_map(|part| match &part.kind {
        Some(Kind::Text(text)) => Some(text.as_str()),
        Some(Kind::Audio(_) | Kind::Image(_) | Kind::Video(_)) | None => None,
    });
    texts.collect()
}

/// The finish reason of a choice, as DashScope writes it.
pub(crate) fn finish(choice: &pb::Choice) -> String {
    let known = match choice.finish_reason() {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::Unspecified => "",
    };
    match choice.raw_finish_reason.as_str() {
        "" => known.to_owned(),
        raw => raw.to_owned(),
    }
}

/// The data of an audio part.
fn sound(part: &pb::Content) -> Option<&bytes::Bytes> {
    match &part.kind {
        Some(Kind::Audio(pb::Audio {
            source: Some(pb::audio::Source::Data(bytes)),
            ..
        })) => Some(bytes),
        _ => None,
    }
}

fn timing(timing: &pb::Timing) -> Timing {
    let span = |span: Option<prost_types::Duration>| Duration::try_from(span?).ok();
    Timing {
        first_event: span(timing.first_event),
        total: span(timing.total),
        attempts: timing.attempts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event: Event) -> pb::ConverseStreamResponse {
        pb::ConverseStreamResponse {
            sequence: 1,
            event: Some(event),
        }
    }

    fn delta(part: Part) -> pb::ConverseStreamResponse {
        event(Event::Delta(pb::Delta {
            choice_index: 0,
            part: Some(part),
            starts_part: false,
        }))
    }

    fn message(content: Vec<pb::Content>) -> pb::Message {
        pb::Message {
            content,
            ..pb::Message::default()
        }
    }

    #[test]
    fn a_stream_and_a_unary_answer_are_equal() {
        let image = pb::Image {
            source: Some(pb::image::Source::Uri("https://i".into())),
            ..pb::Image::default()
        };
        let kinds = [Kind::Text("ab".into()), Kind::Image(image)];
        let response = pb::ConverseResponse {
            choices: vec![pb::Choice {
                finish_reason: FinishReason::Stop.into(),
                message: Some(pb::Message {
                    reasoning_text: "hm".into(),
                    ..message(kinds.map(super::super::attach::content).into())
                }),
                ..pb::Choice::default()
            }],
            model: "m".into(),
            request_id: "r".into(),
            upstream_request_id: "up".into(),
            ..pb::ConverseResponse::default()
        };
        let mut streamed = Answer::default();
        let mut shown = Vec::new();
        for event in [
            delta(Part::ReasoningText("hm".into())),
            delta(Part::Text("a".into())),
            event(Event::Heartbeat(pb::Heartbeat {})),
            delta(Part::Text("b".into())),
            delta(Part::ImageUri("https://i".into())),
        ] {
            shown.extend(streamed.take(&event));
        }
        assert_eq!(shown.len(), 4);
        assert_eq!(streamed.complete(response.clone()), []);
        let (whole, pieces) = Answer::whole(response);
        assert_eq!(format!("{streamed:?}"), format!("{whole:?}"));
        assert_eq!(pieces.len(), 3);
        assert_eq!(whole.text(), "ab");
    }

    #[test]
    fn an_event_of_a_later_schema_is_skipped() {
        let mut answer = Answer::default();
        assert_eq!(answer.take(&pb::ConverseStreamResponse::default()), None);
        let unknown = event(Event::Delta(pb::Delta::default()));
        assert_eq!(answer.take(&unknown), None);
    }

    #[test]
    fn the_audio_that_is_kept_is_bounded() {
        let mut answer = Answer::default();
        let piece = delta(Part::Audio(vec![0; 1 << 20].into()));
        for _ in 0..128 {
            answer.take(&piece);
        }
        assert!(!answer.audio_cut);
        answer.take(&delta(Part::Audio(vec![0].into())));
        assert!(answer.audio_cut);
    }

    #[test]
    fn warnings_are_lines_of_their_own() {
        let warnings = vec![
            pb::Warning {
                code: "AUDIO_TRUNCATED".into(),
                field: "conversation.messages[0].content[0].audio".into(),
                message: "too long".into(),
            },
            pb::Warning {
                code: "NEW".into(),
                field: String::new(),
                message: "m".into(),
            },
        ];
        let expected = [
            "warning: AUDIO_TRUNCATED conversation.messages[0].content[0].audio: too long",
            "warning: NEW: m",
        ]
        .map(|line| Piece::Warning(line.to_owned()));
        let response = pb::ConverseResponse {
            warnings,
            ..pb::ConverseResponse::default()
        };
        assert_eq!(Answer::default().complete(response.clone()), expected);
        let (_, whole) = Answer::whole(response);
        assert_eq!(whole, expected);
    }

    fn keys(key: &str) -> Struct {
        Struct {
            fields: [(key.to_owned(), "x".into())].into(),
        }
    }

    #[test]
    fn choices_are_shown_apart_and_what_cannot_be_shown_is_named() {
        let piece = |choice_index, part| {
            event(Event::Delta(pb::Delta {
                choice_index,
                part: Some(part),
                starts_part: false,
            }))
        };
        let text = |text: &str| super::super::attach::content(Kind::Text(text.into()));
        let call = pb::ToolCall {
            name: "weather".into(),
            arguments: "{\"a\":1}".into(),
            ..pb::ToolCall::default()
        };
        let file = pb::Content {
            extra: Some(keys("file")),
            ..pb::Content::default()
        };
        let choice = |index, message| pb::Choice {
            index,
            message: Some(message),
            ..pb::Choice::default()
        };
        let first = pb::Message {
            tool_calls: vec![call.clone()],
            extra: Some(keys("refusal")),
            ..message(vec![text("first"), file])
        };
        let response = pb::ConverseResponse {
            choices: vec![
                pb::Choice {
                    extra: Some(keys("audio_metadata")),
                    ..choice(0, first)
                },
                choice(1, message(vec![text("SECOND")])),
            ],
            extra: Some(keys("metrics")),
            ..pb::ConverseResponse::default()
        };
        let mut answer = Answer::default();
        let mut pieces = Vec::new();
        for event in [
            piece(0, Part::Text("fi".into())),
            piece(1, Part::Text("SECOND".into())),
            piece(0, Part::Text("rst".into())),
            piece(0, Part::ToolCall(call)),
        ] {
            pieces.extend(answer.take(&event));
        }
        pieces.extend(answer.complete(response.clone()));
        let note = |text: &str| Piece::Note(text.into());
        assert_eq!(
            pieces,
            [
                Piece::Text("fi".into()),
                Piece::Text("rst".into()),
                note("tool call: weather {\"a\":1}"),
                Piece::Choice(2),
                Piece::Text("SECOND".into()),
                note("the answer also has a part of kind file, refusal; see --json"),
            ]
        );
        assert_eq!((answer.text().as_str(), answer.choices.len()), ("first", 2));
        // A stream that broke has the parts of other choices too.
        let second = Piece::Text("SECOND".into());
        let rest = Answer::default().rest(&response);
        assert_eq!(rest, [Piece::Choice(2), second]);
    }
}
