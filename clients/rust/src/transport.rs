//! What the generated clients send their requests to: a channel, with the layers of the client.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, Service, http};
use tonic::transport::Channel;
use tower::Layer;
use tower::util::BoxCloneSyncService;

use crate::reach::{Reach, Route};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Inner = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, BoxError>;

/// A channel with the layers of its client. The generated clients and the layers of
/// [`crate::ClientBuilder::layer`] use it as a service. Cheap to clone.
#[derive(Clone)]
pub struct Transport(Inner);

/// Puts a layer around a transport.
pub(crate) type Wrap = Arc<dyn Fn(Transport) -> Transport + Send + Sync>;

impl Transport {
    pub(crate) fn new(channel: Channel) -> Self {
        Self::of(channel)
    }

    /// A channel of this client, whose calls note that they have got to it.
    pub(crate) fn watched(channel: Channel, reach: Reach) -> Self {
        Self::of(tower::ServiceExt::map_request(
            channel,
            move |request: http::Request<Body>| {
                if let Some(route) = request.extensions().get::<Route>() {
                    route.take(&reach);
                }
                request
            },
        ))
    }

    fn of<S, B>(service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<B>>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let service = tower::ServiceExt::map_response(service, into_body);
        Self(Inner::new(tower::ServiceExt::map_err(service, Into::into)))
    }
}

fn into_body<B>(response: http::Response<B>) -> http::Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    response.map(Body::new)
}

/// Stores a layer until there is a channel.
pub(crate) fn wrap<L, B>(layer: L) -> Wrap
where
    L: Layer<Transport> + Send + Sync + 'static,
    L::Service:
        Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    <L::Service as Service<http::Request<Body>>>::Error: Into<BoxError>,
    <L::Service as Service<http::Request<Body>>>::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    Arc::new(move |transport| Transport::of(layer.layer(transport)))
}

impl Service<http::Request<Body>> for Transport {
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future = <Inner as Service<http::Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.call(request)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Transport").finish_non_exhaustive()
    }
}
