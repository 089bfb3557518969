//! The interface of a set of services, as the router sees it.

use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response};
use tokio::sync::watch;
use tonic::body::Body;

use crate::error::{Error, Reason};

use super::body_timeout::Clocked;
use super::call_context::CallContext;
use super::config::GrpcConfig;

/// A response in progress. Its error is converted in the same way for every service.
pub type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

/// Who may call a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone, without credentials.
    Open,
    /// Authenticated callers.
    Known,
}

/// A set of services. One is created per gateway, and handles all its calls.
pub trait ServiceSet: Send + Sync {
    /// Who may call the service of this name; `None` if it does not exist.
    fn access(&self, service: &str, settings: &GrpcConfig) -> Option<Access>;

    /// Becomes true when the calls that remain are ended, on shutdown.
    fn shutdown(&self) -> watch::Receiver<bool>;

    /// Handles a call of one of them. The configuration is the one at its arrival.
    fn answer(
        &self,
        request: Request<Clocked>,
        context: Box<CallContext>,
        settings: Arc<GrpcConfig>,
    ) -> Answering;
}

/// The error of a call of an unknown service.
pub fn unknown() -> Error {
    let message = "there is no such service; list them with grpcurl";
    Error::new(Reason::UnknownMethod, message)
}
