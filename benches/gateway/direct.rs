//! The same question straight to the fake, over HTTP/1.1: what there is without a gateway.

use std::cell::RefCell;
use std::net::SocketAddr;

use bytes::Bytes;
use dashgate::grpc::pb;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::bare_json::question;
use crate::error::{Error, Result};

/// Kept connections, and what is asked on them.
pub(crate) struct Client {
    address: SocketAddr,
    host: String,
    body: Bytes,
    idle: RefCell<Vec<SendRequest<Full<Bytes>>>>,
}

impl Client {
    /// Asks what a message for the gateway asks.
    pub(crate) fn new(address: SocketAddr, message: &[u8]) -> Result<Self> {
        let asked = pb::ConverseRequest::decode(message)?;
        Ok(Self {
            address,
            host: address.to_string(),
            body: question(&asked, false)?.into(),
            idle: RefCell::default(),
        })
    }

    /// Asks once, and reads the answer to its end.
    pub(crate) async fn call(&self) -> Result<()> {
        let kept = self.idle.borrow_mut().pop();
        let mut send = match kept {
            Some(send) => send,
            None => self.connect().await?,
        };
        send.ready().await?;
        let request = Request::post("/api/v1/services/aigc/multimodal-generation/generation")
            .header("host", &self.host)
            .header("content-type", "application/json")
            .header("authorization", "Bearer sk-bench")
            .body(Full::new(self.body.clone()))?;
        let response = send.send_request(request).await?;
        if response.status() != http::StatusCode::OK {
            return Err(format!("HTTP {}", response.status()).into());
        }
        response.into_body().collect().await?;
        self.idle.borrow_mut().push(send);
        Ok(())
    }

    async fn connect(&self) -> std::result::Result<SendRequest<Full<Bytes>>, Error> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (send, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        spawn_local(async move {
            let _ = connection.await;
        });
        Ok(send)
    }
}
