//! The format of a job.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

pub use crate::job_stored::StoredStep;

/// A job.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The client's target.
    pub target: String,
    /// The client's options.
    #[serde(default)]
    pub options: Options,
    /// The call.
    pub call: Call,
}

/// The options of a client.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The API key.
    pub api_key: Option<String>,
    /// The TLS settings.
    pub tls: Option<Tls>,
    /// The deadline of every call.
    pub timeout_ms: Option<u64>,
    /// The idle timeout of streams.
    pub idle_timeout_ms: Option<u64>,
    /// Metadata of every call.
    pub metadata: BTreeMap<String, String>,
    /// How often a call that is throttled is made again.
    pub max_retries: Option<u32>,
}

/// TLS settings, all as paths of files.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The root certificates.
    pub ca_file: Option<PathBuf>,
    /// The client certificate.
    pub cert_file: Option<PathBuf>,
    /// The key of the client certificate.
    pub key_file: Option<PathBuf>,
    /// The server name to verify.
    pub server_name: Option<String>,
}

/// A call.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub enum Call {
    /// One unary call.
    Converse(Turn),
    /// One stream, read as events.
    Stream(Turn),
    /// One stream, read as texts.
    Deltas(Turn),
    /// The cancellation of a call.
    #[serde(rename = "cancel_call")]
    Cancellation {
        /// The request id of the call.
        request_id: String,
    },
    /// Several turns.
    Dialogue(Dialogue),
    /// A tool loop.
    Tools(ToolLoop),
    /// Stored conversations.
    Stored {
        /// What is done, in order.
        steps: Vec<StoredStep>,
    },
    /// A list of messages of another library.
    Messages {
        /// The model.
        model: String,
        /// The messages.
        messages: Value,
    },
    /// An answer that is a value of a type.
    Structured(Structured),
    /// An upload.
    Upload {
        /// The model.
        model: String,
        /// The file.
        file: PathBuf,
        /// The MIME type.
        mime_type: Option<String>,
        /// The name.
        name: Option<String>,
        /// The content of a user message about the upload.
        then: Option<Vec<Value>>,
    },
    /// A list of models.
    Models {
        /// The page size.
        #[serde(default)]
        page_size: i32,
    },
    /// One model.
    Model {
        /// Its name.
        name: String,
    },
    /// Concurrent streams.
    Many {
        /// The number of streams.
        count: usize,
        /// The request of each of them.
        #[serde(flatten)]
        turn: Turn,
    },
    /// A live session.
    Live(Session),
    /// A session that speaks.
    Speak(Session),
    /// MIME types.
    Sniff {
        /// The files.
        vectors: Vec<Vector>,
    },
}

/// The request of one call.
#[derive(Clone, Debug, Deserialize)]
pub struct Turn {
    /// `dashgate.v1.Conversation`.
    pub conversation: Value,
    /// `dashgate.v1.GenerationOptions`.
    #[serde(default)]
    pub options: Option<Value>,
    /// The request id.
    #[serde(default)]
    pub request_id: Option<String>,
    /// Whether its stream is resumed.
    #[serde(default)]
    pub resume: Option<bool>,
    /// The call's deadline.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// The call's metadata.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// The cancellation.
    #[serde(default)]
    pub cancel: Option<Cancel>,
    /// How often the call is made again if it is throttled.
    #[serde(default)]
    pub max_retries: Option<u32>,
    /// The latest turn that is known.
    #[serde(default)]
    pub expected_turn: Option<i32>,
    /// `dashgate.v1.HistoryPolicy`.
    #[serde(default)]
    pub history: Option<Value>,
}

/// Several turns.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dialogue {
    /// The model.
    pub model: String,
    /// The system message.
    pub system: Option<String>,
    /// The name of a stored conversation, which is created.
    pub name: Option<String>,
    /// The content of the user messages.
    pub turns: Vec<Vec<Value>>,
    /// The generation options.
    pub options: Option<Value>,
    /// Whether answers are streamed.
    #[serde(default)]
    pub stream: bool,
}

/// A tool loop.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolLoop {
    /// The model.
    pub model: String,
    /// The user message.
    pub question: String,
    /// The tools.
    pub tools: Vec<Tool>,
    /// The result of each tool.
    pub results: BTreeMap<String, String>,
    /// The maximum number of rounds.
    pub max_rounds: Option<usize>,
    /// Whether answers are streamed.
    #[serde(default)]
    pub stream: bool,
    /// Whether the functions of a round run at the same time.
    #[serde(default)]
    pub parallel: bool,
}

/// An answer that is a value of a type.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Structured {
    /// The model.
    pub model: String,
    /// The user message.
    pub question: String,
    /// Whether the model may repair its answer.
    #[serde(default)]
    pub repair: bool,
}

/// A live session.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// `dashgate.v1.LiveSetup` or `dashgate.v1.SynthesisSetup`.
    pub setup: Value,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// The session's deadline.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// The session's metadata.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// What is done in a session.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Sends a file in pieces.
    AudioFile(PathBuf),
    /// Sends a file.
    ImageFile(PathBuf),
    /// Sends a text.
    Text(String),
    /// Ends the turn.
    Commit {},
    /// Discards input.
    Clear {},
    /// Requests a response.
    CreateResponse {
        /// Its instructions.
        #[serde(default)]
        instructions: String,
        /// Its modalities.
        #[serde(default)]
        modalities: Vec<String>,
    },
    /// Cancels the response.
    CancelResponse {},
    /// Sends the result of a tool call.
    ToolResult {
        /// The id of the call. Default: that of the last one.
        tool_call_id: Option<String>,
        /// The result.
        output: String,
    },
    /// `dashgate.v1.UpdateSession`.
    Update(Value),
    /// Removes an item.
    DeleteItem {
        /// Its id.
        item_id: String,
    },
    /// Reads events up to one of this kind.
    Await(String),
    /// Continues the session with another stream.
    TakeOver {},
    /// Leaves the session.
    Close {},
    /// Ends the input.
    Finish {},
}

/// When a call is cancelled.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancel {
    /// After this many milliseconds.
    AfterMs(u64),
    /// After this many events.
    AfterEvents(usize),
}

/// A tool.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The description.
    #[serde(default)]
    pub description: String,
    /// The JSON Schema of its arguments.
    #[serde(default)]
    pub parameters: String,
}

/// A file whose MIME type is detected.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// The file.
    pub file: PathBuf,
}
