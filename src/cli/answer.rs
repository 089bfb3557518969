//! An answer, put together from the events of a stream or taken whole.

use std::time::Duration;

use crate::grpc::pb;
use crate::grpc::pb::FinishReason;
use crate::grpc::pb::content::Kind;
use crate::grpc::pb::converse_stream_response::Event;
use crate::grpc::pb::delta::Part;

/// The most audio of one answer that is kept: 45 minutes at DashScope's rate.
const MAX_AUDIO_BYTES: usize = 128 << 20;

/// All that an answer is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// What the model says.
    pub(crate) text: String,
    /// What it thought.
    pub(crate) reasoning: String,
    /// The addresses of pictures that it made.
    pub(crate) images: Vec<String>,
    /// How many bytes of audio it made. A terminal cannot play them.
    pub(crate) audio_bytes: usize,
    /// These bytes, as far as they are kept.
    pub(crate) audio: Vec<u8>,
    /// What it noticed, and what it searched, a line each.
    pub(crate) notes: Vec<String>,
    /// Why it ended, in DashScope's word.
    pub(crate) finish_reason: String,
    /// The model that answered.
    pub(crate) model: String,
    /// The name of the call.
    pub(crate) request_id: String,
    /// DashScope's name of the call.
    pub(crate) upstream_request_id: String,
    /// What it used.
    pub(crate) usage: Option<pb::Usage>,
    /// How long it took.
    pub(crate) timing: Timing,
    /// Whether it is complete.
    pub(crate) complete: bool,
}

/// How long an answer took, as the gateway saw it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timing {
    /// Until DashScope's first event.
    pub(crate) first_event: Option<Duration>,
    /// Until the end.
    pub(crate) total: Option<Duration>,
    /// How often DashScope was asked.
    pub(crate) attempts: i32,
}

/// What is new in an answer, for a person who watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text to read.
    Text(String),
    /// A thought.
    Reasoning(String),
    /// A picture's address.
    Image(String),
    /// A line about the answer.
    Note(String),
    /// A warning about the answer, as a line of its own.
    Warning(String),
}

impl Answer {
    /// Takes one event in, and says what is new.
    pub(crate) fn take(&mut self, event: pb::ConverseStreamResponse) -> Vec<Piece> {
        let Some(event) = event.event else {
            return Vec::new();
        };
        let piece = match event {
            Event::Started(started) => {
                self.model = started.model;
                self.request_id = started.request_id;
                self.upstream_request_id = started.upstream_request_id;
                None
            }
            Event::Delta(delta) => delta.part.and_then(|part| self.part(part)),
            Event::Heartbeat(_) => None,
            Event::Completed(completed) => {
                if let Some(end) = completed.choices.first() {
                    self.finish_reason = reason(end.finish_reason(), &end.raw_finish_reason);
                }
                self.usage = completed.usage;
                self.timing = completed.timing.as_ref().map(timing).unwrap_or_default();
                self.complete = true;
                return completed.warnings.iter().map(warning).collect();
            }
        };
        piece.into_iter().collect()
    }

    fn part(&mut self, part: Part) -> Option<Piece> {
        match part {
            Part::Text(text) => {
                self.text.push_str(&text);
                Some(Piece::Text(text))
            }
            Part::ReasoningText(text) => {
                self.reasoning.push_str(&text);
                Some(Piece::Reasoning(text))
            }
            Part::Audio(sound) => {
                self.hear(&sound);
                None
            }
            Part::ImageUri(uri) => Some(self.image(uri)),
            Part::Annotation(annotation) => self.note(heard(&annotation)),
            Part::AudioFile(file) => self.note(format!("the sound is at {}", file.uri)),
            Part::SearchInfo(info) => self.note(sources(&info)),
            Part::ToolCall(call) if !call.name.is_empty() => {
                self.note(format!("the model wants to call {}", call.name))
            }
            Part::ToolCall(_) | Part::Extra(_) | Part::MessageExtra(_) | Part::Logprobs(_) => None,
        }
    }

    fn hear(&mut self, audio: &[u8]) {
        self.audio_bytes = self.audio_bytes.saturating_add(audio.len());
        if self.audio.len().saturating_add(audio.len()) <= MAX_AUDIO_BYTES {
            self.audio.extend_from_slice(audio);
        }
    }

    fn image(&mut self, uri: String) -> Piece {
        self.images.push(uri.clone());
        Piece::Image(uri)
    }

    fn note(&mut self, line: String) -> Option<Piece> {
        if line.is_empty() {
            return None;
        }
        self.notes.push(line.clone());
        Some(Piece::Note(line))
    }

    /// Takes a whole answer, and says what is in it.
    pub(crate) fn whole(response: pb::ConverseResponse) -> (Self, Vec<Piece>) {
        let mut answer = Self {
            model: response.model,
            request_id: response.request_id,
            upstream_request_id: response.upstream_request_id,
            usage: response.usage.map(|usage| *usage),
            timing: response.timing.as_ref().map(timing).unwrap_or_default(),
            complete: true,
            ..Self::default()
        };
        let mut pieces = Vec::new();
        if let Some(choice) = response.choices.into_iter().next() {
            answer.finish_reason = reason(choice.finish_reason(), &choice.raw_finish_reason);
            pieces = answer.parts(choice.message.unwrap_or_default());
        }
        if let Some(info) = response.search_info {
            pieces.extend(answer.note(sources(&info)));
        }
        pieces.extend(response.warnings.iter().map(warning));
        (answer, pieces)
    }

