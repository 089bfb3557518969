//! What a set of services looks like to the router, which knows none of them by name.

use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response};
use tonic::body::Body;

use crate::error::{Error, Reason};

use super::body_timeout::Clocked;
use super::call_context::CallContext;
use super::config::GrpcConfig;

/// An answer that is being made. A fault of it is told in the same way for every service.
pub type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

/// Who may call a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone, without credentials.
    Open,
    /// Those who are known.
    Known,
}

/// A set of services. One is made for a gateway, and answers all its calls.
pub trait ServiceSet: Send + Sync {
    /// Who may call the service of this name; none: there is no such service.
    fn access(&self, service: &str, settings: &GrpcConfig) -> Option<Access>;

    /// Answers a call of one of them. The settings are those that held when it came.
    fn answer(
        &self,
        request: Request<Clocked>,
        context: Box<CallContext>,
        settings: Arc<GrpcConfig>,
    ) -> Answering;
}

/// The fault of a call whose service there is not.
pub fn unknown() -> Error {
    let message = "there is no such service; list them with grpcurl";
    Error::new(Reason::UnknownMethod, message)
}
