//! Errors of the OpenAI-style endpoints, in the form of each dialect.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::dialect::Dialect;
use super::error::ApiError;
use super::script_rule::Refusal;

/// How DashScope begins a message about an error that the model has found.
const ALGORITHM: &str = "<400> InternalError.Algo.InvalidParameter: ";

/// DashScope's native codes and those of its compatible mode.
static CODES: [(&str, &str); 9] = [
    ("InvalidApiKey", "invalid_api_key"),
    ("InvalidParameter", "invalid_parameter_error"),
    ("ModelNotFound", "model_not_found"),
    ("NotFound", "not_found"),
    ("InternalError", "internal_error"),
    ("Throttling", "limit_requests"),
    ("Throttling.RateQuota", "limit_requests"),
    ("Throttling.BurstRate", "limit_burst_rate"),
    ("Throttling.AllocationQuota", "insufficient_quota"),
];

/// An error of an OpenAI-style endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OpenAiError {
    /// The HTTP status.
    pub(super) status: u16,
    /// DashScope's native code, or any code of a script.
    code: Cow<'static, str>,
    /// Human-readable message.
    message: String,
    /// The field of the request that is wrong.
    param: Option<String>,
}

impl OpenAiError {
    /// A field of the request is invalid.
    pub(super) fn parameter(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            param: Some(param.into()),
            ..Self::from(ApiError::parameter(message.into()))
        }
    }

    /// The model is unknown.
    pub(super) fn model(model: &str, dialect: Dialect) -> Self {
        let message = match dialect {
            Dialect::DashScope | Dialect::OpenAi => {
                format!("The model `{model}` does not exist or you do not have access to it.")
            }
            Dialect::SglangOmni => format!("The model '{model}' does not exist."),
            Dialect::Vllm | Dialect::VllmOmni | Dialect::Sglang => {
                format!("The model `{model}` does not exist.")
            }
        };
        Self {
            param: Some("model".to_owned()),
            ..Self::from(ApiError::new(404, "ModelNotFound", message))
        }
    }

    /// The model is known, but not served by this endpoint.
    pub(super) fn unsupported_model(model: &str) -> Self {
        let message = format!("Unsupported model `{model}` for OpenAI compatibility mode.");
        ApiError::new(404, "model_not_supported", message).into()
    }

    /// The path is unknown.
    pub(super) fn path() -> Self {
        ApiError::path().into()
    }

    /// The key is missing or wrong.
    pub(super) fn key() -> Self {
        ApiError::new(401, "InvalidApiKey", "Incorrect API key provided.").into()
    }

    /// The body of a response.
    pub(super) fn body(&self, dialect: Dialect, request_id: &str) -> Value {
        match dialect {
            Dialect::DashScope => self.string_code(self.compatible_code(), request_id),
            Dialect::OpenAi => json!({"error": self.fields(self.openai_code())}),
            Dialect::Vllm | Dialect::VllmOmni | Dialect::Sglang if self.status == 401 => {
                json!({"error": "Unauthorized"})
            }
            Dialect::Vllm | Dialect::VllmOmni | Dialect::SglangOmni | Dialect::Sglang
                if self.code == "NotFound" =>
            {
                json!({"detail": "Not Found"})
            }
            Dialect::Vllm | Dialect::VllmOmni => json!({"error": self.integer_code()}),
            Dialect::Sglang => self.flat(),
            Dialect::SglangOmni => self.sglang_omni(),
        }
    }

    /// The event of a stream.
    pub(super) fn event(&self, dialect: Dialect, request_id: &str) -> Value {
        match dialect {
            Dialect::DashScope | Dialect::OpenAi => self.body(dialect, request_id),
            Dialect::Vllm | Dialect::VllmOmni => json!({"error": self.integer_code()}),
            Dialect::Sglang => json!({"error": self.flat()}),
            Dialect::SglangOmni => json!({"error": {"message": self.text(),
                "type": self.type_name(), "code": self.status}}),
        }
    }

    /// The HTTP status, which depends on the dialect for invalid fields.
    pub(super) fn http_status(&self, dialect: Dialect) -> u16 {
        if dialect == Dialect::SglangOmni && self.is_invalid_field() {
            return 422;
        }
        self.status
    }

    fn is_invalid_field(&self) -> bool {
        self.status == 400 && self.param.is_some()
    }

    fn string_code(&self, code: &str, request_id: &str) -> Value {
        let kind = match self.status {
            429 => code,
            _ if self.status >= 500 => "internal_error",
            _ => "invalid_request_error",
        };
        json!({"error": {"message": self.message, "type": kind, "param": null, "code": code},
            "request_id": request_id})
    }

    fn fields(&self, code: Value) -> Value {
        let kind = match self.status {
            429 => "requests",
            _ if self.status >= 500 => "server_error",
            _ => "invalid_request_error",
        };
        json!({"message": self.text(), "type": kind, "param": self.param, "code": code})
    }

    fn integer_code(&self) -> Value {
        json!({"message": self.text(), "type": self.type_name(), "param": self.param,
            "code": self.status})
    }

    /// SGLang's form, whose fields are not below `error` in a body.
    fn flat(&self) -> Value {
        json!({"object": "error", "message": self.text(), "type": self.type_name(),
            "param": self.param, "code": self.status})
    }

    fn sglang_omni(&self) -> Value {
        if self.code == "ModelNotFound" {
            return json!({"error": {"message": self.text(), "type": "invalid_request_error",
                "param": self.param, "code": "model_not_found"}});
        }
        match &self.param {
            Some(param) if self.is_invalid_field() => json!({"detail": [{"type": "value_error",
                "loc": ["body", param], "msg": self.text()}]}),
            _ => json!({"detail": self.text()}),
        }
    }

    fn compatible_code(&self) -> &str {
        let known = CODES.iter().find(|(native, _)| *native == self.code);
        known.map_or(&self.code, |(_, code)| code)
    }

    fn openai_code(&self) -> Value {
        match &*self.code {
            "InvalidParameter" | "NotFound" => Value::Null,
            "Throttling" | "Throttling.RateQuota" => json!("rate_limit_exceeded"),
            _ => json!(self.compatible_code()),
        }
    }

    /// The message without what only DashScope writes.
    fn text(&self) -> &str {
        self.message
            .strip_prefix(ALGORITHM)
            .unwrap_or(&self.message)
    }

    fn type_name(&self) -> &'static str {
        match self.status {
            400 | 413 | 422 => "BadRequestError",
            401 => "AuthenticationError",
            403 => "PermissionDeniedError",
            404 => "NotFoundError",
            429 => "RateLimitError",
            503 => "ServiceUnavailableError",
            _ => "InternalServerError",
        }
    }
}

