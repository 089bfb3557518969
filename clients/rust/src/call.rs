//! One call of a model: its request and its settings.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use tonic::Request;
use uuid::Uuid;

use crate::answer::Answer;
use crate::call_metadata::CallMetadata;
use crate::client::Client;
use crate::conversation::Conversation;
use crate::error::Error;
use crate::events::Events;
use crate::headers;
use crate::leave::Leave;
use crate::opening::opened;
use crate::terms::Terms;
use crate::uploaded;
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
#[derive(Clone, Debug)]
#[must_use = "no request is sent until it is awaited"]
pub struct Call<Kind> {
    client: Client,
    conversation: Conversation,
    settings: CallSettings,
    resume: bool,
    kind: PhantomData<fn() -> Kind>,
}

/// What the calls of a model have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallSettings {
    pub(crate) options: Option<v1::GenerationOptions>,
    pub(crate) request_id: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) metadata: CallMetadata,
    pub(crate) max_retries: Option<u32>,
    pub(crate) expected_turn: Option<i32>,
    pub(crate) history: Option<v1::HistoryPolicy>,
}

impl CallSettings {
    /// The request id of the caller, also in the metadata of the call.
    fn given_id(&self) -> Option<String> {
        let is_name = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("x-request-id");
        let in_metadata = || self.metadata.iter().find(is_name);
        let given = self.request_id.clone();
        given.or_else(|| in_metadata().map(|(_, value)| value.clone()))
    }

    /// The settings of the next call of a loop, which has a request id and a turn of its own.
    pub(crate) fn next(&mut self) {
        self.request_id = None;
        self.expected_turn = None;
        let is_name = |name: &str| name.eq_ignore_ascii_case("x-request-id");
        self.metadata.retain(|(name, _)| !is_name(name));
    }
}

impl Client {
    /// Returns the next answer when complete: `client.converse(&conversation).await?`.
    ///
    /// The default deadline is 10 minutes.
    pub fn converse(&self, conversation: impl Into<Conversation>) -> Call<Whole> {
        Call::new(self.clone(), conversation.into())
    }

    /// Returns the next answer as a stream: `client.stream(&conversation).await?`.
    ///
    /// There is no deadline by default. If its connection is lost, the stream continues on another
    /// one: see [`Call::resume`].
    pub fn stream(&self, conversation: impl Into<Conversation>) -> Call<Streamed> {
        Call::new(self.clone(), conversation.into())
    }
}

impl<Kind> Call<Kind> {
    pub(crate) fn new(client: Client, conversation: Conversation) -> Self {
        Self {
            client,
            conversation,
            settings: CallSettings::default(),
            resume: true,
            kind: PhantomData,
        }
    }

    pub(crate) fn with(mut self, settings: CallSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets the generation options. Default: those of the model.
    pub fn options(mut self, options: v1::GenerationOptions) -> Self {
        self.settings.options = Some(options);
        self
    }

    /// Sets the request id (idempotency key): a second call with the same id and content returns
    /// the same answer and is not billed. Default: a UUID, the same for all attempts.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.settings.request_id = Some(id.into());
        self
    }

