//! What tests of stored conversations share.

use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb::{self, content};
use serde_json::Value;
use tonic::{Request, Status};
use tonic_types::StatusExt;

use crate::replicas::replica;
use crate::support::*;

/// A client of a replica.
pub type Conversations = pb::conversation_service_client::ConversationServiceClient<Client>;

/// The name of the conversation of most tests.
pub const NAME: &str = "conversations/c";

/// Creates the conversation of most tests.
pub async fn create(client: &mut Conversations) -> pb::Conversation {
    create_as(client, "c", "k").await
}

/// A DashScope, a replica in front of it, and a client of one whose conversation has one turn.
pub async fn with_one_turn(store: &StoreSettings) -> (Upstream, Running, Conversations) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    client.converse(mine(say("one"))).await.unwrap();
    (upstream, one, client)
}

/// Creates a conversation of the caller with this key.
pub async fn create_as(client: &mut Conversations, id: &str, key: &str) -> pb::Conversation {
    let request = pb::CreateConversationRequest {
        conversation_id: id.to_owned(),
        conversation: Some(pb::Conversation {
            model: "qwen-audio-turbo".to_owned(),
            ..pb::Conversation::default()
        }),
    };
    let response = client.create_conversation(with_key(request, key)).await;
    response.unwrap().into_inner().conversation.unwrap()
}

/// A request of the caller with this key.
pub fn with_key<T>(message: T, key: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {key}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

/// A request of most tests' caller.
pub fn mine<T>(message: T) -> Request<T> {
    with_key(message, "k")
}

/// A turn with this text.
pub fn say(text: &str) -> pb::ConverseRequest {
    say_parts(vec![content::Kind::Text(text.to_owned())])
}

/// A turn with these instructions and this text.
pub fn instructed(system: &str, text: &str) -> pb::ConverseRequest {
    let mut request = say(text);
    let messages = &mut request.conversation.as_mut().unwrap().messages;
    let mut instructions = messages[0].clone();
    instructions.role = pb::Role::System.into();
    instructions.content[0].kind = Some(content::Kind::Text(system.to_owned()));
    messages.insert(0, instructions);
    request
}

/// A turn with this text and request id.
pub fn say_once(text: &str, request_id: &str) -> pb::ConverseRequest {
    pb::ConverseRequest {
        request_id: request_id.to_owned(),
        ..say(text)
    }
}

/// A turn with these parts.
pub fn say_parts(parts: Vec<content::Kind>) -> pb::ConverseRequest {
    let mut conversation = conversation("", parts);
    conversation.name = NAME.to_owned();
    ask_whole(conversation)
}

/// Audio as bytes.
pub fn audio(bytes: &[u8]) -> content::Kind {
    content::Kind::Audio(pb::Audio {
        mime_type: "audio/wav".to_owned(),
        source: Some(pb::audio::Source::Data(bytes.to_vec().into())),
        file: None,
    })
}

/// The text of an answer.
pub fn text(answer: &pb::ConverseResponse) -> String {
    text_of(answer.choices[0].message.as_ref().unwrap())
}

/// The text of a message.
pub fn text_of(message: &pb::Message) -> String {
    let text = |content: &pb::Content| match &content.kind {
        Some(content::Kind::Text(text)) => Some(text.clone()),
        _ => None,
    };
    message.content.iter().filter_map(text).collect()
}

/// A value in the metadata of an error.
pub fn detail(status: &Status, name: &str) -> String {
    status.get_details_error_info().unwrap().metadata[name].clone()
}

/// The messages of a request to DashScope: role and text of each.
pub fn messages(seen: &Seen) -> Vec<(String, String)> {
    let body = seen.json();
    let messages = body["input"]["messages"].as_array().unwrap().clone();
    let text = |message: &Value| {
        let parts = message["content"].as_array().unwrap().iter();
        let text = parts.map(|part| match part["text"].as_str() {
            Some(text) => text.to_owned(),
            None => format!("<{}>", part.as_object().unwrap().keys().next().unwrap()),
        });
        text.collect::<Vec<_>>().join("|")
    };
    let message = |message: &Value| {
        let role = message["role"].as_str().unwrap().to_owned();
        (role, text(message))
    };
    messages.iter().map(message).collect()
}

/// The texts of the messages of the latest request to DashScope.
pub fn sent(upstream: &Upstream) -> Vec<String> {
    let seen = upstream.seen();
    let messages = messages(seen.last().unwrap());
    messages.into_iter().map(|(_, text)| text).collect()
}

/// All turns of the conversation.
pub async fn turns(client: &mut Conversations) -> Vec<pb::Turn> {
    let request = pb::ListTurnsRequest {
        name: NAME.to_owned(),
        include_media: true,
        ..pb::ListTurnsRequest::default()
    };
    client
        .list_turns(mine(request))
        .await
        .unwrap()
        .into_inner()
        .turns
}

/// The conversation.
pub async fn get(client: &mut Conversations) -> pb::Conversation {
    let name = NAME.to_owned();
    let request = mine(pb::GetConversationRequest { name });
    let response = client.get_conversation(request).await.unwrap();
    response.into_inner().conversation.unwrap()
}

/// A request to read a conversation.
pub fn by_name(name: &str) -> pb::GetConversationRequest {
    pb::GetConversationRequest {
        name: name.to_owned(),
    }
}

/// A request to delete a conversation.
pub fn deleted(name: &str) -> pb::DeleteConversationRequest {
    pb::DeleteConversationRequest {
        name: name.to_owned(),
    }
}
