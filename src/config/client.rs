//! Settings of the commands that call a gateway. They can be read without the gateway's own, so
//! that errors in those do not prevent calls to another gateway.

use std::path::PathBuf;

use crate::secret::Secret;

use super::environment::Environment;
use super::error::ConfigErrors;
use super::layers::{Flags, RawSettings};
use super::setting_reader::SettingReader;
use super::value;

/// Settings of `ask` and `health`.
#[derive(Clone, Debug)]
pub struct Client {
    /// The gateway to call. `None`: start one.
    pub server: Option<String>,
    /// The API key to send.
    pub api_key: Option<Secret>,
    /// TLS settings.
    pub tls: ClientTls,
    /// The model to use. `None`: chosen by the attachments.
    pub model: Option<String>,
    /// The models to use when none is given.
    pub default_models: DefaultModels,
    /// The file with the input history. `None`: no history is kept.
    pub history: Option<PathBuf>,
}

/// The default models, by attachments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultModels {
    /// Audio with a question.
    pub audio: String,
    /// Audio alone: a transcript.
    pub transcript: String,
    /// Images and videos.
    pub vision: String,
    /// Audio together with images or videos.
    pub omni: String,
    /// Text only.
    pub text: String,
    /// Live sessions.
    pub live: String,
    /// Speech from text that is still being written.
    pub speech: String,
}

/// TLS settings of a client. The files are not read here.
#[derive(Clone, Debug, Default)]
pub struct ClientTls {
    /// File with the root certificates. `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// Files with the client certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The server name to verify. `None`: the host of the address.
    pub server_name: Option<String>,
}

/// Reads only the client settings.
pub fn load_client(flags: &Flags, environment: &dyn Environment) -> Result<Client, ConfigErrors> {
    let mut raw = RawSettings::gather(flags, environment);
    raw.errors
        .retain(|error| error.key == "config" || error.key.starts_with("client."));
    let mut reader = SettingReader::new(&raw);
    let client = client(&mut reader);
    reader.finish(client)
}

/// Whether the output may have colours, which `NO_COLOR` and a dumb terminal disable.
pub fn color(environment: &dyn Environment) -> bool {
    let variable = |name| {
        environment
            .variable(name)
            .ok()
            .flatten()
            .unwrap_or_default()
    };
    variable("NO_COLOR").is_empty() && variable("TERM") != "dumb"
}

/// The user's home directory.
pub fn home(environment: &dyn Environment) -> Option<PathBuf> {
    let folder = environment.variable("HOME").ok().flatten()?;
    (!folder.is_empty()).then(|| PathBuf::from(folder))
}

/// Reads the section of the client.
pub(crate) fn client(reader: &mut SettingReader<'_>) -> Client {
    let api_key = reader.read("client.api_key", value::text);
    Client {
        server: reader.read("client.server", value::text),
        api_key: api_key.map(Secret::new),
        tls: tls(reader),
        model: reader.read("client.model", value::text),
        default_models: DefaultModels {
            audio: reader.read("client.default_models.audio", value::name),
            transcript: reader.read("client.default_models.transcript", value::name),
            vision: reader.read("client.default_models.vision", value::name),
            omni: reader.read("client.default_models.omni", value::name),
            text: reader.read("client.default_models.text", value::name),
            live: reader.read("client.default_models.live", value::name),
            speech: reader.read("client.default_models.speech", value::name),
        },
        history: reader.path("client.history"),
    }
}

fn tls(reader: &mut SettingReader<'_>) -> ClientTls {
    let certificate = reader.path("client.tls.certificate");
    let key = reader.path("client.tls.key");
    if certificate.is_some() != key.is_some() {
        let configured = match certificate {
            Some(_) => "client.tls.certificate",
            None => "client.tls.key",
        };
        reader.conflict(
            configured,
            "a certificate and its key go together",
            "set client.tls.certificate and client.tls.key, or neither",
        );
    }
    ClientTls {
        ca: reader.path("client.tls.ca"),
        identity: certificate.zip(key),
        server_name: reader.read("client.tls.server_name", value::text),
    }
}