impl From<ApiError> for OpenAiError {
    fn from(error: ApiError) -> Self {
        Self {
            status: error.status,
            code: error.code,
            message: error.message.into_owned(),
            param: None,
        }
    }
}

impl From<&Refusal> for OpenAiError {
    fn from(refusal: &Refusal) -> Self {
        let (code, message) = (refusal.code.clone(), refusal.message.clone());
        ApiError::new(refusal.status(), code, message).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_strings_or_integers() {
        let error = OpenAiError::parameter("n", "n must be at least 1");
        for (dialect, expected) in [
            (
                Dialect::DashScope,
                json!({"error": {"message": "n must be at least 1",
                    "type": "invalid_request_error", "param": null,
                    "code": "invalid_parameter_error"}, "request_id": "r-1"}),
            ),
            (
                Dialect::OpenAi,
                json!({"error": {"message": "n must be at least 1",
                    "type": "invalid_request_error", "param": "n", "code": null}}),
            ),
            (
                Dialect::Vllm,
                json!({"error": {"message": "n must be at least 1",
                    "type": "BadRequestError", "param": "n", "code": 400}}),
            ),
            (
                Dialect::Sglang,
                json!({"object": "error", "message": "n must be at least 1",
                    "type": "BadRequestError", "param": "n", "code": 400}),
            ),
            (
                Dialect::SglangOmni,
                json!({"detail": [{"type": "value_error", "loc": ["body", "n"],
                    "msg": "n must be at least 1"}]}),
            ),
        ] {
            assert_eq!(error.body(dialect, "r-1"), expected, "{dialect}");
        }
        assert_eq!(error.http_status(Dialect::SglangOmni), 422);
        assert_eq!(error.http_status(Dialect::Vllm), 400);
    }

    #[test]
    fn messages_of_the_model_have_dashscopes_prefix_only_there() {
        let error = OpenAiError::from(ApiError::algorithm("too long"));
        let message = |dialect| error.body(dialect, "x")["error"]["message"].clone();
        assert_eq!(
            message(Dialect::DashScope),
            "<400> InternalError.Algo.InvalidParameter: too long"
        );
        assert_eq!(message(Dialect::VllmOmni), "too long");
    }

    #[test]
    fn events_have_the_integer_code_below_error() {
        let refusal = Refusal {
            status: Some(500),
            code: "InternalError".into(),
            message: "out of memory".into(),
            ..Refusal::default()
        };
        let error = OpenAiError::from(&refusal);
        for dialect in [Dialect::Vllm, Dialect::Sglang, Dialect::SglangOmni] {
            assert_eq!(error.event(dialect, "x")["error"]["code"], 500, "{dialect}");
        }
        let event = error.event(Dialect::DashScope, "x");
        assert_eq!(event["error"]["code"], "internal_error");
    }
}
