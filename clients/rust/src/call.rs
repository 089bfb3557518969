//! One call: its request, its settings and its attempts.

use std::error::Error as _;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming, TimeoutExpired};
use uuid::Uuid;

use crate::answer::Answer;
use crate::client::Client;
use crate::connections::Counted;
use crate::error::Error;
use crate::events::Events;
use crate::leave::Leave;
use crate::retry::Attempts;
use crate::v1;

/// Marker of a call that returns the complete answer.
#[derive(Debug)]
pub enum Whole {}

/// Marker of a call that returns a stream.
#[derive(Debug)]
pub enum Streamed {}

/// A call that is sent when it is awaited.
///
/// ```no_run
/// # async fn ask(client: dashgate_client::Client) -> Result<(), dashgate_client::Error> {
/// # let conversation = dashgate_client::Conversation::new("qwen3.6-plus");
/// use std::time::Duration;
///
/// let answer = client
///     .converse(&conversation)
///     .timeout(Duration::from_secs(30))
///     .request_id("order-4711-summary")
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "no request is sent until it is awaited"]
pub struct Call<Kind> {
    client: Client,
    conversation: v1::Conversation,
    options: Option<v1::GenerationOptions>,
    request_id: Option<String>,
    timeout: Option<Duration>,
    metadata: Vec<(String, String)>,
    resume: bool,
    kind: PhantomData<fn() -> Kind>,
}

impl<Kind> Call<Kind> {
    pub(crate) fn new(client: Client, conversation: v1::Conversation) -> Self {
        Self {
            client,
            conversation,
            options: None,
            request_id: None,
            timeout: None,
            metadata: Vec::new(),
            resume: true,
            kind: PhantomData,
        }
    }

    /// Sets the generation options. Default: those of the model.
    pub fn options(mut self, options: v1::GenerationOptions) -> Self {
        self.options = Some(options);
        self
    }

    /// Sets the request id (idempotency key): a second call with the same id and content returns
    /// the same answer and is not billed. Default: a UUID, the same for all attempts.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// Sets the deadline of this call, including all attempts. Default: the client's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Adds a metadata entry to this call.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((name.into(), value.into()));
        self
    }

    /// The request id of the caller, also in the metadata of the call.
    fn given_id(&self) -> Option<String> {
        let is_name = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("x-request-id");
        let in_metadata = || self.metadata.iter().find(is_name);
        let given = self.request_id.clone();
        given.or_else(|| in_metadata().map(|(_, value)| value.clone()))
    }

    fn taken_apart(self, timeout: Option<Duration>) -> Result<(Terms, Asked), Error> {
        let given = self.given_id();
        let request_id = given.unwrap_or_else(|| Uuid::new_v4().to_string());
        let metadata = self.client.metadata(&self.metadata)?;
        let terms = Terms::new(self.client, metadata, timeout, request_id);
        Ok((terms, (self.conversation, self.options)))
    }
}

type Asked = (v1::Conversation, Option<v1::GenerationOptions>);

impl IntoFuture for Call<Whole> {
    type Output = Result<Answer, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let timeout = self.timeout.unwrap_or_else(|| self.client.whole_timeout());
            let (terms, (conversation, options)) = self.taken_apart(Some(timeout))?;
            let request = v1::ConverseRequest {
                conversation: Some(conversation),
                options,
                request_id: terms.request_id.clone(),
                ..v1::ConverseRequest::default()
            };
            let (service, _counted) = terms.client.conversations();
            let send = move |request: Request<v1::ConverseRequest>| {
                let mut service = service.clone();
                async move { service.converse(request).await }
            };
            let response = terms.attempt(request, send).await?;
            terms.client.credit().earn();
            Ok(Answer::new(response.into_inner()))
        })
    }
}

impl Call<Streamed> {
    /// Sets whether a stream whose connection is lost continues on another one, after the last event
    /// that was received. Default: true. Dropping such a stream also cancels the call by its request
    /// id, for all streams that have the same; if several have, set it to false. A task of the runtime
    /// does it: await [`Client::settle`] before the runtime ends.
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }
}

impl IntoFuture for Call<Streamed> {
    type Output = Result<Events, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let timeout = self.timeout.or_else(|| self.client.timeout());
            let (resume, is_named) = (self.resume, self.given_id().is_some());
            let (terms, (conversation, options)) = self.taken_apart(timeout)?;
            let request = v1::ConverseStreamRequest {
                conversation: Some(conversation),
                options,
                request_id: terms.request_id.clone(),
                resumable: resume,
                ..v1::ConverseStreamRequest::default()
            };
            let id = (terms.request_id.as_str(), is_named);
            let mut leave = Leave::new(&terms.client, &terms.metadata, id, resume);
            match opened(&terms, request.clone()).await {
                Ok(source) => Ok(Events::new(source, (terms, request), leave)),
                Err(error) => {
                    leave.failed(&error);
                    Err(error)
                }
            }
        })
    }
}

