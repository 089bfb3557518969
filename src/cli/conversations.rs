//! `dashgate conversations`: the conversations that a gateway stores.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use tonic::Code;

use crate::grpc::pb;

use super::conversation_media::save_media;
use super::conversation_names::{COLLECTION, name};
use super::conversation_view::{description, table};
use super::error::Failure;
use super::exit::Exit;
use super::gateway::Gateway;
use super::gateway_flags::{Choices, timeout};
use super::gateway_output;
use super::message_json::{self, Fields, Shown};
use super::schema::Schema;
use super::terminal::Terminal;

/// Text below the help of `conversations`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  dashgate conversations list
  dashgate conversations show birds
  dashgate conversations export birds --media media > birds.json
  dashgate conversations delete birds wrens
  dashgate conversations list --json | jq -r '.conversations[].name'

Lists, shows, exports and deletes the conversations that a gateway stores for you: those of
`dashgate ask --conversation ID`, and of calls with `conversation.name`. The gateway needs a store,
`store.url`.

Without --server, a gateway in this process answers, with the settings of `serve`. With --json,
stdout has one JSON object with the field names of dashgate.v1.Conversation and Turn, on errors
{\"error\": {...}}. An export is always JSON; if it breaks off, the error is a second line.";

/// The most conversations that are read.
const MAX_ITEMS: usize = 100_000;

/// Arguments of `conversations`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// The gateway: host:port, http://host:port, https://host:port or unix:/path. Its key is
    /// DASHGATE_API_KEY [default: a gateway in this process] [env: DASHGATE_ADDR]
    #[arg(long, value_name = "ADDR", global = true)]
    server: Option<String>,
    /// The root certificates for https, as a PEM file [default: the system's]
    /// [env: DASHGATE_TLS_CA]
    #[arg(long, value_name = "FILE", global = true)]
    tls_ca: Option<String>,
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    json: bool,
    /// The timeout of each call
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = timeout, global = true)]
    timeout: Duration,
    #[command(flatten)]
    choices: Choices,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the conversations, the latest update first
    List,
    /// Show a conversation and its turns
    Show {
        /// The id
        id: String,
        /// The number of turns, the latest ones
        #[arg(long, value_name = "NUMBER", default_value = "20")]
        turns: usize,
    },
    /// Print a conversation with all turns as JSON
    Export {
        /// The id
        id: String,
        /// Write media that were sent as bytes to files in this folder
        #[arg(long, value_name = "FOLDER")]
        media: Option<PathBuf>,
    },
    /// Delete conversations with their turns and media
    Delete {
        /// The ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// Runs the command. With `--json`, a failure is also an object on stdout.
pub(crate) async fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let at = (arguments.server.as_deref(), arguments.tls_ca.as_deref());
    let flags = gateway_output::flags("conversations", &arguments.choices, at);
    let json = arguments.json || matches!(arguments.verb, Verb::Export { .. });
    gateway_output::print((flags, json), terminal, async |gateway, terminal| {
        text(gateway, &arguments, terminal).await
    })
    .await
}

/// The output, except for what was printed before.
async fn text(
    gateway: &Gateway,
    arguments: &Arguments,
    terminal: &mut Terminal,
) -> Result<String, Failure> {
    let (json, timeout) = (arguments.json, arguments.timeout);
    match &arguments.verb {
        Verb::List => {
            let all = all(gateway, timeout).await?;
            match json {
                true => line(vec![("conversations", list("Conversation", &all))]),
                false => Ok(table(&all)),
            }
        }
        Verb::Show { id, turns } => {
            let conversation = one(gateway, id, timeout).await?;
            let mut latest = Turns::of(&conversation.name, true, false);
            let mut shown = latest.read(gateway, timeout, *turns).await?;
            shown.reverse();
            match json {
                true => exported(&conversation, &shown),
                false => Ok(description(&conversation, &shown)),
            }
        }
        Verb::Export { id, media } => {
            let conversation = one(gateway, id, timeout).await?;
            export(
                gateway,
                (&conversation, media.as_deref()),
                timeout,
                terminal,
            )
            .await
        }
        Verb::Delete { ids } => {
            let mut names = Vec::new();
            for id in ids {
                let name = name(id);
                let request = pb::DeleteConversationRequest { name: name.clone() };
                let request = gateway.request(request, Some(timeout));
                gateway.conversations().delete_conversation(request).await?;
                names.push(name);
            }
            match json {
                true => {
                    let names = names.into_iter().map(Shown::Text).collect();
                    line(vec![("deleted", Shown::List(names))])
                }
                false => Ok(names
                    .iter()
                    .map(|name| format!("deleted {name}\n"))
                    .collect()),
            }
        }
    }
}

