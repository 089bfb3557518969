//! What a job says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

/// A job.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The client's target.
    pub target: String,
    /// The client's options.
    #[serde(default)]
    pub options: Options,
    /// What is called.
    pub call: Call,
}

/// The options of a client.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The key.
    pub api_key: Option<String>,
    /// The certificates.
    pub tls: Option<Tls>,
    /// The deadline of every call.
    pub timeout_ms: Option<u64>,
    /// How long a stream may be silent.
    pub idle_timeout_ms: Option<u64>,
    /// Sent with every call.
    pub metadata: BTreeMap<String, String>,
}

/// Certificates, all in files.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Whom to trust.
    pub ca_file: Option<PathBuf>,
    /// Whom to be.
    pub cert_file: Option<PathBuf>,
    /// The key to that.
    pub key_file: Option<PathBuf>,
    /// Whom to expect.
    pub server_name: Option<String>,
}

/// What is called.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub enum Call {
    /// One unary call.
    Converse(Turn),
    /// One stream, event by event.
    Stream(Turn),
    /// One stream, as texts.
    Deltas(Turn),
    /// Several turns.
    Dialogue {
        /// The model.
        model: String,
        /// Instructions.
        system: Option<String>,
        /// What is asked, turn by turn.
        turns: Vec<Vec<Value>>,
        /// How to answer.
        options: Option<Value>,
        /// Whether answers are streamed.
        #[serde(default)]
        stream: bool,
    },
    /// The loop of tools.
    Tools {
        /// The model.
        model: String,
        /// What is asked.
        question: String,
        /// What may be called.
        tools: Vec<Tool>,
        /// What each of them returns.
        results: BTreeMap<String, String>,
        /// How often.
        max_rounds: Option<usize>,
    },
    /// An upload.
    Upload {
        /// The model.
        model: String,
        /// What is uploaded.
        file: PathBuf,
        /// What it is.
        mime_type: Option<String>,
        /// Its name.
        name: Option<String>,
        /// What is asked about it.
        then: Option<Vec<Value>>,
    },
    /// Many streams at once.
    Many {
        /// How many.
        count: usize,
        /// What each of them asks.
        #[serde(flatten)]
        turn: Turn,
    },
    /// MIME types.
    Sniff {
        /// The files.
        vectors: Vec<Vector>,
    },
}

/// One call of a conversation.
#[derive(Clone, Debug, Deserialize)]
pub struct Turn {
    /// `dashgate.v1.Conversation`.
    pub conversation: Value,
    /// `dashgate.v1.GenerationOptions`.
    #[serde(default)]
    pub options: Option<Value>,
    /// The call's name.
    #[serde(default)]
    pub request_id: Option<String>,
    /// The call's deadline.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// The call's metadata.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// When it is cancelled.
    #[serde(default)]
    pub cancel: Option<Cancel>,
}

/// When a call is cancelled.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancel {
    /// After so many milliseconds.
    AfterMs(u64),
    /// When so many events have been read.
    AfterEvents(usize),
}

/// A tool.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The JSON Schema of its arguments.
    pub parameters: String,
}

/// A file whose MIME type is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// The file.
    pub file: PathBuf,
}
