//! `dashgate conversations`: the conversations that a gateway stores.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use dashgate_client::v1 as pb;
use tokio_stream::StreamExt as _;
use tonic::Code;

use super::conversation_media;
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

/// The turns that are fetched at once.
const PAGE_TURNS: i32 = 100;

/// How much of an export is printed at once.
const PIECE_BYTES: usize = 64 << 10;

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
    gateway_output::print(
        (flags, json, arguments.timeout),
        terminal,
        async |gateway, terminal| text(gateway, &arguments, terminal).await,
    )
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
            let mut latest = gateway.client.list_turns(&conversation.name);
            latest = latest
                .page_size(PAGE_TURNS)
                .timeout(timeout)
                .newest_first(true);
            let shown = latest.take(*turns).collect::<Result<Vec<_>, _>>();
            let mut shown = shown.await?;
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
                let deletion = gateway.client.delete_conversation(&name);
                let deleted = deletion.timeout(timeout).await;
                deleted.map_err(|error| {
                    let mut failure = Failure::from(error);
                    failure.message = format!("{name}: {}", failure.message);
                    failure
                })?;
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
    match gateway.client.get_conversation(&name).await {
        Ok(found) => return Ok(found),
        Err(error) if error.code() == Code::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let id = name.strip_prefix(COLLECTION).unwrap_or(id);
    let creation = gateway.client.create_conversation().id(id).model(model);
    match creation.await {
        Ok(created) => Ok(created),
        // Another one was faster.
        Err(error) if error.code() == Code::AlreadyExists => Ok(pb::Conversation {
            name,
            ..pb::Conversation::default()
        }),
        Err(error) => Err(error.into()),
    }
}

async fn one(gateway: &Gateway, id: &str, timeout: Duration) -> Result<pb::Conversation, Failure> {
    let found = gateway.client.get_conversation(name(id)).timeout(timeout);
    Ok(found.await?)
}

async fn all(gateway: &Gateway, timeout: Duration) -> Result<Vec<pb::Conversation>, Failure> {
    let list = gateway.client.list_conversations().timeout(timeout);
    Ok(list.take(MAX_ITEMS).collect::<Result<_, _>>().await?)
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
    let mut turns = gateway.client.list_turns(&conversation.name);
    turns = turns
        .page_size(PAGE_TURNS)
        .timeout(timeout)
        .include_media(media.is_some());
    if let Some(folder) = media {
        conversation_media::create(folder).await?;
    }
    let mut text = exported(conversation, &[])?;
    // The list is still open.
    text.truncate(text.trim_end_matches("]}\n").len());
    let mut has_turns = false;
    loop {
        let turn = match turns.next().await {
            Some(Ok(turn)) => turn,
            None => {
                text.push_str("]}\n");
                return Ok(text);
            }
            Some(Err(error)) if has_turns => {
                // The failure is a line of its own.
                terminal.answer(&format!("{text}\n"))?;
                return Err(error.into());
            }
            Some(Err(error)) => return Err(error.into()),
        };
        if let Some(folder) = media {
            conversation_media::save(folder, &turn).await?;
        }
        if has_turns {
            text.push(',');
        }
        has_turns = true;
        let fields = message_json::fields(&schema, "Turn", &turn);
        text.push_str(gateway_output::line(&fields)?.trim_end());
        if text.len() > PIECE_BYTES {
            terminal.answer(&text)?;
            text.clear();
        }
    }
}

fn exported(conversation: &pb::Conversation, turns: &[pb::Turn]) -> Result<String, Failure> {
    let of = message_json::fields(&Schema::read(), "Conversation", conversation);
    line(vec![
        ("conversation", Shown::Object(of)),
        ("turns", list("Turn", turns)),
    ])
}
