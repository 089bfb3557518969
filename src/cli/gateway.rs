//! The gateway that a command calls: a remote one, or one in this process.

use std::error::Error as _;
use std::time::Duration;

use dashgate_client::Client;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::app;
use crate::config::{self, Flags, ProcessEnvironment, Settings};
use crate::error::Error;
use crate::grpc::pb::health::HealthCheckRequest;
use crate::grpc::pb::health::health_client::HealthClient;

use super::connect::{connect, silent};
use super::error::Failure;
use super::exit::Exit;
use super::probe;
use super::terminal::Terminal;

/// Timeout of stopping the gateway of this process, which only closes connections.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of the first answer of a server: a slow line, or a lost packet or two, fit in.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// The assumed request limit of a remote gateway: the default of its settings.
const ASSUMED_REQUEST_BYTES: usize = 16 << 20;

/// The note about a stream or a session that the client resumes.
pub(crate) const BROKE: &str = "the connection broke; resuming";
/// How often it is looked whether the client tries to.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The size of the chunks of the client's uploads.
const CHUNK_BYTES: usize = 256 << 10;

/// Printed when the emulator answers, so that the answer is not mistaken for a model's.
const EMBEDDED: &str = "answering from the embedded emulator, which measures media and is not a \
                        model; set DASHSCOPE_API_KEY to call DashScope";

/// A connection to a gateway.
pub(crate) struct Gateway {
    /// Makes the calls.
    pub(crate) client: Client,
    /// The address of a remote gateway; `None`: it is in this process.
    elsewhere: Option<String>,
    /// The largest request that it accepts.
    pub(crate) max_request_bytes: usize,
    local: Option<Local>,
}

impl Gateway {
    /// Connects to the gateway of the settings within the timeout, or starts one in this process.
    pub(crate) async fn open(
        flags: &Flags,
        client: &config::Client,
        within: Option<Duration>,
    ) -> Result<Self, Failure> {
        match &client.server {
            Some(address) => {
                let connecting = Self::connect(address, client);
                let connected = match within {
                    None => connecting.await,
                    Some(limit) => timeout(limit, connecting)
                        .await
                        .unwrap_or_else(|_| Err(late(address, limit))),
                };
                connected.map_err(|failure| with_own_gateway(failure, flags))
            }
            None => {
                let mut settings = config::load(flags, &ProcessEnvironment)?;
                // The gateway of this process needs no authentication: only this process connects
                // to it, over loopback.
                settings.callers = config::Callers::default();
                settings.server.tls = None;
                // The client's chunks have this size.
                let chunk = &mut settings.server.max_chunk_bytes;
                *chunk = CHUNK_BYTES.max(*chunk);
                Box::pin(Self::start(&settings)).await
            }
        }
    }

    /// Connects to a remote gateway.
    pub(crate) async fn connect(address: &str, client: &config::Client) -> Result<Self, Failure> {
        let client = connect(address, client.api_key.as_ref(), &client.tls).await?;
        expect_answer(&client, address).await?;
        Ok(Self {
            client,
            elsewhere: Some(address.to_owned()),
            max_request_bytes: ASSUMED_REQUEST_BYTES,
            local: None,
        })
    }

    /// Starts a gateway in this process, behind a real socket, and connects to it.
    pub(crate) async fn start(settings: &Settings) -> Result<Self, Failure> {
        app::start_log(settings);
        let local = Local::start(settings).await?;
        let config::Client { api_key, tls, .. } = &settings.client;
        Ok(Self {
            client: connect(&local.address, api_key.as_ref(), tls).await?,
            elsewhere: None,
            max_request_bytes: settings.server.max_request_bytes,
            local: Some(local),
        })
    }

    /// Notes on stderr that the emulator answers, as far as known.
    pub(crate) fn announce_emulator(&self, terminal: &mut Terminal) {
        if self.local.as_ref().is_some_and(|local| local.embedded) {
            terminal.aside(&format!("{EMBEDDED}\n"));
        }
    }

    /// Adds to a failure which kind of server answers, if it is not a gateway.
    pub(crate) async fn explained(&self, failure: Failure) -> Failure {
        match &self.elsewhere {
            Some(address) => probe::explained(failure, address).await,
            None => failure,
        }
    }

    /// Stops the gateway of this process, if there is one.
    pub(crate) async fn stop(self) {
        // A call that was interrupted is cancelled at the gateway, too.
        self.client.settle().await;
        // The connection is closed first: a gateway that drains waits for it.
        drop(self.client);
        if let Some(local) = self.local {
            local.stop().await;
        }
    }
}

