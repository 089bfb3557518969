//! The settings of the commands that call a gateway. They can be read without the gateway's own, so
//! that a fault in those does not keep anybody from asking a gateway elsewhere.

use crate::secret::Secret;

use super::checker::Checker;
use super::fault::Faults;
use super::raw::{Flags, Raw};
use super::surroundings::Surroundings;
use super::value;

/// What `ask` and `health` need.
#[derive(Clone, Debug)]
pub struct Client {
    /// The gateway to call; none: run one.
    pub server: Option<String>,
    /// What to show to it.
    pub api_key: Option<Secret>,
    /// The model to ask; none: by what is attached.
    pub model: Option<String>,
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

/// Reads the section of the client.
pub(crate) fn client(checker: &mut Checker<'_>) -> Client {
    let api_key = checker.read("client.api_key", value::text);
    Client {
        server: checker.read("client.server", value::text),
        api_key: api_key.map(Secret::new),
        model: checker.read("client.model", value::text),
    }
}
