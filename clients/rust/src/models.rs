//! The models that the gateway can be asked for.

use std::collections::VecDeque;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use tonic::{Request, Response};

use crate::call::Terms;
use crate::client::Client;
use crate::error::Error;
use crate::v1;
use crate::v1::{GetModelRequest, ListModelsRequest};

/// Settings of a call of `ModelService`.
#[derive(Clone, Debug)]
struct Query {
    client: Client,
    timeout: Option<Duration>,
    metadata: Vec<(String, String)>,
}

impl Query {
    fn new(client: Client) -> Self {
        Self {
            client,
            timeout: None,
            metadata: Vec::new(),
        }
    }

    /// The terms of one call. Its request has no field for the request id.
    fn terms(&self) -> Result<Terms, Error> {
        let (metadata, request_id) = self.client.named_metadata(&self.metadata)?;
        let timeout = self.timeout.unwrap_or_else(|| self.client.whole_timeout());
        let client = self.client.clone();
        Ok(Terms::new(client, metadata, Some(timeout), request_id))
    }
}

/// The models that can be used, in the order of their names. A page is fetched when its first model
/// is needed.
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
pub struct ModelList {
    query: Query,
    page_size: i32,
    /// The token of the next page; `None` after the last one.
    token: Option<String>,
    page: VecDeque<v1::Model>,
}

impl ModelList {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            query: Query::new(client),
            page_size: 0,
            token: Some(String::new()),
            page: VecDeque::new(),
        }
    }

    /// Sets how many models are fetched at once. Default: the gateway's page size.
    pub fn page_size(mut self, models: i32) -> Self {
        self.page_size = models;
        self
    }

    /// Sets the deadline of each page, including all attempts. Default: the client's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.query.timeout = Some(timeout);
        self
    }

    /// Adds a metadata entry to each call.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.metadata.push((name.into(), value.into()));
        self
    }

    /// Returns the next model, and `None` after the last one or after an error.
    pub async fn next(&mut self) -> Option<Result<v1::Model, Error>> {
        while self.page.is_empty() {
            // It stays taken if the call fails.
            let token = self.token.take()?;
            if let Err(error) = self.fetch(token).await {
                return Some(Err(error));
            }
        }
        self.page.pop_front().map(Ok)
    }

    async fn fetch(&mut self, page_token: String) -> Result<(), Error> {
        let terms = self.query.terms()?;
        let request = ListModelsRequest {
            page_size: self.page_size,
            page_token,
        };
        let service = self.query.client.model_service();
        let send = move |request: Request<ListModelsRequest>| {
            let mut service = service.clone();
            async move { service.list_models(request).await }
        };
        let response = terms.attempt(request, send).await?;
        self.query.client.credit().earn();
        let response = response.into_inner();
        self.page = response.models.into();
        self.token = Some(response.next_page_token).filter(|token| !token.is_empty());
        Ok(())
    }
}

/// A query of one model, which is sent when it is awaited.
#[derive(Debug)]
#[must_use = "no request is sent until it is awaited"]
pub struct ModelQuery {
    query: Query,
    name: String,
}

impl ModelQuery {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self {
            query: Query::new(client),
            name,
        }
    }

    /// Sets the deadline of this call, including all attempts. Default: the client's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.query.timeout = Some(timeout);
        self
    }

    /// Adds a metadata entry to this call.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.metadata.push((name.into(), value.into()));
        self
    }
}

impl IntoFuture for ModelQuery {
    type Output = Result<v1::Model, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let terms = self.query.terms()?;
            let request = GetModelRequest { name: self.name };
            let service = self.query.client.model_service();
            let send = move |request: Request<GetModelRequest>| {
                let mut service = service.clone();
                async move { service.get_model(request).await }
            };
            let response = terms.attempt(request, send).await;
            let response = response.map(Response::into_inner)?;
            self.query.client.credit().earn();
            Ok(response.model.unwrap_or_default())
        })
    }
}