/// Waits until a server answers a health check, whatever it says: calls that do not reach a gateway
/// are repeated, which takes seconds. No model is called.
async fn expect_answer(client: &Client, address: &str) -> Result<(), Failure> {
    let mut health = HealthClient::new(client.channel());
    let checked = health.check(HealthCheckRequest::default());
    match timeout(ANSWER_WITHIN, checked).await {
        // Only an error of the connection has a cause.
        Ok(Err(status)) if status.source().is_some() => {
            let failure = probe::explained_first(status.into(), address).await;
            match failure.exit() == Exit::Unreachable {
                true => Err(failure),
                // HTTP/2: a proxy refuses health checks, or the gateway has just ended.
                false => Ok(()),
            }
        }
        Ok(_) => Ok(()),
        Err(_) => Err(silent(address, ANSWER_WITHIN)),
    }
}

/// The failure of a server that did not answer in time.
fn late(address: &str, limit: Duration) -> Failure {
    Failure::unreachable(format!("{address} did not answer within {limit:?}"))
        .with_advice("check the address, or set a longer timeout: `--timeout 5m`")
}

/// Adds that the command can do without a gateway that is not reached.
fn with_own_gateway(failure: Failure, flags: &Flags) -> Failure {
    // Commands with a gateway of their own set its address in their name.
    let own = flags.set.iter().rfind(|flag| flag.key == "server.listen");
    match own.filter(|_| failure.exit() == Exit::Unreachable) {
        Some(flag) => failure.with_advice(format!(
            "without --server and DASHGATE_ADDR, `dashgate {}` runs a gateway of its own",
            flag.name
        )),
        None => failure,
    }
}

/// The gateway of this process.
struct Local {
    address: String,
    embedded: bool,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), Error>>,
}

impl Local {
    async fn start(settings: &Settings) -> Result<Self, Failure> {
        let gateway = app::bind(settings).await?;
        let address = gateway.address().to_string();
        let embedded = gateway.embedded();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(gateway.run(async move {
            // Dropping the sender stops it.
            let _ = stopped.await;
        }));
        Ok(Self {
            address,
            embedded,
            stop,
            running,
        })
    }

    async fn stop(self) {
        // It may have ended already.
        let _ = self.stop.send(());
        let mut running = self.running;
        if tokio::time::timeout(STOP_TIMEOUT, &mut running)
            .await
            .is_err()
        {
            running.abort();
        }
    }
}