/// The conversation with this id, which is created with this model if it does not exist.
pub(crate) async fn opened(
    gateway: &Gateway,
    id: &str,
    model: &str,
) -> Result<pb::Conversation, Failure> {
    let name = name(id);
    let request = pb::GetConversationRequest { name: name.clone() };
    let request = gateway.request(request, None);
    match gateway.conversations().get_conversation(request).await {
        Ok(found) => return Ok(found.into_inner().conversation.unwrap_or_default()),
        Err(status) if status.code() == Code::NotFound => {}
        Err(status) => return Err(status.into()),
    }
    let conversation = pb::Conversation {
        model: model.to_owned(),
        ..pb::Conversation::default()
    };
    let request = pb::CreateConversationRequest {
        conversation_id: name.strip_prefix(COLLECTION).unwrap_or(id).to_owned(),
        conversation: Some(conversation),
    };
    let request = gateway.request(request, None);
    match gateway.conversations().create_conversation(request).await {
        Ok(created) => Ok(created.into_inner().conversation.unwrap_or_default()),
        // Another one was faster.
        Err(status) if status.code() == Code::AlreadyExists => Ok(pb::Conversation {
            name,
            ..pb::Conversation::default()
        }),
        Err(status) => Err(status.into()),
    }
}

async fn one(gateway: &Gateway, id: &str, timeout: Duration) -> Result<pb::Conversation, Failure> {
    let request = pb::GetConversationRequest { name: name(id) };
    let request = gateway.request(request, Some(timeout));
    let response = gateway.conversations().get_conversation(request).await?;
    Ok(response.into_inner().conversation.unwrap_or_default())
}

async fn all(gateway: &Gateway, timeout: Duration) -> Result<Vec<pb::Conversation>, Failure> {
    let mut all = Vec::new();
    let mut request = pb::ListConversationsRequest::default();
    loop {
        let page = gateway.request(request.clone(), Some(timeout));
        let page = gateway.conversations().list_conversations(page).await?;
        let page = page.into_inner();
        all.extend(page.conversations);
        if page.next_page_token.is_empty() || all.len() >= MAX_ITEMS {
            return Ok(all);
        }
        request.page_token = page.next_page_token;
    }
}

/// The turns of a conversation.
struct Turns(pb::ListTurnsRequest);

impl Turns {
    fn of(name: &str, newest_first: bool, include_media: bool) -> Self {
        Self(pb::ListTurnsRequest {
            name: name.to_owned(),
            page_size: 100,
            page_token: String::new(),
            include_media,
            newest_first,
        })
    }

    /// Reads this many.
    async fn read(
        &mut self,
        gateway: &Gateway,
        timeout: Duration,
        count: usize,
    ) -> Result<Vec<pb::Turn>, Failure> {
        let mut turns = Vec::new();
        let mut is_last = false;
        while turns.len() < count && !is_last {
            let page = self.page(gateway, timeout).await?;
            turns.extend(page);
            is_last = self.0.page_token.is_empty();
        }
        turns.truncate(count);
        Ok(turns)
    }

    /// Reads the next page. Without a token for another one, it is the last.
    async fn page(
        &mut self,
        gateway: &Gateway,
        timeout: Duration,
    ) -> Result<Vec<pb::Turn>, Failure> {
        let page = gateway.request(self.0.clone(), Some(timeout));
        let page = gateway.conversations().list_turns(page).await?.into_inner();
        self.0.page_token = page.next_page_token;
        Ok(page.turns)
    }
}

fn line(fields: Vec<(&str, Shown)>) -> Result<String, Failure> {
    let fields = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    gateway_output::line(&Fields(fields.collect()))
}

fn list<T: prost::Message>(kind: &str, items: &[T]) -> Shown {
    let schema = Schema::read();
    let items = items.iter();
    let items = items.map(|item| Shown::Object(message_json::fields(&schema, kind, item)));
    Shown::List(items.collect())
}

/// Prints a conversation with all turns as JSON, page by page. Returns what is left to print.
async fn export(
    gateway: &Gateway,
    (conversation, media): (&pb::Conversation, Option<&Path>),
    timeout: Duration,
    terminal: &mut Terminal,
) -> Result<String, Failure> {
    let schema = Schema::read();
    let mut turns = Turns::of(&conversation.name, false, media.is_some());
    let mut text = exported(conversation, &[])?;
    // The list is still open.
    text.truncate(text.trim_end_matches("]}\n").len());
    let mut has_turns = false;
    let mut page = turns.page(gateway, timeout).await?;
    loop {
        if let Some(folder) = media {
            save_media(folder, &page).await?;
        }
        for turn in &page {
            if has_turns {
                text.push(',');
            }
            has_turns = true;
            let fields = message_json::fields(&schema, "Turn", turn);
            text.push_str(gateway_output::line(&fields)?.trim_end());
        }
        if turns.0.page_token.is_empty() {
            text.push_str("]}\n");
            return Ok(text);
        }
        terminal.answer(&text)?;
        text.clear();
        page = match turns.page(gateway, timeout).await {
            Ok(page) => page,
            Err(failure) => {
                // The failure is a line of its own.
                terminal.answer("\n")?;
                return Err(failure);
            }
        };
    }
}

fn exported(conversation: &pb::Conversation, turns: &[pb::Turn]) -> Result<String, Failure> {
    let of = message_json::fields(&Schema::read(), "Conversation", conversation);
    line(vec![
        ("conversation", Shown::Object(of)),
        ("turns", list("Turn", turns)),
    ])
}
