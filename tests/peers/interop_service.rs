//! `grpc.testing.TestService`, as far as the interoperability tests ask for it: payloads of the
//! sizes that are asked for, statuses and metadata that come back as they were sent.

use std::pin::Pin;
use std::sync::Arc;

use dashgate::grpc::body_timeout::Clocked;
use dashgate::grpc::call_context::CallContext;
use dashgate::grpc::config::GrpcConfig;
use dashgate::grpc::service::{Access, Answering, ServiceSet};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

const SERVICE: &str = "grpc.testing.TestService";

/// What comes back in the head of an answer, and what at its end.
const ECHO_INITIAL: &str = "x-grpc-test-echo-initial";
const ECHO_TRAILING: &str = "x-grpc-test-echo-trailing-bin";

/// The set of services that holds this one alone.
pub(crate) struct TestService;

impl ServiceSet for TestService {
    fn shutdown(&self) -> watch::Receiver<bool> {
        watch::channel(false).1
    }

    fn access(&self, service: &str, _settings: &GrpcConfig) -> Option<Access> {
        (service == SERVICE).then_some(Access::Known)
    }

    fn answer(
        &self,
        request: Request<Clocked>,
        _: Box<CallContext>,
        _: Arc<GrpcConfig>,
    ) -> Answering {
        Box::pin(async move {
            let asked = request.headers().clone();
            Ok(echoed(&asked, respond(request).await))
        })
    }
}

async fn respond(request: Request<Clocked>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    match path.rsplit('/').next().unwrap_or_default() {
        "EmptyCall" => {
            let mut grpc = Grpc::new(ProstCodec::default());
            grpc.unary(service_fn(empty_call), request).await
        }
        "UnaryCall" => {
            let mut grpc = Grpc::new(ProstCodec::default());
            grpc.unary(service_fn(unary_call), request).await
        }
        "StreamingInputCall" => {
            let mut grpc = Grpc::new(ProstCodec::default());
            grpc.client_streaming(service_fn(input_call), request).await
        }
        "StreamingOutputCall" => {
            let mut grpc = Grpc::new(ProstCodec::default());
            grpc.server_streaming(service_fn(output_call), request)
                .await
        }
        "FullDuplexCall" => {
            let mut grpc = Grpc::new(ProstCodec::default());
            grpc.streaming(service_fn(duplex_call), request).await
        }
        _ => Status::unimplemented("no such test").into_http(),
    }
}

/// Says again what a call asked to hear again.
fn echoed(asked: &HeaderMap, mut response: Response<Body>) -> Response<Body> {
    if let Some(value) = asked.get(ECHO_INITIAL) {
        response.headers_mut().insert(ECHO_INITIAL, value.clone());
    }
    let Some(value) = asked.get(ECHO_TRAILING).cloned() else {
        return response;
    };
    response.map(|body| {
        Body::new(body.map_frame(move |mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                trailers.insert(ECHO_TRAILING, value.clone());
            }
            frame
        }))
    })
}

async fn empty_call(_: tonic::Request<Empty>) -> Result<tonic::Response<Empty>, Status> {
    Ok(tonic::Response::new(Empty {}))
}

async fn unary_call(
    request: tonic::Request<SimpleRequest>,
) -> Result<tonic::Response<PayloadResponse>, Status> {
    let request = request.into_inner();
    wanted(request.response_status)?;
    Ok(tonic::Response::new(payload(request.response_size)))
}

async fn input_call(
    request: tonic::Request<Streaming<InputRequest>>,
) -> Result<tonic::Response<InputResponse>, Status> {
    let mut requests = request.into_inner();
    let mut aggregated_payload_size = 0;
    while let Some(request) = requests.message().await? {
        let size = request.payload.unwrap_or_default().body.len();
        aggregated_payload_size += i32::try_from(size).unwrap_or(i32::MAX);
    }
    let response = InputResponse {
        aggregated_payload_size,
    };
    Ok(tonic::Response::new(response))
}

type Output = Pin<Box<dyn Stream<Item = Result<PayloadResponse, Status>> + Send>>;

async fn output_call(
    request: tonic::Request<OutputRequest>,
) -> Result<tonic::Response<Output>, Status> {
    let answers = tokio_stream::iter(answers(request.into_inner()));
    Ok(tonic::Response::new(Box::pin(answers)))
}

async fn duplex_call(
    request: tonic::Request<Streaming<OutputRequest>>,
) -> Result<tonic::Response<Output>, Status> {
    let (sender, answered) = tokio::sync::mpsc::channel(1);
    let mut requests = request.into_inner();
    // Ends with its call: the requests fail or the answers have nobody to go to.
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let answers = match request {
                Ok(request) => answers(request),
                Err(status) => vec![Err(status)],
            };
            for answer in answers {
                if sender.send(answer).await.is_err() {
                    return;
                }
            }
        }
    });
    let answers = tokio_stream::wrappers::ReceiverStream::new(answered);
    Ok(tonic::Response::new(Box::pin(answers)))
}

/// What one request asks for: payloads, or the status that ends the call.
fn answers(request: OutputRequest) -> Vec<Result<PayloadResponse, Status>> {
    if let Err(status) = wanted(request.response_status) {
        return vec![Err(status)];
    }
    let parameters = request.response_parameters.iter();
    parameters
        .map(|parameters| Ok(payload(parameters.size)))
        .collect()
}

fn wanted(status: Option<EchoStatus>) -> Result<(), Status> {
    match status {
        Some(status) if status.code != 0 => {
            Err(Status::new(Code::from(status.code), status.message))
        }
        _ => Ok(()),
    }
}

fn payload(size: i32) -> PayloadResponse {
    let body = vec![0; usize::try_from(size).unwrap_or_default()];
    PayloadResponse {
        payload: Some(Payload { body }),
    }
}

/// No words.
#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

/// So many bytes. Their type is always the first.
#[derive(Clone, PartialEq, prost::Message)]
struct Payload {
    #[prost(bytes, tag = "2")]
    body: Vec<u8>,
}

/// The status that an answer must have.
#[derive(Clone, PartialEq, prost::Message)]
struct EchoStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SimpleRequest {
    #[prost(int32, tag = "2")]
    response_size: i32,
    #[prost(message, tag = "7")]
    response_status: Option<EchoStatus>,
}

/// `SimpleResponse` and `StreamingOutputCallResponse`, which have the same field.
#[derive(Clone, PartialEq, prost::Message)]
struct PayloadResponse {
    #[prost(message, tag = "1")]
    payload: Option<Payload>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InputRequest {
    #[prost(message, tag = "1")]
    payload: Option<Payload>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InputResponse {
    #[prost(int32, tag = "1")]
    aggregated_payload_size: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResponseParameters {
    #[prost(int32, tag = "1")]
    size: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OutputRequest {
    #[prost(message, repeated, tag = "2")]
    response_parameters: Vec<ResponseParameters>,
    #[prost(message, tag = "7")]
    response_status: Option<EchoStatus>,
}