    fn parts(&mut self, message: pb::Message) -> Vec<Piece> {
        let mut pieces = Vec::new();
        if !message.reasoning_text.is_empty() {
            pieces.extend(self.part(Part::ReasoningText(message.reasoning_text)));
        }
        for content in message.content {
            pieces.extend(content.kind.and_then(|kind| self.content(kind)));
        }
        for annotation in message.annotations {
            pieces.extend(self.part(Part::Annotation(annotation)));
        }
        for call in message.tool_calls {
            pieces.extend(self.part(Part::ToolCall(call)));
        }
        pieces
    }

    fn content(&mut self, kind: Kind) -> Option<Piece> {
        match kind {
            Kind::Text(text) => self.part(Part::Text(text)),
            Kind::Audio(audio) => {
                if let Some(pb::audio::Source::Data(sound)) = audio.source {
                    self.hear(&sound);
                }
                audio.file.and_then(|file| self.part(Part::AudioFile(file)))
            }
            Kind::Image(image) => match image.source? {
                pb::image::Source::Uri(uri) => Some(self.image(uri)),
                pb::image::Source::Data(_) => None,
            },
            Kind::Video(_) => None,
        }
    }

    /// The answer as a turn of the conversation.
    pub(crate) fn message(&self) -> pb::Message {
        pb::Message {
            role: pb::Role::Assistant.into(),
            content: vec![super::attach::content(Kind::Text(self.text.clone()))],
            ..pb::Message::default()
        }
    }
}

fn reason(known: FinishReason, raw: &str) -> String {
    match (raw, known) {
        ("", FinishReason::Stop) => "stop".to_owned(),
        ("", FinishReason::Length) => "length".to_owned(),
        ("", FinishReason::ToolCalls) => "tool_calls".to_owned(),
        (raw, _) => raw.to_owned(),
    }
}

fn warning(warning: &pb::Warning) -> Piece {
    let pb::Warning {
        code,
        field,
        message,
    } = warning;
    Piece::Warning(match field.is_empty() {
        true => format!("warning: {code}: {message}"),
        false => format!("warning: {code} {field}: {message}"),
    })
}

fn timing(timing: &pb::Timing) -> Timing {
    let span = |span: Option<prost_types::Duration>| Duration::try_from(span?).ok();
    Timing {
        first_event: span(timing.first_event),
        total: span(timing.total),
        attempts: timing.attempts,
    }
}

fn heard(annotation: &pb::Annotation) -> String {
    let mut words = Vec::new();
    for (name, value) in [
        ("language", &annotation.language),
        ("emotion", &annotation.emotion),
    ] {
        if !value.is_empty() {
            words.push(format!("{name} {value}"));
        }
    }
    match words.is_empty() {
        true => String::new(),
        false => format!("heard: {}", words.join(", ")),
    }
}

fn sources(info: &pb::SearchInfo) -> String {
    let line =
        |result: &pb::SearchResult| format!("[{}] {} {}", result.index, result.title, result.url);
    let lines: Vec<_> = info.search_results.iter().map(line).collect();
    lines.join("\n")
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

    #[test]
    fn a_stream_and_a_whole_answer_come_to_the_same() {
        let mut streamed = Answer::default();
        for event in [
            event(Event::Started(pb::Started {
                model: "m".into(),
                upstream_request_id: "up".into(),
                request_id: "r".into(),
            })),
            delta(Part::ReasoningText("hm".into())),
            delta(Part::Text("a".into())),
            event(Event::Heartbeat(pb::Heartbeat {})),
            delta(Part::Text("b".into())),
            delta(Part::ImageUri("https://i".into())),
            event(Event::Completed(Box::new(pb::Completed {
                choices: vec![pb::ChoiceEnd {
                    index: 0,
                    finish_reason: FinishReason::Stop.into(),
                    raw_finish_reason: "stop".into(),
                    extra: None,
                }],
                ..pb::Completed::default()
            }))),
        ] {
            streamed.take(event);
        }
        let image = pb::Image {
            source: Some(pb::image::Source::Uri("https://i".into())),
            ..pb::Image::default()
        };
        let kinds = [Kind::Text("ab".into()), Kind::Image(image)];
        let (whole, pieces) = Answer::whole(pb::ConverseResponse {
            choices: vec![pb::Choice {
                finish_reason: FinishReason::Stop.into(),
                message: Some(pb::Message {
                    reasoning_text: "hm".into(),
                    content: kinds.map(super::super::attach::content).into(),
                    ..pb::Message::default()
                }),
                ..pb::Choice::default()
            }],
            model: "m".into(),
            request_id: "r".into(),
            upstream_request_id: "up".into(),
            ..pb::ConverseResponse::default()
        });
        assert_eq!(format!("{streamed:?}"), format!("{whole:?}"));
        assert_eq!(pieces.len(), 3);
        assert_eq!(whole.text, "ab");
    }

    #[test]
    fn an_event_of_a_later_schema_is_skipped() {
        let mut answer = Answer::default();
        assert_eq!(answer.take(pb::ConverseStreamResponse::default()), []);
        let unknown = event(Event::Delta(pb::Delta::default()));
        assert_eq!(answer.take(unknown), []);
        assert!(!answer.complete);
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
        let completed = pb::Completed {
            warnings: warnings.clone(),
            ..pb::Completed::default()
        };
        let streamed = Answer::default().take(event(Event::Completed(Box::new(completed))));
        assert_eq!(streamed, expected);
        let (_, whole) = Answer::whole(pb::ConverseResponse {
            warnings,
            ..pb::ConverseResponse::default()
        });
        assert_eq!(whole, expected);
    }
}
