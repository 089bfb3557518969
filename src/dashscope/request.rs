//! A call as a request: body and headers, made once and sent by each attempt.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::reply::Opening;
use crate::chat::call::{Delivery, Passing};
use crate::error::{Error, Reason};
use crate::secret::Secret;

const SSE: HeaderName = HeaderName::from_static("x-dashscope-sse");
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const WORKSPACE: HeaderName = HeaderName::from_static("x-dashscope-workspace");
const DATA_INSPECTION: HeaderName = HeaderName::from_static("x-dashscope-datainspection");
const OSS_RESOLVE: HeaderName = HeaderName::from_static("x-dashscope-ossresourceresolve");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A call that is ready to be sent, as often as need be. Cheap to clone.
#[derive(Clone)]
pub struct Prepared {
    inner: Arc<Inner>,
}

struct Inner {
    body: Bytes,
    headers: HeaderMap,
    model: String,
    choices: usize,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared")
            .field("model", &self.inner.model)
            .field("body_bytes", &self.inner.body.len())
            .finish_non_exhaustive()
    }
}

impl Prepared {
    /// Puts a request together.
    pub(super) fn new(body: Vec<u8>, headers: HeaderMap, model: &str, n: Option<i32>) -> Self {
        let choices = n.and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
        Self {
            inner: Arc::new(Inner {
                body: body.into(),
                headers,
                model: model.to_owned(),
                choices,
            }),
        }
    }

    /// How large the body is.
    pub fn body_bytes(&self) -> usize {
        self.inner.body.len()
    }

    pub(super) fn body(&self) -> Bytes {
        self.inner.body.clone()
    }

    pub(super) fn headers(&self) -> HeaderMap {
        self.inner.headers.clone()
    }

    pub(super) fn opening(&self, request_id: &str) -> Opening {
        Opening {
            model: self.inner.model.clone(),
            request_id: request_id.to_owned(),
            choices: self.inner.choices,
        }
    }
}

/// What of the settings goes into headers.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) authorization: HeaderValue,
    pub(super) workspace: Option<String>,
    pub(super) data_inspection: Option<String>,
}

impl Standing {
    /// Checks what will be in every request.
    pub(super) fn new(
        api_key: &Secret,
        workspace: Option<String>,
        data_inspection: Option<String>,
    ) -> Result<Self, Error> {
        let wrong = |what: &'static str| Error::new(Reason::GatewayConfig, what);
        let authorization = authorization(api_key)
            .ok_or_else(|| wrong("the DashScope api key has characters that no key has"))?;
        for (text, what) in [
            (
                &workspace,
                "the workspace has characters that no header takes",
            ),
            (
                &data_inspection,
                "the data inspection has characters that no header takes",
            ),
        ] {
            if text
                .as_deref()
                .is_some_and(|text| HeaderValue::from_str(text).is_err())
            {
                return Err(wrong(what));
            }
        }
        Ok(Self {
            authorization,
            workspace,
            data_inspection,
        })
    }

    /// The headers that every request has: key, workspace and trace.
    pub(super) fn headers(&self, passing: &Passing) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        let value = match &passing.api_key {
            None => self.authorization.clone(),
            Some(own) => authorization(own).ok_or_else(|| {
                let message = "the key for DashScope has characters that no key has";
                Error::new(Reason::Unauthenticated, message)
            })?,
        };
        headers.insert(AUTHORIZATION, value);
        let workspace = passing.workspace.as_ref().or(self.workspace.as_ref());
        insert(&mut headers, WORKSPACE, workspace)?;
        insert(&mut headers, TRACEPARENT, passing.traceparent.as_ref())?;
        insert(&mut headers, TRACESTATE, passing.tracestate.as_ref())?;
        Ok(headers)
    }

    /// The headers of a conversation call.
    pub(super) fn conversation_headers(
        &self,
        passing: &Passing,
        delivery: Delivery,
        names_storage: bool,
    ) -> Result<HeaderMap, Error> {
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        let enable = HeaderValue::from_static("enable");
        let mut headers = self.headers(passing)?;
        let inspection = passing.data_inspection.as_ref();
        let inspection = inspection.or(self.data_inspection.as_ref());
        insert(&mut headers, DATA_INSPECTION, inspection)?;
        headers.insert(CONTENT_TYPE, json.clone());
        match delivery {
            Delivery::Whole => {
                headers.insert(ACCEPT, json);
            }
            Delivery::Stream => {
                headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
                headers.insert(SSE, enable.clone());
                headers.insert(BUFFERING, HeaderValue::from_static("no"));
            }
        }
        if names_storage {
            headers.insert(OSS_RESOLVE, enable);
        }
        Ok(headers)
    }
}

fn authorization(api_key: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", api_key.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: Option<&String>) -> Result<(), Error> {
    if let Some(text) = text {
        let value = HeaderValue::from_str(text)
            .map_err(|_| Error::field(name.as_str(), "has characters that no header takes"))?;
        headers.insert(name, value);
    }
    Ok(())
}
