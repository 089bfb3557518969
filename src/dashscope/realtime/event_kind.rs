//! The types of DashScope's events, as a table.

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventKind {
    /// The session exists.
    SessionCreated,
    /// The configuration was changed.
    SessionUpdated,
    /// The session is complete.
    SessionFinished,
    /// The start of speech.
    SpeechStarted,
    /// The end of speech.
    SpeechStopped,
    /// The input became an item.
    Committed,
    /// An item exists.
    ItemCreated,
    /// A part of a transcript of input.
    Transcript(Speech),
    /// A whole transcript of input.
    TranscriptDone(Speech),
    /// A transcription failed.
    TranscriptFailed,
    /// Voiceprints were refused.
    VoiceprintsFailed,
    /// The beginning or the end of a response, or of something in it.
    Response(Step),
    /// A part of a response.
    Delta(Content),
    /// The content of a response so far, in this key.
    Snapshot(Content, &'static str),
    /// A refusal or an error.
    Error,
    /// Without consequence.
    Ignored,
}

/// The speech that a transcript is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    /// A turn.
    Turn,
    /// Speech that is no turn.
    Ambient,
}

/// A step of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It has started.
    Created,
    /// An item has started.
    ItemAdded,
    /// An item is complete.
    ItemDone,
    /// Arguments of a tool call.
    Arguments,
    /// All arguments of a tool call.
    ArgumentsDone,
    /// It has ended.
    Done,
}

/// The content of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Written text.
    Text,
    /// Spoken words.
    Transcript,
    /// Audio.
    Audio,
}

impl EventKind {
    /// The kind of a type, if it is known.
    pub(super) fn of(name: &str) -> Option<Self> {
        let row = EVENTS.iter().find(|(known, _)| *known == name);
        row.map(|(_, kind)| *kind)
    }

    /// The names of all known types.
    #[cfg(test)]
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        EVENTS.iter().map(|(name, _)| *name)
    }
}

type Kind = EventKind;

const TURN: Speech = Speech::Turn;
const AMBIENT: Speech = Speech::Ambient;

/// The prefix of the transcription of a turn is repeated: each row is what is on the wire.
#[rustfmt::skip]
static EVENTS: &[(&str, EventKind)] = &[
    ("session.created", Kind::SessionCreated),
    ("session.updated", Kind::SessionUpdated),
    ("session.finished", Kind::SessionFinished),
    ("input_audio_buffer.speech_started", Kind::SpeechStarted),
    ("input_audio_buffer.speech_stopped", Kind::SpeechStopped),
    ("input_audio_buffer.committed", Kind::Committed),
    ("input_audio_buffer.cleared", Kind::Ignored),
    ("input_text_buffer.committed", Kind::Ignored),
    ("input_text_buffer.cleared", Kind::Ignored),
    ("conversation.item.created", Kind::ItemCreated),
    ("conversation.item.retrieved", Kind::Ignored),
    ("conversation.item.deleted", Kind::Ignored),
    ("conversation.item.input_audio_transcription.delta", Kind::Transcript(TURN)),
    ("conversation.item.input_audio_transcription.text", Kind::Transcript(TURN)),
    ("conversation.item.input_audio_transcription.completed", Kind::TranscriptDone(TURN)),
    ("conversation.item.input_audio_transcription.failed", Kind::TranscriptFailed),
    ("conversation.item.ambient_audio_transcription.delta", Kind::Transcript(AMBIENT)),
    ("conversation.item.ambient_audio_transcription.text", Kind::Transcript(AMBIENT)),
    ("conversation.item.ambient_audio_transcription.completed", Kind::TranscriptDone(AMBIENT)),
    ("voiceprint_audio_list.in_progress", Kind::Ignored),
    ("voiceprint_audio_list.completed", Kind::Ignored),
    ("voiceprint_audio_list.failed", Kind::VoiceprintsFailed),
    ("response.created", Kind::Response(Step::Created)),
    ("response.output_item.added", Kind::Response(Step::ItemAdded)),
    ("response.output_item.done", Kind::Response(Step::ItemDone)),
    ("response.content_part.added", Kind::Ignored),
    ("response.content_part.done", Kind::Ignored),
    ("response.text.delta", Kind::Delta(Content::Text)),
    ("response.text.text", Kind::Snapshot(Content::Text, "text")),
    ("response.text.done", Kind::Snapshot(Content::Text, "text")),
    ("response.audio_transcript.delta", Kind::Delta(Content::Transcript)),
    ("response.audio_transcript.text", Kind::Snapshot(Content::Transcript, "text")),
    ("response.audio_transcript.done", Kind::Snapshot(Content::Transcript, "transcript")),
    ("response.audio.delta", Kind::Delta(Content::Audio)),
    ("response.audio.done", Kind::Ignored),
    ("response.function_call_arguments.delta", Kind::Response(Step::Arguments)),
    ("response.function_call_arguments.done", Kind::Response(Step::ArgumentsDone)),
    ("response.done", Kind::Response(Step::Done)),
    ("error", Kind::Error),
];