    /// Sets the deadline of this call, including all attempts. Default: the client's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// Adds a metadata entry to this call.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.metadata.push((name.into(), value.into()));
        self
    }

    /// Sets how often this call is made again if it is throttled. Default: the client's.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.settings.max_retries = Some(retries);
        self
    }

    /// Sets the latest turn of a stored conversation that the caller knows. If it is not the latest,
    /// the call is `ABORTED` with the reason `STALE_CONVERSATION`. Default:
    /// [`Conversation::last_turn`], or not compared.
    pub fn expected_turn(mut self, turn: i32) -> Self {
        self.settings.expected_turn = Some(turn);
        self
    }

    /// Sets which part of the history of a stored conversation is sent to the model. Default: the
    /// latest 100 turns, with their media.
    pub fn history(mut self, history: v1::HistoryPolicy) -> Self {
        self.settings.history = Some(history);
        self
    }

    /// The terms of the call, and what it sends.
    fn taken_apart(
        self,
        method: &'static str,
        timeout: Option<Duration>,
    ) -> Result<(Terms, Asked), Error> {
        let settings = self.settings;
        let given = settings.given_id();
        let request_id = given.unwrap_or_else(|| Uuid::new_v4().to_string());
        let metadata = self.client.metadata(&settings.metadata)?;
        let max_retries = self.client.max_retries();
        let mut terms = Terms::new(self.client, method, metadata, timeout, request_id);
        terms.max_retries = settings.max_retries.unwrap_or(max_retries);
        let last_turn = self.conversation.last_turn();
        let asked = Asked {
            conversation: self.conversation.into(),
            options: settings.options,
            expected_turn: settings.expected_turn.or(last_turn),
            history: settings.history,
        };
        Ok((terms, asked))
    }
}

/// What a call sends.
struct Asked {
    conversation: v1::Conversation,
    options: Option<v1::GenerationOptions>,
    expected_turn: Option<i32>,
    history: Option<v1::HistoryPolicy>,
}

impl IntoFuture for Call<Whole> {
    type Output = Result<Answer, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let timeout = self.settings.timeout;
            let timeout = timeout.unwrap_or_else(|| self.client.whole_timeout());
            let (terms, asked) = self.taken_apart("Converse", Some(timeout))?;
            let mut log = terms.log();
            let result = answered(&terms, asked).await;
            log.end(result.as_ref());
            result
        })
    }
}

async fn answered(terms: &Terms, mut asked: Asked) -> Result<Answer, Error> {
    uploaded::replace(terms, &mut asked.conversation).await?;
    let request = v1::ConverseRequest {
        conversation: Some(asked.conversation),
        options: asked.options,
        request_id: terms.request_id.clone(),
        expected_turn: asked.expected_turn,
        history: asked.history,
        ..v1::ConverseRequest::default()
    };
    let (service, _counted) = terms.after_others(terms.client.conversations()).await?;
    let send = move |request: Request<v1::ConverseRequest>| {
        let mut service = service.clone();
        async move { service.converse(request).await }
    };
    let response = terms.attempt(request, send).await?.response;
    terms.client.credit().earn();
    let headers = headers::texts(response.metadata());
    Ok(Answer::new(response.into_inner(), headers))
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
            let timeout = self.settings.timeout.or_else(|| self.client.timeout());
            let (resume, is_named) = (self.resume, self.settings.given_id().is_some());
            let (terms, asked) = self.taken_apart("ConverseStream", timeout)?;
            let mut log = terms.log();
            let result = streamed(terms, asked, resume, is_named).await;
            match result {
                Ok(events) => Ok(events.with_log(log)),
                Err(error) => {
                    log.end::<()>(Err(&error));
                    Err(error)
                }
            }
        })
    }
}

async fn streamed(
    terms: Terms,
    mut asked: Asked,
    resume: bool,
    is_named: bool,
) -> Result<Events, Error> {
    uploaded::replace(&terms, &mut asked.conversation).await?;
    let request = v1::ConverseStreamRequest {
        conversation: Some(asked.conversation),
        options: asked.options,
        request_id: terms.request_id.clone(),
        expected_turn: asked.expected_turn,
        history: asked.history,
        resumable: resume,
        ..v1::ConverseStreamRequest::default()
    };
    let place = terms.after_others(terms.client.conversations()).await?;
    let id = (terms.request_id.as_str(), is_named);
    let mut leave = Leave::new(&terms.client, &terms.metadata, id, resume);
    match opened(&terms, place, request.clone()).await {
        Ok(source) => Ok(Events::new(source, (terms, request), leave)),
        Err(error) => {
            leave.failed(&error, terms.is_over());
            Err(error)
        }
    }
}
