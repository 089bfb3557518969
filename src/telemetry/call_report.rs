//! The one record of a finished call. It contains no content.

use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

use crate::error::{Error, Kind};
use crate::quoted;

use super::log;
use super::metrics::Metrics;
use super::models::Model;
use super::outcome::Outcome;
use super::token_counts::Tokens;

/// How a call ended, and what it took.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The request id.
    pub request_id: Arc<str>,
    /// The method that was called.
    pub method: &'static str,
    /// Whether the answer is streamed.
    pub streamed: bool,
    /// Who called, if callers have names.
    pub caller: Option<Arc<str>>,
    /// The model that the caller asked for.
    pub model: Arc<str>,
    /// The model that answered, if any did.
    pub answered_by: Arc<str>,
    /// How it ended.
    pub outcome: Outcome,
    /// How often DashScope was asked.
    pub attempts: u32,
    /// From arrival to the first event.
    pub first_event: Option<Duration>,
    /// From arrival to the first piece of a streamed answer.
    pub first_token: Option<Duration>,
    /// From arrival to the end.
    pub total: Duration,
    /// The pieces of the answer.
    pub chunks: u64,
    /// DashScope's request id.
    pub upstream_request_id: String,
    /// DashScope's code, if it refused.
    pub upstream_code: String,
    /// The tokens, as DashScope counted.
    pub tokens: Tokens,
    /// Whether the caller was charged by an estimate, because the answer broke off before DashScope
    /// had counted.
    pub usage_estimated: bool,
    /// The bytes of an upload.
    pub uploaded_bytes: Option<u64>,
    /// The trace that it belongs to; empty if to none.
    pub trace_id: String,
    /// Whether the answer was another call's with the same name.
    pub joined: bool,
    /// What a live session consisted of.
    pub live: Option<LiveFigures>,
}

/// What a live session consisted of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveFigures {
    /// The responses that ended.
    pub responses: u32,
    /// Those that were cancelled by the caller or its speech.
    pub cancelled: u32,
    /// The playing time of the caller's audio.
    pub input_audio: Duration,
    /// The playing time of the responses' audio.
    pub output_audio: Duration,
    /// How often the session continued on a new connection to DashScope.
    pub reconnects: u32,
    /// How often the caller resumed the session.
    pub resumes: u32,
}

/// The names of the fields of a line, in their order, for the page.
pub const FIELDS: &[&str] = &[
    "request_id",
    "method",
    "caller",
    "model",
    "answered_by",
    "outcome",
    "attempts",
    "first_event_ms",
    "ttft_ms",
    "total_ms",
    "chunks",
    "upstream_request_id",
    "upstream_code",
    "input_tokens",
    "output_tokens",
    "usage_estimated",
    "uploaded_bytes",
    "trace_id",
    "joined",
    "responses",
    "cancelled_responses",
    "input_audio_ms",
    "output_audio_ms",
    "reconnects",
    "resumes",
];

impl Report {
    /// The report of a call of this method, of which nothing else is known yet.
    pub fn new(request_id: &Arc<str>, method: &'static str) -> Self {
        Self {
            request_id: Arc::clone(request_id),
            method,
            ..Self::default()
        }
    }

    /// Records it: in the metrics, and as one line in the log. Errors that need a change of the
    /// configuration or the account are warnings. The model is the one that answered, if its
    /// metrics are at hand.
    pub fn write(&self, metrics: &Metrics, model: Option<&Model>) {
        self.count(metrics, model);
        match self.outcome {
            Outcome::Failed(
                Kind::Precondition | Kind::Lost | Kind::Broken | Kind::Unavailable,
                _,
            ) => {
                self.line(true);
            }
            Outcome::Ok | Outcome::Cancelled | Outcome::Failed(..) => self.line(false),
        }
    }

