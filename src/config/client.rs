//! The settings of the commands that call a gateway. They can be read without the gateway's own, so
//! that a fault in those does not keep anybody from asking a gateway elsewhere.

use std::path::PathBuf;

use crate::secret::Secret;

use super::environment::Surroundings;
use super::error::Faults;
use super::layers::{Flags, Raw};
use super::setting_reader::Checker;
use super::value;

/// What `ask` and `health` need.
#[derive(Clone, Debug)]
pub struct Client {
    /// The gateway to call; none: run one.
    pub server: Option<String>,
    /// What to show to it.
    pub api_key: Option<Secret>,
    /// Whom to trust, and what to show.
    pub tls: ClientTls,
    /// The model to ask; none: by what is attached.
    pub model: Option<String>,
    /// The models that are asked when none is named.
    pub default_models: DefaultModels,
    /// Where the lines of conversations are kept; none: nowhere.
    pub history: Option<PathBuf>,
}

/// The models that are asked when none is named, by what is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultModels {
    /// For audio with a question.
    pub audio: String,
    /// For audio alone: a transcript is wanted.
    pub transcript: String,
    /// For images and videos.
    pub vision: String,
    /// For audio together with images or videos.
    pub omni: String,
    /// For text alone.
    pub text: String,
}

/// Whom to trust over TLS, and what to show. The files are not read here.
#[derive(Clone, Debug, Default)]
pub struct ClientTls {
    /// The authorities to trust; none: those of the system.
    pub ca: Option<PathBuf>,
    /// The certificate to show and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that the gateway must prove; none: that of the address.
    pub server_name: Option<String>,
}

/// Reads the settings of a client only.
pub fn load_client(flags: &Flags, around: &dyn Surroundings) -> Result<Client, Faults> {
    let mut raw = Raw::gather(flags, around);
    raw.faults
        .retain(|fault| fault.key == "config" || fault.key.starts_with("client."));
    let mut checker = Checker::new(&raw);
    let client = client(&mut checker);
    checker.finish(client)
}

/// Whether a terminal may be coloured, which `NO_COLOR` and a dumb terminal forbid.
pub fn color(around: &dyn Surroundings) -> bool {
    let variable = |name| around.variable(name).ok().flatten().unwrap_or_default();
    variable("NO_COLOR").is_empty() && variable("TERM") != "dumb"
}

/// The person's own folder.
pub fn home(around: &dyn Surroundings) -> Option<PathBuf> {
    let folder = around.variable("HOME").ok().flatten()?;
    (!folder.is_empty()).then(|| PathBuf::from(folder))
}

/// Reads the section of the client.
pub(crate) fn client(checker: &mut Checker<'_>) -> Client {
    let api_key = checker.read("client.api_key", value::text);
    Client {
        server: checker.read("client.server", value::text),
        api_key: api_key.map(Secret::new),
        tls: tls(checker),
        model: checker.read("client.model", value::text),
        default_models: DefaultModels {
            audio: checker.read("client.default_models.audio", value::name),
            transcript: checker.read("client.default_models.transcript", value::name),
            vision: checker.read("client.default_models.vision", value::name),
            omni: checker.read("client.default_models.omni", value::name),
            text: checker.read("client.default_models.text", value::name),
        },
        history: checker.path("client.history"),
    }
}

fn tls(checker: &mut Checker<'_>) -> ClientTls {
    let certificate = checker.path("client.tls.certificate");
    let key = checker.path("client.tls.key");
    if certificate.is_some() != key.is_some() {
        let typed = match certificate {
            Some(_) => "client.tls.certificate",
            None => "client.tls.key",
        };
        checker.clash(
            typed,
            "a certificate and its key go together",
            "set client.tls.certificate and client.tls.key, or neither",
        );
    }
    ClientTls {
        ca: checker.path("client.tls.ca"),
        identity: certificate.zip(key),
        server_name: checker.read("client.tls.server_name", value::text),
    }
}
