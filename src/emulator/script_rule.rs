//! The data model of a script: when a rule applies and what it replies. The format is documented
//! in `docs/emulator.md`.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::answer::Answer;
use super::script_values::{
    Base64, interval, object, object_or_default, objects, or_default, texts, wait, whole,
};
use super::websocket::socket_rule::SocketRule;

/// The most bytes or frames that a script can count.
const MAX_COUNT: u64 = 1_000_000_000;

/// One rule of a script.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// Name, shown in the journal.
    pub(super) name: Option<String>,
    /// When it applies.
    #[serde(default, rename = "match", deserialize_with = "object_or_default")]
    pub(super) when: Match,
    /// What it replies; required.
    #[serde(default, deserialize_with = "object")]
    pub(super) reply: Option<Reply>,
}

/// The conditions of a rule, all of which must hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Match {
    /// Pattern of the path, with `*` and `?`. Default: the generation endpoint.
    pub(super) path: Option<String>,
    /// Pattern of the model, with `*` and `?`.
    pub(super) model: Option<String>,
    /// Substrings of the text of the last message or of its media URLs, all of which must occur.
    #[serde(deserialize_with = "texts")]
    pub(super) text: Vec<String>,
    /// Which of the calls that match otherwise, counted from 1.
    pub(super) count: Option<Count>,
    /// Whether the call requests a stream.
    pub(super) stream: Option<bool>,
}

/// Numbers of calls.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "must be a whole number from 1, or {\"from\": N, \"to\": N}"
)]
pub(super) enum Count {
    /// One call.
    One(NonZeroU64),
    /// A range of calls, with both ends, each of which is optional.
    Range {
        /// The first call.
        from: Option<NonZeroU64>,
        /// The last call.
        to: Option<NonZeroU64>,
    },
}

impl Count {
    /// The first and the last call, counted from 1.
    pub(super) fn range(self) -> RangeInclusive<u64> {
        let (first, last) = match self {
            Self::One(one) => (Some(one), Some(one)),
            Self::Range { from, to } => (from, to),
        };
        first.map_or(1, u64::from)..=last.map_or(u64::MAX, u64::from)
    }
}

/// The reply of a rule. Whatever is absent is as the emulator does it by default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Reply {
    /// The answer, in place of the generated one.
    pub(super) answer: Option<Answer>,
    /// An error, in place of the answer or within it.
    #[serde(rename = "error", deserialize_with = "object")]
    pub(super) refusal: Option<Refusal>,
    /// Bytes, in place of both.
    #[serde(deserialize_with = "raw")]
    pub(super) raw: Option<Raw>,
    /// The HTTP status.
    #[serde(deserialize_with = "whole::<_, _, 200, 599>")]
    pub(super) status: Option<u16>,
    /// Headers to set, or to remove with `null`.
    #[serde(deserialize_with = "or_default")]
    pub(super) headers: Map<String, Value>,
    /// The request id, in place of a new one. It is a header, too.
    pub(super) request_id: Option<String>,
    /// When the response is sent.
    #[serde(deserialize_with = "object_or_default")]
    pub(super) delays: Delays,
    /// How the response is sent.
    #[serde(deserialize_with = "object_or_default")]
    pub(super) wire: Wire,
    /// What is changed on a WebSocket.
    #[serde(deserialize_with = "object")]
    pub(super) socket: Option<SocketRule>,
}

/// Where an error is placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "must be true, false or a whole number from 100 to 999"
)]
pub(super) enum Comment {
    /// With the status of the error, or absent.
    Shown(bool),
    /// With another status.
    #[serde(deserialize_with = "comment_status")]
    Other(u16),
}

/// An error returned by a script.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Refusal {
    /// The HTTP status. Default: 400.
    #[serde(deserialize_with = "whole::<_, _, 200, 599>")]
    pub(super) status: Option<u16>,
    /// DashScope's code, or that of its object store.
    #[serde(deserialize_with = "or_default")]
    pub(super) code: String,
    /// Human-readable message.
    #[serde(deserialize_with = "or_default")]
    pub(super) message: String,
    /// Where it is placed.
    #[serde(rename = "place", deserialize_with = "or_default")]
    pub(super) placement: ErrorPlacement,
    /// Frames of the answer before it, in a stream. Default: none.
    #[serde(deserialize_with = "whole::<_, _, 0, 1_000_000>")]
    pub(super) after_chunks: Option<usize>,
    /// The comment in its event. Default: shown.
    pub(super) comment: Option<Comment>,
}

impl Refusal {
    /// The HTTP status.
    pub(super) fn status(&self) -> u16 {
        self.status.unwrap_or(400)
    }
}

/// Bytes that are sent unchanged.
#[derive(Clone, Debug, Default)]
pub(super) struct Raw {
    /// The body, in chunks, each with the wait before it.
    pub(super) pieces: Vec<(Duration, Bytes)>,
}

/// The waits of a response.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Delays {
    /// Before the head of the answer.
    #[serde(rename = "head_ms", deserialize_with = "wait")]
    pub(super) head: Duration,
    /// Between the head and the first frame.
    #[serde(rename = "first_ms", deserialize_with = "wait")]
    pub(super) first: Duration,
    /// Between frames.
    #[serde(rename = "between_ms", deserialize_with = "wait")]
    pub(super) between: Duration,
    /// Interval of the comments that are sent during every wait after the head.
    #[serde(rename = "heartbeat_ms", deserialize_with = "interval")]
    pub(super) heartbeat: Option<Duration>,
}