    /// Records a call that the gateway answered by itself: as one line in the log, and as shed if a
    /// limit was reached. It is no call of a model, which the other metrics count.
    pub fn write_own(mut self, total: Duration, error: Option<&Error>, metrics: &Metrics) {
        self.total = total;
        self.outcome = match error {
            None => Outcome::Ok,
            Some(error) => Outcome::Failed(error.kind(), error.reason()),
        };
        if let Some(reason) = self.outcome.shed(0) {
            metrics.shed(reason);
        }
        self.line(false);
    }

    fn count(&self, metrics: &Metrics, model: Option<&Model>) {
        match model {
            Some(model) => metrics.ended(model, self.outcome),
            None => {
                let answered = !self.answered_by.is_empty();
                let name = match answered {
                    true => &self.answered_by,
                    false => &self.model,
                };
                metrics.ended(&metrics.label(name), self.outcome);
            }
        }
        if let Some(reason) = self.outcome.shed(self.attempts) {
            metrics.shed(reason);
        }
    }

    fn line(&self, warn: bool) {
        let level = match warn {
            true => Level::WARN,
            false => Level::INFO,
        };
        if let Some(lines) = log::json_lines() {
            let wanted = match warn {
                true => tracing::enabled!(target: "dashgate::call", Level::WARN),
                false => tracing::enabled!(target: "dashgate::call", Level::INFO),
            };
            // What the log would write, for a fifth of the work: it takes each field by way of a
            // debugger's form, a piece at a time.
            if wanted {
                lines.push(&self.json(level));
            }
            return;
        }
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "dashgate::call",
                    request_id = %self.request_id,
                    method = self.method,
                    caller = self.caller.as_deref(),
                    model = %self.model,
                    answered_by = %self.answered_by,
                    outcome = self.outcome.name(),
                    attempts = self.attempts,
                    first_event_ms = self.first_event.map(millis),
                    ttft_ms = self.first_token.map(millis),
                    total_ms = millis(self.total),
                    chunks = self.chunks,
                    upstream_request_id = %self.upstream_request_id,
                    upstream_code = %self.upstream_code,
                    input_tokens = self.tokens.input(),
                    output_tokens = self.tokens.output(),
                    usage_estimated = self.usage_estimated,
                    uploaded_bytes = self.uploaded_bytes,
                    trace_id = said(&self.trace_id),
                    joined = self.joined,
                    responses = self.live.map(|live| live.responses),
                    cancelled_responses = self.live.map(|live| live.cancelled),
                    input_audio_ms = self.live.map(|live| millis(live.input_audio)),
                    output_audio_ms = self.live.map(|live| millis(live.output_audio)),
                    reconnects = self.live.map(|live| live.reconnects),
                    resumes = self.live.map(|live| live.resumes),
                )
            };
        }
        if warn {
            line!(warn);
        } else {
            line!(info);
        }
    }

    /// The line of a log of JSON, with its end: the fields of [`FIELDS`], and around them what
    /// every line of the log has.
    fn json(&self, level: Level) -> Vec<u8> {
        let mut line = Line::begin(level);
        line.text("request_id", &self.request_id);
        line.text("method", self.method);
        line.known_text("caller", self.caller.as_deref());
        line.text("model", &self.model);
        line.text("answered_by", &self.answered_by);
        line.text("outcome", self.outcome.name());
        line.add("attempts", &self.attempts);
        line.add_known("first_event_ms", self.first_event.map(millis));
        line.add_known("ttft_ms", self.first_token.map(millis));
        line.add("total_ms", &millis(self.total));
        line.add("chunks", &self.chunks);
        line.text("upstream_request_id", &self.upstream_request_id);
        line.text("upstream_code", &self.upstream_code);
        line.add_known("input_tokens", self.tokens.input());
        line.add_known("output_tokens", self.tokens.output());
        line.add("usage_estimated", &self.usage_estimated);
        line.add_known("uploaded_bytes", self.uploaded_bytes);
        line.known_text("trace_id", said(&self.trace_id));
        line.add("joined", &self.joined);
        if let Some(live) = self.live {
            line.add("responses", &live.responses);
            line.add("cancelled_responses", &live.cancelled);
            line.add("input_audio_ms", &millis(live.input_audio));
            line.add("output_audio_ms", &millis(live.output_audio));
            line.add("reconnects", &live.reconnects);
            line.add("resumes", &live.resumes);
        }
        line.end()
    }
}

