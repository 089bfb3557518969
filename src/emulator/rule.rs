//! The data model of a script: when a rule applies and what it replies.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;

use super::answer::Answer;

/// One rule of a script.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// Name, shown in the journal.
    pub(super) name: Option<String>,
    /// When it applies.
    pub(super) when: Match,
    /// What it replies.
    pub(super) reply: Reply,
}

/// The conditions of a rule, all of which must hold.
#[derive(Clone, Debug)]
pub(super) struct Match {
    /// Pattern of the path, with `*` and `?`. Default: the generation endpoint.
    pub(super) path: Option<String>,
    /// Pattern of the model, with `*` and `?`.
    pub(super) model: Option<String>,
    /// Substrings of the text of the last message or of its media URLs, all of which must occur.
    pub(super) text: Vec<String>,
    /// Which of the calls that match otherwise, counted from 1.
    pub(super) count: RangeInclusive<u64>,
    /// Whether the call requests a stream.
    pub(super) stream: Option<bool>,
}

/// The reply of a rule. Whatever is absent is as the emulator does it by default.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    /// The answer, in place of the generated one.
    pub(super) answer: Option<Answer>,
    /// An error, in place of the answer or within it.
    pub(super) refusal: Option<Refusal>,
    /// Bytes, in place of both.
    pub(super) raw: Option<Raw>,
    /// The HTTP status.
    pub(super) status: Option<u16>,
    /// Headers to set, or to remove if there is no value.
    pub(super) headers: Vec<(String, Option<String>)>,
    /// The request id, in place of a new one.
    pub(super) request_id: Option<String>,
    /// When the response is sent.
    pub(super) delays: Delays,
    /// How the response is sent.
    pub(super) wire: Wire,
}

/// Where an error is placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ErrorPlacement {
    /// As DashScope does: the status of a unary response, the first event of a stream.
    #[default]
    Natural,
    /// The HTTP status and a JSON body, even for a stream.
    Http,
    /// A JSON body with HTTP 200.
    Body,
    /// An event with HTTP 200.
    Event,
    /// An event with the error's own HTTP status.
    Sse,
}

/// The comment `:HTTP_STATUS/NNN` of an error event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Comment {
    /// With the status of the error.
    #[default]
    True,
    /// No comment.
    Absent,
    /// With another status.
    Other(u16),
}

/// An error returned by a script.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// The HTTP status.
    pub(super) status: u16,
    /// DashScope's code, or that of its object store.
    pub(super) code: String,
    /// Human-readable message.
    pub(super) message: String,
    /// Where it is placed.
    pub(super) placement: ErrorPlacement,
    /// Frames of the answer before it, in a stream.
    pub(super) after_chunks: usize,
    /// The comment in its event.
    pub(super) comment: Comment,
}

/// Bytes that are sent unchanged.
#[derive(Clone, Debug, Default)]
pub(super) struct Raw {
    /// The body, in chunks, each with the wait before it.
    pub(super) pieces: Vec<(Duration, Bytes)>,
}

/// The waits of a response.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delays {
    /// Before the head of the answer.
    pub(super) head: Duration,
    /// Between the head and the first frame.
    pub(super) first: Duration,
    /// Between frames.
    pub(super) between: Duration,
    /// Interval of the comments that are sent during every wait after the head.
    pub(super) heartbeat: Option<Duration>,
}

/// How a connection ends before the response does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Closed with FIN.
    Close,
    /// Reset with RST.
    Reset,
    /// Kept open, without further bytes.
    Hang,
}

/// Where the response is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Before the head.
    Head,
    /// After this many frames.
    Frame(usize),
    /// After this many bytes of the body.
    Byte(usize),
}

/// The line ending of SSE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LineEnd {
    /// LF, as DashScope sends.
    #[default]
    Lf,
    /// CR LF.
    CrLf,
    /// CR only.
    Cr,
}

/// How a response is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wire {
    /// Cuts the response.
    pub(super) cut: Option<(Cut, At)>,
    /// The line ending.
    pub(super) line_end: LineEnd,
    /// Omits the blank lines between frames.
    pub(super) no_blank_lines: bool,
    /// Adds a space after the colons.
    pub(super) space: bool,
    /// Starts with a byte order mark.
    pub(super) bom: bool,
    /// Sends this many bytes at a time.
    pub(super) split: Option<usize>,
    /// Compresses the body.
    pub(super) gzip: bool,
    /// Sends SSE (or JSON), whichever was requested.
    pub(super) stream: Option<bool>,
    /// Truncates the JSON of this frame, counted from 1.
    pub(super) malformed: Option<usize>,
    /// Omits the finish reason from all frames.
    pub(super) unfinished: bool,
    /// Sends incremental (or cumulative) texts, whichever was requested.
    pub(super) incremental: Option<bool>,
    /// Ends with `data:[DONE]`.
    pub(super) done: bool,
}