/// Opens a stream.
pub(crate) async fn opened(
    terms: &Terms,
    request: v1::ConverseStreamRequest,
) -> Result<Open, Error> {
    let (service, counted) = terms.client.conversations();
    let send = move |request: Request<v1::ConverseStreamRequest>| {
        let mut service = service.clone();
        async move { service.converse_stream(request).await }
    };
    let response = terms.attempt(request, send).await?;
    Ok(Open { response, counted })
}

/// A stream of one connection.
pub(crate) struct Open {
    pub(crate) response: Response<Streaming<v1::ConverseStreamResponse>>,
    pub(crate) counted: Counted,
}

/// The settings of a call.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) client: Client,
    metadata: MetadataMap,
    pub(crate) deadline: Option<Instant>,
    pub(crate) request_id: String,
}

impl Terms {
    pub(crate) fn new(
        client: Client,
        metadata: MetadataMap,
        timeout: Option<Duration>,
        request_id: String,
    ) -> Self {
        Self {
            client,
            metadata,
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            request_id,
        }
    }

    /// Names the address in the error of a connection.
    fn with_target(&self, status: Status) -> Status {
        if status.code() != Code::Unavailable || status.source().is_none() {
            return status;
        }
        let cause = chain(&status);
        let message = format!("{}: {cause}", self.client.target());
        Status::unavailable(message)
    }

    /// Sends a request until it succeeds or must not be retried.
    pub(crate) async fn attempt<Message, Answered, Sending>(
        &self,
        message: Message,
        send: impl Fn(Request<Message>) -> Sending,
    ) -> Result<Answered, Error>
    where
        Message: Clone,
        Sending: Future<Output = Result<Answered, Status>>,
    {
        let mut attempts = Attempts::first();
        loop {
            let mut request = Request::new(message.clone());
            *request.metadata_mut() = self.metadata.clone();
            if let Some(deadline) = self.deadline {
                request.set_timeout(deadline.saturating_duration_since(Instant::now()));
            }
            let status = match within(self.deadline, &self.request_id, send(request)).await? {
                Ok(answered) => return Ok(answered),
                Err(status) => self.with_target(of_broken_connection(status)),
            };
            let pause = attempts.next(&status, self.client.credit());
            let now = Instant::now();
            let in_time = |pause: &Duration| {
                let next = now.checked_add(*pause);
                self.deadline
                    .is_none_or(|deadline| next.is_some_and(|next| next < deadline))
            };
            match pause.filter(in_time) {
                Some(pause) => sleep(pause).await,
                None => return Err(failed(status, self.deadline, &self.request_id)),
            }
        }
    }
}

/// The message of an error with those of its causes.
fn chain(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}

/// Waits for a future until the deadline.
pub(crate) async fn within<T>(
    deadline: Option<Instant>,
    request_id: &str,
    future: impl Future<Output = T>,
) -> Result<T, Error> {
    match deadline {
        Some(deadline) => timeout_at(deadline, future)
            .await
            .map_err(|_| Error::deadline(request_id)),
        None => Ok(future.await),
    }
}

/// Converts the status of a connection that broke: tonic reports it as `CANCELLED` or `UNKNOWN`. A
/// status of the gateway has no source; one of a broken connection has.
pub(crate) fn of_broken_connection(status: Status) -> Status {
    let is_vague = matches!(status.code(), Code::Cancelled | Code::Unknown);
    if is_vague && status.source().is_some() && !is_of_the_clock(&status) {
        return Status::unavailable(format!("the connection broke: {}", status.message()));
    }
    status
}

/// Converts a status to an error. tonic reports `CANCELLED` when its own timer of the deadline
/// expires first.
pub(crate) fn failed(status: Status, deadline: Option<Instant>, request_id: &str) -> Error {
    let is_late = deadline.is_some_and(|deadline| deadline <= Instant::now());
    let is_late = is_late && status.code() == Code::Cancelled;
    if is_late || is_of_the_clock(&status) {
        return Error::deadline(request_id);
    }
    Error::of_call(status, request_id)
}

fn is_of_the_clock(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<TimeoutExpired>() {
            return true;
        }
        cause = error.source();
    }
    false
}
