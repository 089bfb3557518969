//! A whole system in three lines of test: [`Upstream`] plays DashScope byte by byte, [`gateway`]
//! starts the gateway in front of it, and the generated client calls it.

use std::future::pending;
use std::net::SocketAddr;

use dashgate::app;
use dashgate::config::{self, Endpoint};
use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use dashgate::grpc::pb::converse_stream_response::Event;
use dashgate::grpc::pb::health::health_client::HealthClient;
use dashgate::grpc::pb::media_service_client::MediaServiceClient;
use dashgate::grpc::pb::model_service_client::ModelServiceClient;
use dashgate::grpc::pb::{self, content, delta};
use dashgate::secret::Secret;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::upstream::Upstream;

/// A client of one connection.
pub type Client = hyper_util::client::legacy::Client<HttpConnector, Body>;

/// A gateway that runs in the test.
pub struct Running {
    pub address: SocketAddr,
    /// Where the operator looks, if the settings open that port.
    pub admin: Option<SocketAddr>,
    pub client: Client,
    stop: mpsc::Sender<()>,
    pub task: JoinHandle<()>,
}

impl Running {
    fn origin(&self) -> http::Uri {
        format!("http://{}", self.address).parse().unwrap()
    }

    pub fn conversation(&self) -> ConversationServiceClient<Client> {
        ConversationServiceClient::with_origin(self.client.clone(), self.origin())
            .max_decoding_message_size(64 * 1024 * 1024)
            .max_encoding_message_size(64 * 1024 * 1024)
    }

    pub fn media(&self) -> MediaServiceClient<Client> {
        MediaServiceClient::with_origin(self.client.clone(), self.origin())
    }

    pub fn models(&self) -> ModelServiceClient<Client> {
        ModelServiceClient::with_origin(self.client.clone(), self.origin())
    }

    pub fn health(&self) -> HealthClient<Client> {
        HealthClient::with_origin(self.client.clone(), self.origin())
    }

    /// Waits until the gateway has gone down.
    pub async fn ended(mut self) {
        (&mut self.task).await.unwrap();
    }

    /// Asks the gateway to go down.
    pub async fn stop(&self) {
        self.stop.send(()).await.unwrap();
    }
}

/// A world without environment variables and files.
struct Nothing;

impl config::Environment for Nothing {
    fn variable(&self, _: &str) -> Result<Option<String>, config::environment::NotUnicode> {
        Ok(None)
    }

