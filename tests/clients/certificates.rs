//! Certificates and keys: what the gateway is started with, and what the client is given.

use serde_json::{Map, Value};

use super::case::Case;

/// The gateway's arguments for the certificates and keys of a case.
pub(crate) fn settings(case: &Case) -> Result<Vec<String>, String> {
    if case.gateway.tls.is_some() || case.gateway.keys {
        return Err("this gateway has neither certificates nor keys".to_owned());
    }
    Ok(Vec::new())
}

/// Puts the client's part into the options of a job.
pub(crate) fn put_into(options: &mut Map<String, Value>, case: &Case) -> Result<(), String> {
    if case.gateway.tls.is_some() && !options.is_empty() {
        return Err("this gateway has no certificates".to_owned());
    }
    Ok(())
}
