//! The HTTP/2 server: sockets, TLS, connections, limits of HTTP/2, gRPC-Web and CORS.
//!
//! It passes each request to a [`Service`] and knows neither services nor protobuf messages.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;

use crate::chat::call::Connection;
use crate::telemetry::Telemetry;

use self::call_clock::CallClock;
use self::grpc_web::WebRequest;

pub mod call_clock;
pub mod client_cert;
pub mod connection;
pub mod cors;
pub mod frame_budget;
pub mod grpc_web;
mod header_fields;
pub mod http2_frames;
pub mod http2_guard;
pub mod listener;
mod open_calls;
pub mod phase;
pub mod plain_http;
pub mod socket;
mod stream_task;
pub mod tls;
mod transport_body;
pub mod worker_runtimes;

/// Handles the requests of all connections. Cheap to clone.
pub trait Service: Clone + Send + Sync + 'static {
    /// The body of a response.
    type Body: http_body::Body<Data = Bytes, Error = Status> + From<Body> + Send + Unpin + 'static;

    /// Handles one request. Never fails: every error is a response.
    fn call(
        &self,
        request: Request<WebRequest>,
        connection: &Connection,
        clock: &Arc<CallClock>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// The metrics of connections.
    fn telemetry(&self) -> &Arc<Telemetry>;

    /// How long a response may stay unread.
    fn slow_consumer_timeout(&self) -> Duration;

    /// The limit on the metadata of one call, in bytes.
    fn max_metadata_bytes(&self) -> usize;
}