    fn file(&self, _: &std::path::Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// The default settings, with this DashScope.
pub fn settings(upstream: &Upstream) -> config::Settings {
    settings_at(upstream.base_url())
}

/// The default settings, with DashScope at this base URL.
pub fn settings_at(base_url: String) -> config::Settings {
    let mut settings = config::load(&config::Flags::default(), &Nothing).unwrap();
    settings.server.listen = "127.0.0.1:0".parse().unwrap();
    settings.upstream.endpoint = Endpoint::Remote {
        base_url,
        api_key: Secret::new("sk-canary"),
    };
    // It plays DashScope's own interface for all models.
    settings.upstream.compatible_models = Vec::new();
    settings
}

/// A gateway in front of this DashScope.
pub async fn gateway(upstream: &Upstream) -> Running {
    gateway_with(settings(upstream)).await
}

/// A gateway with DashScope at this base URL, and changed settings.
pub async fn gateway_at(base_url: String, change: impl FnOnce(&mut config::Settings)) -> Running {
    let mut settings = settings_at(base_url);
    change(&mut settings);
    gateway_with(settings).await
}

/// A gateway with these settings.
pub async fn gateway_with(settings: config::Settings) -> Running {
    running(app::bind(&settings).await.unwrap())
}

/// A gateway that is bound, and runs from now on.
pub fn running(gateway: app::Gateway) -> Running {
    let config::Address::Tcp(address) = *gateway.address() else {
        panic!("the gateway listens on a Unix socket");
    };
    let admin = gateway.admin_addr();
    let (stop, mut stopped) = mpsc::channel::<()>(1);
    let task = tokio::spawn(async move {
        let shutdown = async move {
            if stopped.recv().await.is_none() {
                pending::<()>().await;
            }
        };
        gateway.run(shutdown).await.unwrap();
    });
    Running {
        address,
        admin,
        client: connection(),
        stop,
        task,
    }
}

/// A client with a connection of its own.
pub fn connection() -> Client {
    // Not tonic's channel: that one looks at `grpc-timeout` itself, and its clock would hide ours.
    // Without TCP_NODELAY the kernel would wait, and paused time does not wait for the kernel.
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .http2_only(true)
        .timer(TokioTimer::new())
        .build(connector)
}

/// The question of the quick start.
pub fn question() -> pb::Conversation {
    let uri = "https://dashscope.oss-cn-beijing.aliyuncs.com/audios/2channel_16K.wav";
    let audio = pb::Audio {
        source: Some(pb::audio::Source::Uri(uri.to_owned())),
        ..pb::Audio::default()
    };
    conversation(
        "qwen-audio-turbo",
        vec![
            content::Kind::Audio(audio),
            content::Kind::Text("这段音频在说什么?".to_owned()),
        ],
    )
}

/// One turn of a user's.
pub fn conversation(model: &str, parts: Vec<content::Kind>) -> pb::Conversation {
    let part = |kind| pb::Content {
        kind: Some(kind),
        ..pb::Content::default()
    };
    let message = pb::Message {
        role: pb::Role::User.into(),
        content: parts.into_iter().map(part).collect(),
        ..pb::Message::default()
    };
    pb::Conversation {
        model: model.to_owned(),
        messages: vec![message],
        ..pb::Conversation::default()
    }
}

/// Asks for a whole answer.
pub fn ask_whole(conversation: pb::Conversation) -> pb::ConverseRequest {
    pb::ConverseRequest {
        conversation: Some(conversation),
        ..pb::ConverseRequest::default()
    }
}

/// Asks for a stream.
pub fn ask_stream(conversation: pb::Conversation) -> pb::ConverseStreamRequest {
    pb::ConverseStreamRequest {
        conversation: Some(conversation),
        ..pb::ConverseStreamRequest::default()
    }
}

/// Asks for a whole answer, with this request id.
pub fn named(name: &str) -> pb::ConverseRequest {
    pb::ConverseRequest {
        request_id: name.to_owned(),
        ..ask_whole(question())
    }
}

/// Asks for a stream, with this request id.
pub fn named_stream(name: &str) -> pb::ConverseStreamRequest {
    pb::ConverseStreamRequest {
        request_id: name.to_owned(),
        ..ask_stream(question())
    }
}

/// The texts of a stream.
pub fn texts(events: &[Result<pb::ConverseStreamResponse, Status>]) -> Vec<String> {
    let event = |event: &Result<pb::ConverseStreamResponse, Status>| match event
        .as_ref()
        .ok()?
        .event
        .clone()?
    {
        Event::Delta(pb::Delta {
            part: Some(delta::Part::Text(text)),
            ..
        }) => Some(text),
        _ => None,
    };
    events.iter().filter_map(event).collect()
}

/// Checks the code and the reason of a fault, and what every fault must carry.
#[track_caller]
pub fn assert_fault(status: &Status, code: Code, reason: &str) {
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(
        (status.code(), info.reason.as_str()),
        (code, reason),
        "{status:?}"
    );
    assert_eq!(info.domain, "dashgate");
    let call = call_failure(status);
    assert_eq!(call.reason().as_str_name(), reason, "{call:?}");
    assert_eq!(call.attempts.to_string(), info.metadata["attempts"]);
    assert!(status.details().len() <= 4096, "{status:?}");
    assert!(
        details
            .request_info()
            .is_some_and(|info| !info.request_id.is_empty())
    );
    assert!(
        status.metadata().contains_key("grpc-retry-pushback-ms"),
        "{status:?}"
    );
    assert!(status.metadata().contains_key("x-request-id"), "{status:?}");
    assert!(
        !format!("{status:?}").contains("sk-canary"),
        "the key is shown: {status:?}"
    );
}

/// The detail of this schema in an error.
#[track_caller]
pub fn call_failure(status: &Status) -> pb::CallFailure {
    let all = tonic_types::Status::decode(status.details()).unwrap();
    let detail = all
        .details
        .iter()
        .find(|one| one.type_url == pb::CALL_FAILURE);
    let detail = detail.unwrap_or_else(|| panic!("no CallFailure: {status:?}"));
    pb::CallFailure::decode(detail.value.as_slice()).unwrap()
}

/// The reason of a fault.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

/// The fields that a fault names.
pub fn violations(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let list = details
        .bad_request()
        .map(|bad| bad.field_violations.clone())
        .unwrap_or_default();
    list.into_iter().map(|violation| violation.field).collect()
}

/// How often DashScope was asked, as a fault tells it.
pub fn attempts(status: &Status) -> String {
    status.get_error_details().error_info().unwrap().metadata["attempts"].clone()
}
