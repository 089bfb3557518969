//! Calls with one request and one response, and lists that are fetched in pages.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tonic::{Request, Status};

use crate::call_metadata::CallMetadata;
use crate::client::Client;
use crate::error::Error;
use crate::exclusive::Exclusive;
use crate::terms::Terms;

/// A method of the gateway that is called by a [`Query`]: its request message.
pub trait Method: Clone + fmt::Debug + Send + Sync + Unpin + 'static {
    /// The name, for the log.
    const NAME: &'static str;
    /// The result.
    type Output: Send;

    /// Returns whether a second attempt does what the first one did.
    fn is_repeatable(&self) -> bool {
        true
    }

    /// Sends the request.
    fn send(
        client: &Client,
        request: Request<Self>,
    ) -> impl Future<Output = Result<Self::Output, Status>> + Send;
}

/// A call with a result, which is sent when it is awaited.
#[derive(Clone, Debug)]
#[must_use = "no request is sent until it is awaited"]
pub struct Query<M> {
    client: Client,
    timeout: Option<Duration>,
    metadata: CallMetadata,
    pub(crate) message: M,
}

impl<M> Query<M> {
    pub(crate) fn new(client: Client, message: M) -> Self {
        Self {
            client,
            timeout: None,
            metadata: CallMetadata::default(),
            message,
        }
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
}

impl<M: Method> Query<M> {
    async fn run(self) -> Result<M::Output, Error> {
        // The request has no field for the request id of this call.
        let (metadata, request_id) = self.client.named_metadata(&self.metadata)?;
        let timeout = self.timeout.unwrap_or_else(|| self.client.whole_timeout());
        let client = self.client.clone();
        let terms = Terms::new(client, M::NAME, metadata, Some(timeout), request_id);
        let mut log = terms.log();
        let client = &self.client;
        let result = if self.message.is_repeatable() {
            let send = |request| M::send(client, request);
            let answered = terms.attempt(self.message, send).await;
            answered.map(|answered| {
                client.credit().earn();
                answered.response
            })
        } else {
            let send = |request| M::send(client, request);
            terms.once(self.message, send).await
        };
        log.end(result.as_ref());
        result
    }
}

impl<M: Method> IntoFuture for Query<M> {
    type Output = Result<M::Output, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// A page of a list, and the token of the next one.
#[derive(Debug)]
pub struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next_page_token: String,
}

/// A method that returns a list in pages.
pub trait Paged: Method<Output = Page<Self::Item>> {
    /// The items of the list.
    type Item: Send + Unpin + 'static;

    /// Sets the number of items that are fetched at once.
    fn set_page_size(&mut self, items: i32);
    /// Sets the token of the page.
    fn set_page_token(&mut self, token: String);
}

/// A list: a [`Stream`]. A page is fetched when its first item is needed.
///
/// ```no_run
/// # async fn list(client: dashgate_client::Client) -> Result<(), dashgate_client::Error> {
/// let mut models = client.list_models();
/// while let Some(model) = models.next().await {
///     println!("{}", model?.name);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "no request is sent until `next` is awaited"]
pub struct List<M: Paged> {
    query: Query<M>,
    /// The token of the next page; `None` after the last one.
    token: Option<String>,
    page: VecDeque<M::Item>,
    fetching: Option<Exclusive<Result<Page<M::Item>, Error>>>,
}

impl<M: Paged> List<M> {
    pub(crate) fn new(client: Client, message: M) -> Self {
        Self {
            query: Query::new(client, message),
            token: Some(String::new()),
            page: VecDeque::new(),
            fetching: None,
        }
    }

    /// Sets how many items are fetched at once. Default: the gateway's page size.
    pub fn page_size(mut self, items: i32) -> Self {
        self.query.message.set_page_size(items);
        self
    }

    /// Sets the deadline of each page, including all attempts. Default: the client's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.query = self.query.timeout(timeout);
        self
    }

    /// Adds a metadata entry to each call.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.query = self.query.metadata(name, value);
        self
    }

    /// Returns the next item, and `None` after the last one or after an error. It may be dropped
    /// without loss, as in `select!`.
    pub async fn next(&mut self) -> Option<Result<M::Item, Error>> {
        poll_fn(|context| self.poll_item(context)).await
    }

    fn poll_item(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<M::Item, Error>>> {
        loop {
            if let Some(item) = self.page.pop_front() {
                return Poll::Ready(Some(Ok(item)));
            }
            let Some(fetching) = &mut self.fetching else {
                // It stays taken if the call fails.
                let Some(token) = self.token.take() else {
                    return Poll::Ready(None);
                };
                let mut query = self.query.clone();
                query.message.set_page_token(token);
                self.fetching = Some(Exclusive::new(query.into_future()));
                continue;
            };
            let fetched = ready!(fetching.poll(context));
            self.fetching = None;
            match fetched {
                Ok(page) => {
                    self.page = page.items.into();
                    self.token = Some(page.next_page_token).filter(|token| !token.is_empty());
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// Returns all items that are left.
    ///
    /// # Errors
    ///
    /// A page could not be fetched.
    pub async fn all(mut self) -> Result<Vec<M::Item>, Error> {
        let mut items = Vec::new();
        while let Some(item) = self.next().await {
            items.push(item?);
        }
        Ok(items)
    }

    pub(crate) fn message_mut(&mut self) -> &mut M {
        &mut self.query.message
    }
}

impl<M: Paged> Stream for List<M> {
    type Item = Result<M::Item, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_item(context)
    }
}