/// A fake gateway for tests: it gives scripted answers and records requests.
#[cfg(test)]
pub(crate) mod stand_in {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll};

    use dashgate_client::v1;
    use futures_core::Stream;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use hyper_util::service::TowerToHyperService;
    use prost::Message;
    use tokio::net::TcpListener;
    use tokio::sync::watch;
    use tonic::{Request, Response, Status, Streaming};

    use crate::config::{self, ClientTls};
    use crate::grpc::pb;
    use crate::grpc::pb::content::Kind;
    use crate::grpc::pb::conversation_service_server::{
        ConversationService, ConversationServiceServer,
    };
    use crate::grpc::pb::converse_stream_response::Event;
    use crate::grpc::pb::delta::Part;
    use crate::grpc::pb::media_service_server::{MediaService, MediaServiceServer};
    use crate::grpc::pb::upload_media_request::Payload;
    use crate::secret::Secret;

    use super::Gateway;

    /// How a stream continues after its events.
    #[derive(Clone, Debug)]
    pub(crate) enum Then {
        /// It ends successfully.
        End,
        /// It ends with an error.
        Fail(Status),
        /// It sends nothing until the caller cancels.
        Hang,
    }

    /// The recorded requests, as messages of the client.
    #[derive(Default)]
    pub(crate) struct Asked {
        /// The conversations.
        pub(crate) conversations: Vec<v1::Conversation>,
        /// The options.
        pub(crate) options: Vec<Option<v1::GenerationOptions>>,
        /// The values of `authorization`.
        pub(crate) keys: Vec<String>,
        /// Descriptions of uploads, and the sizes of their chunks.
        pub(crate) uploads: Vec<(pb::MediaDescription, Vec<usize>)>,
    }

    /// A message of the server as that of the client.
    fn of_client<M: Message + Default>(message: &impl Message) -> M {
        M::decode(message.encode_to_vec().as_slice()).unwrap()
    }

    /// The events of a stream, and how it continues.
    pub(crate) type Script = (Vec<Event>, Then);

    /// The fake gateway.
    #[derive(Clone)]
    pub(crate) struct StandIn {
        answers: Arc<Mutex<VecDeque<Script>>>,
        asked: Arc<Mutex<Asked>>,
        gone: Arc<watch::Sender<u32>>,
    }

    impl StandIn {
        /// A fake gateway that gives these answers in order.
        pub(crate) fn new(answers: impl IntoIterator<Item = Script>) -> Self {
            Self {
                answers: Arc::new(Mutex::new(answers.into_iter().collect())),
                asked: Arc::default(),
                gone: Arc::new(watch::Sender::new(0)),
            }
        }

        /// Starts it, and connects to it with the key `k-1`.
        pub(crate) async fn start(&self) -> Gateway {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let (media, conversations) = (self.clone(), self.clone());
            tokio::spawn(async move {
                let media = MediaServiceServer::new(media);
                let conversations = ConversationServiceServer::new(conversations);
                let (stream, _) = listener.accept().await.unwrap();
                let service =
                    tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                        use tower::ServiceExt as _;
                        let (media, conversations) = (media.clone(), conversations.clone());
                        async move {
                            match request.uri().path().contains("MediaService") {
                                true => media.oneshot(request).await,
                                false => conversations.oneshot(request).await,
                            }
                        }
                    });
                // Some tests cancel their calls.
                let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
                    .await;
            });
            let client = config::Client {
                server: None,
                api_key: Some(Secret::new("k-1")),
                tls: ClientTls::default(),
                model: None,
                default_models: crate::cli::exchange::tests::defaults(),
                history: None,
            };
            Gateway::connect(&address, &client).await.unwrap()
        }

        /// The requests so far.
        pub(crate) fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
            self.asked.lock().unwrap()
        }

        /// Waits until a stream is cancelled by its caller.
        pub(crate) async fn given_up(&self) {
            self.gone
                .subscribe()
                .wait_for(|count| *count > 0)
                .await
                .unwrap();
        }

        fn record(
            &self,
            conversation: Option<&pb::Conversation>,
            options: Option<&pb::GenerationOptions>,
        ) {
            let mut asked = self.asked();
            asked.options.push(options.map(of_client));
            asked.conversations.extend(conversation.map(of_client));
        }

        fn answer(&self, key: Option<&tonic::metadata::AsciiMetadataValue>) -> Script {
            let key = key.map_or("", |key| key.to_str().unwrap()).to_owned();
            self.asked().keys.push(key);
            let next = self.answers.lock().unwrap().pop_front();
            next.expect("more was asked than was to be answered")
        }
    }

    /// An answer with one text.
    pub(crate) fn says(text: &str) -> Script {
        (vec![started(), delta(text), completed()], Then::End)
    }

    /// The first event.
    pub(crate) fn started() -> Event {
        Event::Started(pb::Started {
            model: "m-1".to_owned(),
            upstream_request_id: "up-1".to_owned(),
            request_id: "call-1".to_owned(),
            resumable: false,
        })
    }

    /// A text delta.
    pub(crate) fn delta(text: &str) -> Event {
        Event::Delta(pb::Delta {
            choice_index: 0,
            part: Some(Part::Text(text.to_owned())),
            starts_part: false,
        })
    }

    /// The last event.
    pub(crate) fn completed() -> Event {
        Event::Completed(Box::new(pb::Completed {
            choices: vec![pb::ChoiceEnd {
                raw_finish_reason: "stop".to_owned(),
                ..pb::ChoiceEnd::default()
            }],
            usage: Some(pb::Usage {
                input_tokens: Some(7),
                output_tokens: Some(2),
                ..pb::Usage::default()
            }),
            ..pb::Completed::default()
        }))
    }

    #[tonic::async_trait]
    impl ConversationService for StandIn {
        type ConverseStreamStream = Events;

        async fn converse(
            &self,
            request: Request<pb::ConverseRequest>,
        ) -> Result<Response<pb::ConverseResponse>, Status> {
            let (events, then) = self.answer(request.metadata().get("authorization"));
            let message = request.into_inner();
            self.record(message.conversation.as_ref(), message.options.as_deref());
            if let Then::Fail(status) = then {
                return Err(status);
            }
            let text = events.iter().filter_map(|event| match event {
                Event::Delta(delta) => match &delta.part {
                    Some(Part::Text(text)) => Some(pb::Content {
                        kind: Some(Kind::Text(text.clone())),
                        ..pb::Content::default()
                    }),
                    other => panic!("{other:?} is not for a whole answer"),
                },
                Event::Started(_) | Event::Heartbeat(_) | Event::Completed(_) => None,
            });
            Ok(Response::new(pb::ConverseResponse {
                choices: vec![pb::Choice {
                    message: Some(pb::Message {
                        content: text.collect(),
                        ..pb::Message::default()
                    }),
                    ..pb::Choice::default()
                }],
                ..pb::ConverseResponse::default()
            }))
        }

        async fn converse_stream(
            &self,
            request: Request<pb::ConverseStreamRequest>,
        ) -> Result<Response<Events>, Status> {
            let (events, then) = self.answer(request.metadata().get("authorization"));
            let message = request.into_inner();
            self.record(message.conversation.as_ref(), message.options.as_deref());
            Ok(Response::new(Events {
                events: events.into(),
                then: Some(then),
                gone: self.gone.clone(),
            }))
        }

        async fn create_conversation(
            &self,
            _: Request<pb::CreateConversationRequest>,
        ) -> Result<Response<pb::CreateConversationResponse>, Status> {
            Err(Status::unimplemented("not part of the test"))
        }

        async fn get_conversation(
            &self,
            _: Request<pb::GetConversationRequest>,
        ) -> Result<Response<pb::GetConversationResponse>, Status> {
            Err(Status::unimplemented("not part of the test"))
        }

        async fn list_conversations(
            &self,
            _: Request<pb::ListConversationsRequest>,
        ) -> Result<Response<pb::ListConversationsResponse>, Status> {
            Err(Status::unimplemented("not part of the test"))
        }

        async fn update_conversation(
            &self,
            _: Request<pb::UpdateConversationRequest>,
        ) -> Result<Response<pb::UpdateConversationResponse>, Status> {
            Err(Status::unimplemented("not part of the test"))
        }

        async fn delete_conversation(
            &self,
            _: Request<pb::DeleteConversationRequest>,
        ) -> Result<Response<pb::DeleteConversationResponse>, Status> {
            Err(Status::unimplemented("not part of the test"))
        }

        async fn list_turns(
            &self,
            _: Request<pb::ListTurnsRequest>,
        ) -> Result<Response<pb::ListTurnsResponse>, Status> {
            Err(Status::unimplemented("not part of the test"))
        }

        async fn delete_turn(
            &self,
            _: Request<pb::DeleteTurnRequest>,
        ) -> Result<Response<pb::DeleteTurnResponse>, Status> {
            Err(Status::unimplemented("not part of the test"))
        }

        async fn fork_conversation(
            &self,
            _: Request<pb::ForkConversationRequest>,
        ) -> Result<Response<pb::ForkConversationResponse>, Status> {
            Err(Status::unimplemented("not part of the test"))
        }

        async fn cancel_turn(
            &self,
            _: Request<pb::CancelTurnRequest>,
        ) -> Result<Response<pb::CancelTurnResponse>, Status> {
            Err(Status::unimplemented("not part of the test"))
        }
    }

    #[tonic::async_trait]
    impl MediaService for StandIn {
        async fn upload_media(
            &self,
            request: Request<Streaming<pb::UploadMediaRequest>>,
        ) -> Result<Response<pb::UploadMediaResponse>, Status> {
            let mut messages = request.into_inner();
            let mut described = None;
            let mut sizes = Vec::new();
            while let Some(message) = messages.message().await? {
                match message.payload.unwrap() {
                    Payload::Description(description) => described = Some(description),
                    Payload::Chunk(chunk) => sizes.push(chunk.len()),
                }
            }
            self.asked().uploads.push((described.unwrap(), sizes));
            Ok(Response::new(pb::UploadMediaResponse {
                uri: "oss://kept".to_owned(),
                ..pb::UploadMediaResponse::default()
            }))
        }
    }

    /// The events of one stream. Counts if it is dropped before its end.
    pub(crate) struct Events {
        events: VecDeque<Event>,
        then: Option<Then>,
        gone: Arc<watch::Sender<u32>>,
    }

    impl Stream for Events {
        type Item = Result<pb::ConverseStreamResponse, Status>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(Some(Ok(pb::ConverseStreamResponse {
                    sequence: 0,
                    event: Some(event),
                })));
            }
            match self.then.take() {
                // Never woken; only dropping ends it.
                Some(Then::Hang) => {
                    self.then = Some(Then::Hang);
                    Poll::Pending
                }
                Some(Then::Fail(status)) => Poll::Ready(Some(Err(status))),
                Some(Then::End) | None => Poll::Ready(None),
            }
        }
    }

    impl Drop for Events {
        fn drop(&mut self) {
            if matches!(self.then, Some(Then::Hang)) {
                self.gone.send_modify(|count| *count += 1);
            }
        }
    }
}
