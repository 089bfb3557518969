//! Requests that cannot be read or answered, of reflection and uploads: an error with details, and
//! never OK with less.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use tokio_stream::StreamExt as _;
use tonic::body::Body;
use tonic::{Code, Request, Status};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use crate::storage::dashscope;
use crate::support::*;
use crate::uploads::{file_of, messages};

const METHODS: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

async fn reflect(
    gateway: &Running,
    request: Option<MessageRequest>,
) -> Result<ServerReflectionResponse, Status> {
    let origin = format!("http://{}", gateway.address).parse().unwrap();
    let mut client = ServerReflectionClient::with_origin(gateway.client.clone(), origin);
    let message = ServerReflectionRequest {
        host: String::new(),
        message_request: request,
    };
    let request = Request::new(tokio_stream::once(message));
    let mut responses = client.server_reflection_info(request).await?.into_inner();
    responses.next().await.unwrap()
}

/// These bytes and trailers, which clients may send.
fn with_trailers(bytes: Vec<u8>) -> Body {
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-end"), "1".parse().unwrap())]);
    Body::new(Full::new(Bytes::from(bytes)).with_trailers(async { Some(Ok(trailers)) }))
}

/// The status of a response to these bytes.
async fn status_of(gateway: &Running, method: &str, body: Vec<u8>) -> Status {
    let request = http::Request::post(format!("http://{}/{method}", gateway.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(with_trailers(body))
        .unwrap();
    let response = gateway.client.request(request).await.unwrap();
    if let Some(status) = Status::from_header_map(response.headers()) {
        return status;
    }
    let body = response.into_body().collect().await.unwrap();
    Status::from_header_map(body.trailers().unwrap()).unwrap()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat()
}

#[tokio::test(start_paused = true)]
async fn requests_that_cannot_be_answered_are_errors_with_details() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let unknown = MessageRequest::FileContainingSymbol("no.such.Symbol".to_owned());
    let status = reflect(&gateway, Some(unknown)).await.unwrap_err();
    assert_fault(&status, Code::NotFound, "RESOURCE_NOT_FOUND");
    let status = reflect(&gateway, None).await.unwrap_err();
    assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
    let known = MessageRequest::FileContainingSymbol("dashgate.v1.Usage".to_owned());
    reflect(&gateway, Some(known)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_upload_whose_last_chunk_is_cut_by_trailers_is_not_stored() {
    let upstream = dashscope(|_, _| None).await;
    let gateway = gateway(&upstream).await;
    let file = file_of(3_000);
    let whole: Vec<u8> = messages(&file, None)
        .iter()
        .flat_map(|message| framed(&message.encode_to_vec()))
        .collect();
    let method = "dashgate.v1.MediaService/UploadMedia";
    for cut in [&framed(&file)[..1_000], b"\0\0\0"] {
        let status = status_of(&gateway, method, [&whole, cut].concat()).await;
        assert_fault(&status, Code::Internal, "MALFORMED_MESSAGE");
    }
    let status = status_of(&gateway, method, whole).await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_request_are_never_ok() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    for method in METHODS {
        let status = status_of(&gateway, method, framed(b"\xff\xff\xff\xff")).await;
        assert_fault(&status, Code::Internal, "MALFORMED_MESSAGE");
        let status = status_of(&gateway, method, framed(&[0; 100_000])).await;
        assert_fault(&status, Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
        for half in [&framed(b"\x22\x01*")[..7], b"\0\0"] {
            let status = status_of(&gateway, method, half.to_vec()).await;
            assert_fault(&status, Code::Internal, "MALFORMED_MESSAGE");
        }
        // No request at all is a complete stream.
        let status = status_of(&gateway, method, Vec::new()).await;
        assert_eq!(status.code(), Code::Ok, "{status:?}");
    }
}
