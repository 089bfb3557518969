//! DashScope's error responses: HTTP status, code and message.

use std::borrow::Cow;

use serde_json::{Value, json};

/// The largest data URI that DashScope accepts, in bytes of the URI.
pub(super) const DATA_URI_BYTES: usize = 10_485_760;

/// An error in DashScope's format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    /// The HTTP status, or the one in the comment of an SSE event.
    pub(super) status: u16,
    /// For example `InvalidParameter`.
    pub(super) code: Cow<'static, str>,
    /// Human-readable message.
    pub(super) message: Cow<'static, str>,
}

impl ApiError {
    /// Any error.
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

    /// The most common error: a parameter or a message is invalid.
    pub(super) fn parameter(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "InvalidParameter", message)
    }

    /// An error found by the model, not by the gateway in front of it: DashScope wraps those.
    pub(super) fn algorithm(message: &str) -> Self {
        Self::parameter(format!(
            "<400> InternalError.Algo.InvalidParameter: {message}"
        ))
    }

    /// An error without code and message.
    pub(super) fn empty() -> Self {
        Self::new(400, "", "")
    }

    /// The API key is missing or invalid.
    pub(super) fn key() -> Self {
        Self::new(401, "InvalidApiKey", "Invalid API-key provided.")
    }

    /// Unknown path.
    pub(super) fn path() -> Self {
        Self::new(404, "NotFound", "Request path not found.")
    }

    /// The body exceeds the limit.
    pub(super) fn too_large() -> Self {
        Self::new(413, "BadRequest.TooLarge", "Payload Too Large")
    }

    /// A medium cannot be decoded.
    pub(super) fn format() -> Self {
        Self::parameter("Input files format not supported.")
    }

    /// The scheme of a media URL is not supported.
    pub(super) fn url() -> Self {
        Self::algorithm(
            "The provided URL does not appear to be valid. Ensure it is correctly formatted.",
        )
    }

    /// The body of the response.
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
    fn keys_are_in_the_recorded_order() {
        assert_eq!(
            ApiError::key()
                .json("3f6b0c52-8d1e-9a47-b2c3-5e9f10a7d684")
                .to_string(),
            "{\"code\":\"InvalidApiKey\",\"message\":\"Invalid API-key provided.\",\
             \"request_id\":\"3f6b0c52-8d1e-9a47-b2c3-5e9f10a7d684\"}"
        );
    }
}
