//! What DashScope says when it refuses a request: a status, a code and words.

use std::borrow::Cow;

use serde_json::{Value, json};

/// The largest data URI that DashScope takes, counted as it is written.
pub(super) const DATA_URI_BYTES: usize = 10_485_760;

/// A refusal in DashScope's own form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The HTTP status, or the one in the comment of an SSE event.
    pub(super) status: u16,
    /// For example `InvalidParameter`.
    pub(super) code: Cow<'static, str>,
    /// The words.
    pub(super) message: Cow<'static, str>,
}

impl Fault {
    /// Any refusal.
    pub(super) fn new(
        status: u16,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
        }
    }

    /// The most common one: a parameter or the conversation is wrong.
    pub(super) fn parameter(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "InvalidParameter", message)
    }

    /// A fault that the model, not the gateway before it, finds: DashScope wraps those.
    pub(super) fn algorithm(message: &str) -> Self {
        Self::parameter(format!(
            "<400> InternalError.Algo.InvalidParameter: {message}"
        ))
    }

    /// A refusal that does not say what is wrong.
    pub(super) fn nameless() -> Self {
        Self::new(400, "", "")
    }

    /// No key, or one that is not good.
    pub(super) fn key() -> Self {
        Self::new(401, "InvalidApiKey", "Invalid API-key provided.")
    }

    /// The path is not one of DashScope's.
    pub(super) fn path() -> Self {
        Self::new(404, "NotFound", "Request path not found.")
    }

    /// The body is larger than the server reads.
    pub(super) fn too_large() -> Self {
        Self::new(413, "BadRequest.TooLarge", "Payload Too Large")
    }

    /// A medium that cannot be decoded.
    pub(super) fn format() -> Self {
        Self::parameter("Input files format not supported.")
    }

    /// A medium that no scheme leads to.
    pub(super) fn url() -> Self {
        Self::algorithm(
            "The provided URL does not appear to be valid. Ensure it is correctly formatted.",
        )
    }

    /// The body of the answer.
    pub(super) fn json(&self, request_id: &str) -> Value {
        if self.code.is_empty() {
            return json!({});
        }
        json!({"code": self.code, "message": self.message, "request_id": request_id})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_stand_in_the_recorded_order() {
        assert_eq!(
            Fault::key()
                .json("3f6b0c52-8d1e-9a47-b2c3-5e9f10a7d684")
                .to_string(),
            "{\"code\":\"InvalidApiKey\",\"message\":\"Invalid API-key provided.\",\
             \"request_id\":\"3f6b0c52-8d1e-9a47-b2c3-5e9f10a7d684\"}"
        );
    }
}
