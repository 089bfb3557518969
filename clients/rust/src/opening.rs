//! How a stream is opened, at first and to resume it.

use tokio::time::timeout;
use tonic::{Request, Response, Streaming};

use crate::connections::{Counted, Counting};
use crate::error::Error;
use crate::terms::Terms;
use crate::transport::Transport;
use crate::v1;
use crate::v1::conversation_service_client::ConversationServiceClient;

/// The service for a stream, and its place among the calls.
pub(crate) type Place = Counting<ConversationServiceClient<Transport>>;

/// Opens a stream.
pub(crate) async fn opened(
    terms: &Terms,
    (service, counted): Place,
    request: v1::ConverseStreamRequest,
) -> Result<Open, Error> {
    let idle_timeout = terms.client.idle_timeout();
    let send = |request: Request<v1::ConverseStreamRequest>| {
        let mut service = service.clone();
        async move {
            let answered = timeout(idle_timeout, service.converse_stream(request)).await;
            answered.unwrap_or_else(|_| Err(terms.idle().status().clone()))
        }
    };
    let answered = terms.attempt(request, send).await?;
    Ok(Open {
        response: answered.response,
        retries_left: answered.retries_left,
        counted,
    })
}

/// A stream of one connection.
pub(crate) struct Open {
    pub(crate) response: Response<Streaming<v1::ConverseStreamResponse>>,
    pub(crate) retries_left: u32,
    pub(crate) counted: Counted,
}