/// How a connection ends before the response does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LineEnd {
    /// LF, as DashScope sends.
    #[default]
    Lf,
    /// CR LF.
    CrLf,
    /// CR only.
    Cr,
}

impl LineEnd {
    /// The characters.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Lf => "\n",
            Self::CrLf => "\r\n",
            Self::Cr => "\r",
        }
    }
}

/// The format of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum BodyFormat {
    /// A stream of events.
    Sse,
    /// One document.
    Json,
}

/// How a response is sent.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wire {
    /// Cuts the response.
    #[serde(deserialize_with = "cut")]
    pub(super) cut: Option<(Cut, At)>,
    /// The line ending.
    #[serde(deserialize_with = "or_default")]
    pub(super) line_end: LineEnd,
    /// Omits the blank lines between frames if false.
    pub(super) blank_lines: Option<bool>,
    /// Adds a space after the colons.
    #[serde(deserialize_with = "or_default")]
    pub(super) space: bool,
    /// Starts with a byte order mark.
    #[serde(deserialize_with = "or_default")]
    pub(super) bom: bool,
    /// Sends this many bytes at a time.
    #[serde(deserialize_with = "whole::<_, _, 1, MAX_COUNT>")]
    pub(super) split_bytes: Option<usize>,
    /// Compresses the body.
    #[serde(deserialize_with = "or_default")]
    pub(super) gzip: bool,
    /// Sends this format, whichever was requested.
    pub(super) body: Option<BodyFormat>,
    /// Truncates the JSON of this frame, counted from 1.
    #[serde(deserialize_with = "whole::<_, _, 1, MAX_COUNT>")]
    pub(super) malformed_frame: Option<usize>,
    /// Omits the finish reason from all frames if false.
    pub(super) finish_reason: Option<bool>,
    /// Sends incremental (or cumulative) texts, whichever was requested.
    pub(super) incremental: Option<bool>,
    /// Ends with `data:[DONE]`. Default: as the endpoint does.
    pub(super) done: Option<bool>,
}

fn comment_status<'de, D: Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
    whole::<D, u16, 100, 999>(from)?.ok_or_else(|| Error::custom("is missing"))
}

fn raw<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Raw>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fields {
        body: Option<String>,
        body_base64: Option<Base64>,
        #[serde(default, deserialize_with = "objects")]
        pieces: Option<Vec<Piece>>,
    }
    let Some(fields) = object::<D, Fields>(from)? else {
        return Ok(None);
    };
    let pieces = match (fields.body, fields.body_base64, fields.pieces) {
        (None, None, None) => Vec::new(),
        (None, None, Some(pieces)) => pieces
            .into_iter()
            .map(|Piece(delay, bytes)| (delay, bytes))
            .collect(),
        (text, base64, None) if text.is_none() || base64.is_none() => {
            vec![(Duration::ZERO, bytes(text, base64))]
        }
        _ => {
            return Err(Error::custom(
                "body, body_base64 and pieces exclude each other; keep one",
            ));
        }
    };
    Ok(Some(Raw { pieces }))
}

/// A chunk of a raw body, and the wait before it.
#[derive(Deserialize)]
#[serde(try_from = "PieceFields")]
struct Piece(Duration, Bytes);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PieceFields {
    text: Option<String>,
    base64: Option<Base64>,
    #[serde(default, deserialize_with = "wait")]
    delay_ms: Duration,
}

impl TryFrom<PieceFields> for Piece {
    type Error = &'static str;

    fn try_from(fields: PieceFields) -> Result<Self, Self::Error> {
        match fields.text.is_some() && fields.base64.is_some() {
            true => Err("text and base64 exclude each other; keep one"),
            false => Ok(Self(fields.delay_ms, bytes(fields.text, fields.base64))),
        }
    }
}

/// The bytes of one of the two.
fn bytes(text: Option<String>, base64: Option<Base64>) -> Bytes {
    match text {
        Some(text) => Bytes::from(text),
        None => base64.map(|Base64(bytes)| bytes).unwrap_or_default(),
    }
}

fn cut<'de, D: Deserializer<'de>>(from: D) -> Result<Option<(Cut, At)>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fields {
        how: Option<Cut>,
        before_head: Option<bool>,
        #[serde(default, deserialize_with = "whole::<_, _, 0, MAX_COUNT>")]
        after_frames: Option<usize>,
        #[serde(default, deserialize_with = "whole::<_, _, 0, MAX_COUNT>")]
        at_byte: Option<usize>,
    }
    let Some(fields) = object::<D, Fields>(from)? else {
        return Ok(None);
    };
    let head = (fields.before_head == Some(true)).then_some(At::Head);
    let frame = fields.after_frames.map(At::Frame);
    let byte = fields.at_byte.map(At::Byte);
    let mut places = [head, frame, byte].into_iter().flatten();
    let (Some(at), None) = (places.next(), places.next()) else {
        return Err(Error::custom(
            "must say one place: \"before_head\": true, \"after_frames\": N or \"at_byte\": N",
        ));
    };
    // Reported at the field, as what serde requires is.
    let how = fields.how.ok_or_else(|| Error::missing_field("how"))?;
    Ok(Some((how, at)))
}