/// A line of JSON in the making. Its keys are words, which are written as they are.
struct Line(Vec<u8>);

impl Line {
    fn begin(level: Level) -> Self {
        // A line is about as long as this.
        const ROOM: usize = 640;
        let mut line = Self(Vec::with_capacity(ROOM));
        line.0.extend_from_slice(b"{\"timestamp\":\"");
        log::push_timestamp(&mut line.0);
        line.0.push(b'"');
        line.text("level", level.as_str());
        line
    }

    fn key(&mut self, key: &str) {
        for part in [",\"", key, "\":"] {
            self.0.extend_from_slice(part.as_bytes());
        }
    }

    fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        quoted::push(text, &mut self.0);
    }

    fn known_text(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    fn add<T: serde::Serialize>(&mut self, key: &str, value: &T) {
        self.key(key);
        // It fails for maps with odd keys alone, and there are none.
        let _ = serde_json::to_writer(&mut self.0, value);
    }

    fn add_known<T: serde::Serialize>(&mut self, key: &str, value: Option<T>) {
        if let Some(value) = value {
            self.add(key, &value);
        }
    }

    fn end(mut self) -> Vec<u8> {
        self.text("target", "dashgate::call");
        self.0.extend_from_slice(b"}\n");
        self.0
    }
}

/// A text that is left out when it is empty.
fn said(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Mutex;

    use tracing_subscriber::fmt::MakeWriter;

    use super::super::prices::RateCard;
    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Page {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// A report of which every field is known.
    fn full() -> Report {
        let second = Some(Duration::from_secs(1));
        let usage = crate::chat::usage::Usage {
            input_tokens: Some(2),
            output_tokens: Some(3),
            ..Default::default()
        };
        Report {
            request_id: "a\"b".into(),
            caller: Some("team".into()),
            first_event: second,
            first_token: second,
            total: Duration::from_micros(1_234),
            tokens: Tokens::of(&usage),
            uploaded_bytes: Some(4),
            trace_id: "t".to_owned(),
            live: Some(LiveFigures {
                input_audio: Duration::from_millis(1_500),
                ..LiveFigures::default()
            }),
            ..Report::default()
        }
    }

    /// What tracing's own log writes of it.
    fn by_tracing(report: &Report) -> String {
        let page = Page::default();
        let log = tracing_subscriber::fmt().json().flatten_event(true);
        let log = log.with_writer(page.clone()).finish();
        let metrics = Metrics::new(RateCard::default(), &[]).unwrap();
        tracing::subscriber::with_default(log, || report.write(&metrics, None));
        String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_is_what_the_log_would_write() {
        for report in [full(), Report::default()] {
            let since = |line: &str| line[line.find(",\"level\"").unwrap()..].to_owned();
            let ours = String::from_utf8(report.json(Level::INFO)).unwrap();
            assert_eq!(since(&ours), since(&by_tracing(&report)));
            let moment = |line: &str| line.find(",\"level\"").unwrap();
            assert_eq!(moment(&ours), moment(&by_tracing(&report)), "{ours}");
        }
    }

    #[test]
    fn a_line_has_the_fields_that_the_page_names() {
        let line = by_tracing(&full());
        let mut at = 0;
        for field in FIELDS {
            let found = line[at..].find(&format!("\"{field}\":"));
            at += found.unwrap_or_else(|| panic!("{field} after {at}: {line}"));
        }
        // And no other: beside them stand the time, the level and the target.
        assert_eq!(line.matches("\":").count(), FIELDS.len() + 3, "{line}");
    }
}
