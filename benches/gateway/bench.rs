//! What the measurements of all rows share.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use dashgate::grpc::pb::{self, content};

use crate::args::Options;
use crate::client::{Ask, CONVERSE, Line};
use crate::error::Result;
use crate::fake::Shared;
use crate::load::Window;
use crate::messages::{ANSWER, Question};
use crate::subject::{Starter, Subject, Variant};

/// All that rows need.
pub(crate) struct Bench {
    pub(crate) starter: Starter,
    pub(crate) options: Options,
    pub(crate) shared: Arc<Shared>,
    /// When answers were given up, as the fake saw it.
    pub(crate) closed: Mutex<mpsc::Receiver<Instant>>,
}

/// One number of a row.
pub(crate) struct Value {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) number: f64,
    /// Whether its ratio belongs into the picture.
    pub(crate) drawn: bool,
}

impl Value {
    /// A number for the table alone.
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, number: f64) -> Self {
        Self {
            what: what.into(),
            unit,
            number,
            drawn: false,
        }
    }

    /// A number for the table and the picture.
    pub(crate) fn drawn(what: impl Into<String>, unit: &'static str, number: f64) -> Self {
        Self {
            drawn: true,
            ..Self::new(what, unit, number)
        }
    }
}

impl Bench {
    /// Starts a variant and sees that it answers as it should.
    pub(crate) async fn start(&self, variant: Variant, settings: &[&str]) -> Result<Subject> {
        let subject = self.starter.start(variant, settings)?;
        if variant != Variant::Direct {
            let line = Line::connect(subject.address).await?;
            prove(&line, &ask(&subject, CONVERSE, Question::Small)?, variant).await?;
        }
        Ok(subject)
    }

    /// The window of a measurement.
    pub(crate) fn window(&self) -> Window {
        Window {
            warm: self
                .options
                .length
                .mul_f64(0.25)
                .max(Duration::from_millis(100)),
            length: self.options.length,
        }
    }
}

/// A question to a process that serves.
pub(crate) fn ask(subject: &Subject, path: &str, question: Question) -> Result<Ask> {
    let key = subject.key.as_deref();
    Ask::new(subject.address, path, key, "60S", &question.message())
}

/// So many connections.
pub(crate) async fn lines(subject: &Subject, count: usize) -> Result<Vec<Line>> {
    let mut lines = Vec::with_capacity(count);
    for _ in 0..count {
        lines.push(Line::connect(subject.address).await?);
    }
    Ok(lines)
}

/// Makes one call, and fails when it is not answered with the fake's own words.
pub(crate) async fn prove(line: &Line, ask: &Ask, variant: Variant) -> Result<()> {
    let mut bytes = Vec::new();
    let answer = line.call(ask, Some(&mut bytes)).await?.check()?;
    let message = bytes.get(5..).unwrap_or_default();
    let said = pb::ConverseResponse::decode(message)?;
    let parts = said
        .choices
        .iter()
        .filter_map(|choice| choice.message.as_ref());
    let mut parts = parts.flat_map(|message| &message.content);
    let right = parts.any(
        |part| matches!(&part.kind, Some(content::Kind::Text(text)) if text.as_str() == ANSWER),
    );
    if !right {
        let words: String = format!("{:?}", said.choices).chars().take(300).collect();
        return Err(format!("the answer is something else: {words}").into());
    }
    if variant.is_dashgate() && !answer.head.contains_key("x-request-id") {
        return Err("an answer has no x-request-id".into());
    }
    Ok(())
}
