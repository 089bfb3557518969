//! A call as an HTTP request: body and headers, built once and sent by each attempt.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::delta_detector::TextForm;
use super::http::USER_AGENT;
use super::reply::Opening;
use crate::chat::call::{Call, Delivery, Passing};
use crate::chat::document::{Document, Real};
use crate::chat::warning::Warning;
use crate::error::{Error, Reason};
use crate::http1::head::Request;
use crate::net::proxy::Proxy;
use crate::secret::Secret;

const WORKSPACE: &str = "x-dashscope-workspace";
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// A request that can be sent any number of times. Cheap to clone.
#[derive(Clone)]
pub struct Prepared {
    inner: Arc<Inner>,
}

struct Inner {
    head: Request,
    body: Bytes,
    model: Arc<str>,
    choices: usize,
    has_audio: bool,
    is_openai: bool,
    form: TextForm,
    warnings: Vec<Warning>,
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
    /// Builds a request. `openai` is set for one in OpenAI's form, with warnings about it.
    pub(crate) fn new(
        body: Vec<u8>,
        mut head: Request,
        model: &Arc<str>,
        call: &Call,
        form: TextForm,
        openai: Option<Vec<Warning>>,
    ) -> Self {
        let mut warnings = call.warnings.clone();
        let is_openai = openai.is_some();
        warnings.extend(openai.into_iter().flatten());
        head.end(body.len());
        let options = &call.prompt.options;
        let n = options.n.map(f64::from);
        let n = n.or_else(|| {
            let Document::Number(Real(n)) = options.extra_parameters.value("n")? else {
                return None;
            };
            Some(*n)
        });
        // A cast from a float saturates, and large numbers of choices do not occur.
        let choices = n.map_or(1, |n| n as usize);
        let has_audio = options.audio.is_some() || options.modalities.iter().any(|m| m == "audio");
        Self {
            inner: Arc::new(Inner {
                head,
                body: body.into(),
                model: Arc::clone(model),
                choices,
                has_audio,
                is_openai,
                form,
                warnings,
            }),
        }
    }

    /// Whether it is in OpenAI's form.
    pub fn is_openai(&self) -> bool {
        self.inner.is_openai
    }

    /// Whether spoken answers were requested.
    pub(crate) fn has_audio(&self) -> bool {
        self.inner.has_audio
    }

    /// The length of the body, in bytes.
    pub fn body_bytes(&self) -> usize {
        self.inner.body.len()
    }

    /// The body of the request.
    pub fn body(&self) -> &Bytes {
        &self.inner.body
    }

    /// The head of the request, which contains an API key.
    pub fn head(&self) -> &Request {
        &self.inner.head
    }

    /// What is known of the answer, with the request id of the response headers.
    pub(crate) fn opening(&self, request_id: &str) -> Opening {
        Opening {
            model: Arc::clone(&self.inner.model),
            request_id: request_id.to_owned(),
            choices: self.inner.choices,
            form: self.inner.form,
            warnings: self.inner.warnings.clone(),
        }
    }
}

/// The headers of requests that come from the configuration.
pub(crate) struct FixedHeaders {
    /// The headers of every call.
    lines: Request,
    /// None for a server without keys.
    authorization: Option<Secret>,
    workspace: Option<String>,
    data_inspection: Option<String>,
}

impl FixedHeaders {
    /// Validates the headers of every request. They go to this URL with this method, through this
    /// proxy.
    pub(crate) fn new(
        (method, url): (&'static str, &Url),
        api_key: Option<&Secret>,
        workspace: Option<String>,
        data_inspection: Option<String>,
        proxy: Option<&Proxy>,
    ) -> Result<Self, Error> {
        let authorization = api_key.map(authorization);
        for (text, what) in [
            (
                authorization.as_ref().map(Secret::expose),
                "the DashScope api key has characters that no key has",
            ),
            (
                workspace.as_deref(),
                "the workspace has characters that a header cannot contain",
            ),
            (
                data_inspection.as_deref(),
                "the data inspection has characters that a header cannot contain",
            ),
        ] {
            if text.is_some_and(|text| HeaderValue::from_str(text).is_err()) {
                return Err(Error::new(Reason::GatewayConfig, what));
            }
        }
        let host = authority(url);
        let forwards = proxy.filter(|proxy| proxy.forwards(url));
        let target = match forwards {
            Some(_) => url.as_str(),
            None => url.path(),
        };
        let mut lines = Request::new(method, target, &host);
        let pass = forwards.and_then(Proxy::authorization);
        line(
            &mut lines,
            "proxy-authorization",
            pass.as_ref().map(Secret::expose),
        )?;
        for (name, value) in [
            ("user-agent", USER_AGENT),
            ("accept-encoding", "gzip"),
            ("content-type", JSON),
        ] {
            line(&mut lines, name, Some(value))?;
        }
        Ok(Self {
            lines,
            authorization,
            workspace,
            data_inspection,
        })
    }

    /// The caller's API key, if it differs from the configured one.
    fn own_key(passing: &Passing) -> Result<Option<Secret>, Error> {
        let Some(own) = &passing.api_key else {
            return Ok(None);
        };
        let own = authorization(own);
        match HeaderValue::from_str(own.expose()) {
            Ok(_) => Ok(Some(own)),
            Err(_) => {
                let message = "the key for DashScope has characters that no key has";
                Err(Error::new(Reason::Unauthenticated, message))
            }
        }
    }

    /// The headers that depend on the call, except for the key: workspace and trace.
    fn of_call<'a>(&'a self, passing: &'a Passing) -> [(&'static str, Option<&'a str>); 3] {
        let workspace = passing.workspace.as_deref().or(self.workspace.as_deref());
        [
            (WORKSPACE, workspace),
            (TRACEPARENT, passing.traceparent.as_deref()),
            (TRACESTATE, passing.tracestate.as_deref()),
        ]
    }

