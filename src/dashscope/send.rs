//! Sends a request and reads the head of its response, or the error that it is.

use super::errors;
use super::http;
use super::request::Prepared;
use crate::error::Error;
use crate::http1::{Client, Response};
use crate::net::proxy::Proxy;

/// The maximum number of bytes read of an error response. DashScope's have a few hundred.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// Sends a request. Resolves when response headers with a success status have arrived.
pub(crate) async fn send(
    client: &Client,
    prepared: &Prepared,
    proxy: Option<&Proxy>,
) -> Result<Response, Error> {
    let sent = client.send(prepared.head(), prepared.body());
    let answer = sent.await.map_err(http::send_error)?;
    if answer.status == 407
        && let Some(proxy) = proxy
    {
        return Err(http::refused_credentials(proxy));
    }
    if !(200..300).contains(&answer.status) {
        let body = http::read_error_body(answer.body, MAX_ERROR_BYTES).await;
        return Err(errors::of_answer(answer.status, &answer.headers, &body));
    }
    Ok(answer)
}
