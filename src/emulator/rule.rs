//! The nouns of a script: when a rule applies and what it replies. Plain data.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;

use super::answer::Answer;

/// One rule of a script.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// Shown in the journal.
    pub(super) name: Option<String>,
    /// When it applies.
    pub(super) when: Match,
    /// What it replies.
    pub(super) reply: Reply,
}

/// When a rule applies: all that is given must hold.
#[derive(Clone, Debug)]
pub(super) struct Match {
    /// The path, with `*` and `?`. Without it the rule is for generation alone.
    pub(super) path: Option<String>,
    /// The model, with `*` and `?`.
    pub(super) model: Option<String>,
    /// Parts of the text of the last turn, or of the addresses of the media in it: all of them.
    pub(super) text: Vec<String>,
    /// Which of the calls that match otherwise, counted from 1.
    pub(super) count: RangeInclusive<u64>,
    /// Whether the call asks for a stream.
    pub(super) stream: Option<bool>,
}

/// What a rule replies. What is not given is as the emulator does it by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    /// An answer instead of the emulator's own.
    pub(super) answer: Option<Answer>,
    /// A refusal, instead of the answer or in the midst of it.
    pub(super) refusal: Option<Refusal>,
    /// Bytes instead of either.
    pub(super) raw: Option<Raw>,
    /// The HTTP status.
    pub(super) status: Option<u16>,
    /// Headers to set, or to leave out if there is no value.
    pub(super) headers: Vec<(String, Option<String>)>,
    /// The name of the request, instead of a new one.
    pub(super) request_id: Option<String>,
    /// When things are sent.
    pub(super) delays: Delays,
    /// How they are sent.
    pub(super) wire: Wire,
}

/// Where a refusal stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// As DashScope does: the status of a unary answer, the first event of a stream.
    #[default]
    Natural,
    /// The HTTP status and a JSON body, of a stream too.
    Http,
    /// A JSON body under HTTP 200.
    Body,
    /// An event under HTTP 200.
    Event,
    /// An event under its own HTTP status.
    Sse,
}

/// The comment `:HTTP_STATUS/NNN` of an error event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Comment {
    /// It tells the status of the refusal.
    #[default]
    True,
    /// There is none.
    Absent,
    /// It tells another status.
    Other(u16),
}

/// A refusal made by a script.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// The HTTP status.
    pub(super) status: u16,
    /// DashScope's code, or that of its object store.
    pub(super) code: String,
    /// The words.
    pub(super) message: String,
    /// Where it stands.
    pub(super) place: Place,
    /// How many frames of the answer come before it, in a stream.
    pub(super) after_chunks: usize,
    /// The comment of its event.
    pub(super) comment: Comment,
}

/// Bytes as they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Raw {
    /// The body, in pieces, each with a wait before it.
    pub(super) pieces: Vec<(Duration, Bytes)>,
}

/// When things are sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delays {
    /// Before the head of the answer.
    pub(super) head: Duration,
    /// Between the head and the first frame.
    pub(super) first: Duration,
    /// Between frames.
    pub(super) between: Duration,
    /// Comments that fill every wait after the head, this far apart.
    pub(super) heartbeat: Option<Duration>,
}

/// How a connection ends before the answer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The connection is closed in good order (FIN).
    Close,
    /// It is reset (RST).
    Reset,
    /// It stays open and nothing comes any more.
    Hang,
}

/// Where the answer is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Before the head.
    Head,
    /// After so many frames.
    Frame(usize),
    /// After so many bytes of the body.
    Byte(usize),
}

/// What ends a line of SSE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LineEnd {
    /// As DashScope does.
    #[default]
    Lf,
    /// CR LF.
    CrLf,
    /// CR alone.
    Cr,
}

/// How things are sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wire {
    /// The answer is cut.
    pub(super) cut: Option<(Cut, At)>,
    /// What ends a line.
    pub(super) line_end: LineEnd,
    /// Frames are not parted by blank lines.
    pub(super) no_blank_lines: bool,
    /// A space follows the colons.
    pub(super) space: bool,
    /// A byte order mark comes first.
    pub(super) bom: bool,
    /// Every so many bytes are sent on their own.
    pub(super) split: Option<usize>,
    /// The body is compressed.
    pub(super) gzip: bool,
    /// The body is SSE, or JSON, whatever was asked for.
    pub(super) stream: Option<bool>,
    /// The JSON of this frame, counted from 1, is broken off.
    pub(super) malformed: Option<usize>,
    /// No frame tells a reason of the end.
    pub(super) unfinished: bool,
    /// Texts are deltas, or cumulative, whatever was asked for.
    pub(super) incremental: Option<bool>,
    /// A `data:[DONE]` comes last.
    pub(super) done: bool,
}