    /// The headers of an upload request.
    pub(crate) fn headers(&self, passing: &Passing) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        let own = Self::own_key(passing)?;
        if let Some(key) = own.as_ref().or(self.authorization.as_ref()) {
            let value = HeaderValue::from_str(key.expose());
            let mut value = value.map_err(|_| no_header(AUTHORIZATION.as_str()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        for (name, text) in self.of_call(passing) {
            if let Some(text) = text {
                let value = HeaderValue::from_str(text).map_err(|_| no_header(name))?;
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        Ok(headers)
    }

    /// The head of a conversation request, without the headers that depend on the body.
    pub(crate) fn head(
        &self,
        passing: &Passing,
        delivery: Delivery,
        names_storage: bool,
    ) -> Result<Request, Error> {
        let mut head = self.common_head(passing, delivery, names_storage)?;
        if delivery == Delivery::Stream {
            line(&mut head, "x-dashscope-sse", Some("enable"))?;
        }
        Ok(head)
    }

    /// The head of a request for a WebSocket at this URL.
    pub(crate) fn upgrade_head(
        &self,
        url: &Url,
        proxy: Option<&Proxy>,
        passing: &Passing,
    ) -> Result<Request, Error> {
        let forwards = proxy.filter(|proxy| proxy.forwards(url));
        let target = match (forwards, url.query()) {
            (Some(_), _) => url.as_str().to_owned(),
            (None, Some(query)) => format!("{}?{query}", url.path()),
            (None, None) => url.path().to_owned(),
        };
        let mut head = Request::upgrade(&target, &authority(url));
        let pass = forwards.and_then(Proxy::authorization);
        line(
            &mut head,
            "proxy-authorization",
            pass.as_ref().map(Secret::expose),
        )?;
        line(&mut head, "user-agent", Some(USER_AGENT))?;
        let own = Self::own_key(passing)?;
        let key = own.as_ref().or(self.authorization.as_ref());
        line(&mut head, "authorization", key.map(Secret::expose))?;
        for (name, text) in self.of_call(passing) {
            line(&mut head, name, text)?;
        }
        let inspection = passing.data_inspection.as_deref();
        let inspection = inspection.or(self.data_inspection.as_deref());
        line(&mut head, "x-dashscope-datainspection", inspection)?;
        Ok(head)
    }

    /// The head of a request to any server.
    pub(crate) fn common_head(
        &self,
        passing: &Passing,
        delivery: Delivery,
        names_storage: bool,
    ) -> Result<Request, Error> {
        let mut head = Request::from_lines(self.lines.as_bytes());
        let own = Self::own_key(passing)?;
        let key = own.as_ref().or(self.authorization.as_ref());
        line(&mut head, "authorization", key.map(Secret::expose))?;
        for (name, text) in self.of_call(passing) {
            line(&mut head, name, text)?;
        }
        let inspection = passing.data_inspection.as_deref();
        let inspection = inspection.or(self.data_inspection.as_deref());
        line(&mut head, "x-dashscope-datainspection", inspection)?;
        match delivery {
            Delivery::Whole => line(&mut head, "accept", Some(JSON))?,
            Delivery::Stream => {
                line(&mut head, "accept", Some("text/event-stream"))?;
                line(&mut head, "x-accel-buffering", Some("no"))?;
            }
        }
        let resolve = names_storage.then_some("enable");
        line(&mut head, "x-dashscope-ossresourceresolve", resolve)?;
        Ok(head)
    }
}

const JSON: &str = "application/json; charset=utf-8";

/// The host of a URL, with its port if that is not the default.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn authorization(api_key: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", api_key.expose()))
}

fn line(head: &mut Request, name: &'static str, text: Option<&str>) -> Result<(), Error> {
    match text {
        Some(text) => head.line(name, text).map_err(|_| no_header(name)),
        None => Ok(()),
    }
}

fn no_header(name: &'static str) -> Error {
    Error::field(name, "has characters that a header cannot contain")
}
