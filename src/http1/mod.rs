//! HTTP/1.1 to one host: a request that is all there, an answer that is read as it comes.
//!
//! An answer is polled where it is read. There is no task behind a connection and no channel
//! between a socket and its reader: dropping an answer closes its connection at that moment, and
//! an answer that waits holds no buffer. Measured against a pool of hyper's connections, that is a
//! third less work for each piece of a stream, and two thirds less memory while it is silent.
//!
//! Heads are read by `httparse`; what is here is when to connect, what to keep, and where a body
//! ends. The room knows nothing of DashScope, and decides nothing: a fault says what was sent.

mod body;
mod connect;
mod connection;
mod fault;
pub mod framing;
pub mod head;
mod pool;
mod scratch;
mod unzip;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use url::Url;

pub use body::Body;
pub use fault::{Broken, Fault};

use connect::Connector;
use connection::{Connection, Received};
use framing::Framing;
use head::Request;
use pool::Pool;
use unzip::Coding;

/// How a host is reached.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a connection may take, name and TLS included.
    pub connect_timeout: Duration,
}

/// Asks one host. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    connector: Connector,
    pool: Arc<Pool>,
}

/// An answer whose head has come.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as it comes.
    pub body: Body,
}

impl Client {
    /// A client of the host in this URL. Connects to nothing.
    pub fn new(url: &Url, settings: Settings) -> Result<Self, Fault> {
        Ok(Self {
            inner: Arc::new(Inner {
                connector: Connector::new(url, settings.connect_timeout)?,
                pool: Arc::default(),
            }),
        })
    }

    /// Sends a request. Resolves when the head of the answer is there, whatever its status.
    pub async fn send(&self, request: &Request, body: &Bytes) -> Result<Answer, Fault> {
        let mut connection = match self.inner.pool.take() {
            Some(connection) => connection,
            None => Connection::new(self.inner.connector.connect().await?),
        };
        let (head, rest) = connection.ask(request.as_bytes(), body).await?;
        let framing = Framing::of(head.status, &head.headers).map_err(Fault::Malformed)?;
        let keep = head.keep_alive && connection.is_idle();
        let coding = Coding::of(&head.headers).ok_or(Fault::Encoded)?;
        let received = Received {
            framing,
            rest,
            coding,
        };
        Ok(Answer {
            status: head.status,
            body: Body::new(
                connection,
                keep.then(|| Arc::clone(&self.inner.pool)),
                received,
            ),
            headers: head.headers,
        })
    }
}
