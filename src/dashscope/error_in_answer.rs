//! Errors and unknown codes that accompany an answer.
//!
//! A code of the table ends the call with that error, after the content that came with it. An
//! unknown code may be informational: the answer continues with a warning, and the code becomes the
//! reason if the answer is never completed.

use super::answer_json::{Body, Output};
use super::error_codes::by_code;
use super::errors::{ErrorReport, error_object, truncated, unreadable};
use super::json_text::Text;
use super::json_tree;
use super::reply::Reply;
use super::sse::Frame;
use crate::chat::document::{Document, Object};
use crate::chat::warning::{Code, Warning};
use crate::error::{Error, Sent};
use crate::untrusted;

/// Codes of success, in lower case.
const SUCCESS: [&str; 5] = ["", "0", "200", "ok", "success"];

/// An error in a body or an event.
#[derive(Debug)]
pub(super) struct EmbeddedError {
    error: Error,
    /// Whether it accompanies an answer.
    beside: bool,
    known: bool,
    warning: Warning,
}

impl Reply {
    /// The error in a body. Without an answer, a code or message alone is an error.
    pub(super) fn embedded_error(
        &self,
        body: &Body<'_>,
        http_status: u16,
        is_error: bool,
    ) -> Option<EmbeddedError> {
        let beside = !is_error && body.output.as_ref().is_some_and(Output::has_content);
        let object = error_object(body);
        let report = ErrorReport::in_body(body, &object);
        let is_success = |code: &str| SUCCESS.contains(&code.trim().to_ascii_lowercase().as_str());
        let mut report = match report {
            Some(report) if beside && report.http_status < 400 && is_success(report.code) => {
                return None;
            }
            Some(report) if !is_error && is_success(report.code) && is_success(report.message) => {
                return None;
            }
            Some(report) => report,
            None if is_error => ErrorReport::default(),
            None => return None,
        };
        if http_status != 0 {
            report.http_status = http_status;
        }
        if report.request_id.is_empty() {
            report.request_id = &self.opening.request_id;
        }
        let (code, words) = (
            untrusted::code(report.code),
            untrusted::message(report.message),
        );
        let said = [code, words];
        let said: Vec<_> = said.iter().filter(|text| !text.is_empty()).collect();
        let said = said.into_iter().map(String::as_str).collect::<Vec<_>>();
        let message = format!(
            "DashScope reported an error beside the answer: {}",
            said.join(": ")
        );
        Some(EmbeddedError {
            beside,
            known: by_code(report.code, http_status).is_some(),
            warning: Warning::new(Code::AnswerPartDropped, "code", message),
            error: report.error(self.sent_on_error()),
        })
    }

    /// The error of an event that is not JSON: from its status, if that is an error status.
    pub(super) fn not_json(&self, frame: &Frame, text: &str) -> Error {
        let http_status = frame.http_status.unwrap_or_default();
        if frame.event.as_ref() == b"error" || http_status >= 400 {
            let report = ErrorReport {
                message: text,
                request_id: &self.opening.request_id,
                http_status,
                ..ErrorReport::default()
            };
            return report.error(self.sent_on_error());
        }
        match frame.whole {
            true => unreadable("an event has an unexpected JSON structure", self.sent),
            false => truncated("an event is truncated", self.sent),
        }
    }

    /// How far a call had come when DashScope reported its failure.
    fn sent_on_error(&self) -> Sent {
        match self.sent {
            Sent::Begun => Sent::Begun,
            Sent::No | Sent::Refused | Sent::Maybe => Sent::Refused,
        }
    }

    /// Handles a body with an error in it.
    pub(super) fn handle_error(
        &mut self,
        fault: EmbeddedError,
        body: Body<'_>,
        streamed: bool,
    ) -> Result<(), Error> {
        if streamed && self.is_finished() {
            // The answer is complete: the error does not invalidate it.
            self.add_warning(fault.warning);
            return self.decode_body(body, streamed);
        }
        if !fault.beside {
            self.record_usage_of(&body);
            return Err(fault.error);
        }
        if fault.known {
            // The error takes precedence over decoding errors of the answer.
            let _ = self.decode_body(body, streamed);
            return Err(fault.error.with_sent(Sent::Begun));
        }
        self.add_warning(fault.warning);
        self.noticed = Some(fault.error.with_sent(Sent::Begun));
        self.decode_body(body, streamed)
    }

    /// Keeps a code and message that accompany an answer and are not an error.
    pub(super) fn keep_code(&mut self, body: &Body<'_>) {
        let mut kept = Vec::new();
        for (key, text) in [("code", &body.code), ("message", &body.message)] {
            let text = Text::or_empty(text);
            if !text.is_empty() {
                kept.push((key.to_owned(), Document::String(text.to_owned())));
            }
        }
        let error = body.error.and_then(|raw| json_tree::document(raw.get()));
        let is_empty = |document: &Document| match document {
            Document::Null => true,
            Document::Object(object) => object.is_empty(),
            Document::String(text) => text.is_empty(),
            Document::Bool(_) | Document::Number(_) | Document::List(_) => false,
        };
        if let Some((error, _)) = error.filter(|(error, _)| !is_empty(error)) {
            kept.push(("error".to_owned(), error));
        }
        if !kept.is_empty() {
            self.extra
                .add(Object(kept), format_args!(""), &mut self.losses);
        }
    }
}
