//! Tunnels through a proxy: `CONNECT`, as in RFC 9110, section 9.3.6, or SOCKS 5.
//!
//! `CONNECT` is implemented here, because the library's connector does not report the proxy's
//! response, which is needed to fix the configuration.

use std::fmt::Write as _;

use http::Uri;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tower::Service as _;

use crate::net::proxy::Proxy;

use super::error::RequestError;
use super::head;

/// The maximum length of the head of a proxy's response. Its body is ignored.
const MAX_ANSWER: usize = 16 * 1024;

/// Opens a tunnel to a host and port, if they are given.
pub(super) async fn pass<S>(
    stream: S,
    proxy: &Proxy,
    target: Option<(&str, u16)>,
) -> Result<S, RequestError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match target {
        None => Ok(stream),
        Some((host, port)) if proxy.is_socks() => socks(stream, proxy, host, port).await,
        Some((host, port)) => connect(stream, proxy, host, port).await,
    }
}

async fn connect<S>(mut stream: S, proxy: &Proxy, host: &str, port: u16) -> Result<S, RequestError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nhost: {host}:{port}\r\n");
    if let Some(authorization) = proxy.authorization() {
        // Writing to a string does not fail.
        let _ = write!(
            request,
            "proxy-authorization: {}\r\n",
            authorization.expose()
        );
    }
    request.push_str("\r\n");
    let failed = |error| RequestError::of_proxy(proxy, &RequestError::Connect(error));
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let mut answer = Vec::new();
    loop {
        let mut piece = [0; 1024];
        let length = stream.read(&mut piece).await.map_err(failed)?;
        answer.extend_from_slice(piece.get(..length).unwrap_or_default());
        match head::read(&answer) {
            Ok(Some((head, _))) if head.status == 407 => {
                return Err(RequestError::ProxyCredentials(proxy.to_string()));
            }
            // The client sends first, so no data of the host can have arrived.
            Ok(Some((head, end))) if head.status / 100 == 2 && end == answer.len() => {
                return Ok(stream);
            }
            Ok(Some((head, _))) if head.status / 100 == 2 => {
                let problem = "it sent data before the tunnel was used";
                return Err(RequestError::of_proxy(proxy, &problem));
            }
            Ok(Some((head, _))) => {
                let problem = format!("it answered CONNECT with HTTP {}", head.status);
                return Err(RequestError::of_proxy(proxy, &problem));
            }
            Err(problem) => return Err(RequestError::of_proxy(proxy, &problem)),
            Ok(None) if length == 0 => {
                return Err(RequestError::of_proxy(proxy, &"it closed the connection"));
            }
            Ok(None) if answer.len() > MAX_ANSWER => {
                return Err(RequestError::of_proxy(proxy, &"its answer is too long"));
            }
            Ok(None) => {}
        }
    }
}

async fn socks<S>(stream: S, proxy: &Proxy, host: &str, port: u16) -> Result<S, RequestError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let problem = |error: &dyn std::fmt::Display| RequestError::of_proxy(proxy, error);
    let target: Uri = format!("https://{host}:{port}")
        .parse()
        .map_err(|error| problem(&error))?;
    let mut stream = Some(TokioIo::new(stream));
    // The connection already exists.
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream.take().ok_or("the connection was used before");
        std::future::ready(stream)
    });
    let mut socks = SocksV5::new(Uri::from_static("socks5h://proxy"), connector);
    if let Some((user, password)) = proxy.credentials() {
        socks = socks.with_auth(user.to_owned(), password.expose().to_owned());
    }
    let passed = socks.call(target).await;
    Ok(passed.map_err(|error| problem(&error))?.into_inner())
}
