//! The calls of a job, with the public functions of the library.

use std::path::Path;
use std::time::Duration;

use dashgate_client::v1::GenerationOptions;
use dashgate_client::{Client, Conversation, Media, Tls, audio, v1};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Fault;
use crate::content::contents;
use crate::job::{Call, Dialogue, Job, Options, Structured, Turn};
use crate::live;
use crate::over::Over;
use crate::result::{self, CaseResult};
use crate::stored;
use crate::streams;
use crate::tools;

/// Runs a job and fills in its result.
pub async fn make(job: Job, result: &mut CaseResult) -> Result<(), Fault> {
    let over = match client(&job) {
        Ok(client) => {
            let over = call(client.clone(), job.call, result).await;
            client.settle().await;
            over
        }
        Err(over) => Err(over),
    };
    match over {
        Ok(()) => {}
        Err(Over::Failed(error)) => result.error = Some(result::error(&error)?),
        Err(Over::Cancelled) => result.error = Some(json!({"code": "CANCELLED"})),
        Err(Over::Broken(fault)) => return Err(fault),
    }
    Ok(())
}

fn client(job: &Job) -> Result<Client, Over> {
    let Options {
        api_key,
        tls,
        timeout_ms,
        idle_timeout_ms,
        metadata,
        max_retries,
    } = &job.options;
    let mut builder = Client::builder().target(&job.target);
    if let Some(key) = api_key {
        builder = builder.api_key(key);
    }
    if let Some(files) = tls {
        let read = |file: &Path| std::fs::read(file).map_err(|error| Over::Broken(error.into()));
        let mut tls = Tls::new();
        if let Some(file) = &files.ca_file {
            tls = tls.ca_certificates(read(file)?);
        }
        if let (Some(certificate), Some(key)) = (&files.cert_file, &files.key_file) {
            tls = tls.client_certificate(read(certificate)?, read(key)?);
        }
        if let Some(name) = &files.server_name {
            tls = tls.server_name(name);
        }
        builder = builder.tls(tls);
    }
    if let Some(ms) = timeout_ms {
        builder = builder.timeout(Duration::from_millis(*ms));
    }
    if let Some(ms) = idle_timeout_ms {
        builder = builder.idle_timeout(Duration::from_millis(*ms));
    }
    for (name, value) in metadata {
        builder = builder.metadata(name, value);
    }
    if let Some(retries) = max_retries {
        builder = builder.max_retries(*retries);
    }
    Ok(builder.build()?)
}

async fn call(client: Client, call: Call, result: &mut CaseResult) -> Result<(), Over> {
    match call {
        Call::Converse(turn) => converse(&client, turn, result).await,
        Call::Stream(turn) => streams::stream(&client, turn, result).await,
        Call::Deltas(turn) => streams::deltas(&client, turn, result).await,
        Call::Dialogue(job) => dialogue(&client, job, result).await,
        Call::Tools(job) => tools::tools(&client, job, result).await,
        Call::Stored { steps } => stored::stored(&client, steps, result).await,
        Call::Structured(job) => structured(&client, job, result).await,
        Call::Messages { model, messages } => {
            let conversation = Conversation::from_messages(model, messages)?;
            let conversation = Conversation::from_json(&conversation.to_json()?)?;
            let json = conversation.to_json()?;
            result.conversation = Some(serde_json::from_str(&json).map_err(Fault::from)?);
            Ok(())
        }
        Call::Upload {
            model,
            file,
            mime_type,
            name,
            then,
        } => {
            let mut upload = client.upload(&model, file);
            if let Some(mime_type) = mime_type {
                upload = upload.mime_type(mime_type);
            }
            if let Some(name) = name {
                upload = upload.name(name);
            }
            let uploaded = upload.await?;
            result
                .uploads
                .push(result::json_of("UploadMediaResponse", &uploaded)?);
            if let Some(then) = then {
                let mut conversation = Conversation::new(model);
                conversation.user(contents(&then, &uploaded.uri).await?);
                let answer = client.converse(&conversation).await?;
                result.answers.push(result::answer(&answer)?);
            }
            Ok(())
        }
        Call::Models { page_size } => {
            let mut models = client.list_models().page_size(page_size);
            while let Some(model) = models.next().await {
                result.models.push(result::json_of("Model", &model?)?);
            }
            Ok(())
        }
        Call::Model { name } => {
            let model = client.get_model(name).await?;
            result.models.push(result::json_of("Model", &model)?);
            Ok(())
        }
        Call::Cancellation { request_id } => Ok(client.cancel_call(request_id).await?),
        Call::Many { count, turn } => streams::many(&client, count, &turn, result).await,
        Call::Live(session) => live::live(&client, session, result).await,
        Call::Speak(session) => live::speak(&client, session, result).await,
        Call::Sniff { vectors } => {
            for vector in vectors {
                let part = audio(Media::path(vector.file)).await.map_err(Fault::from)?;
                let mime_type = match part.kind {
                    Some(v1::content::Kind::Audio(audio)) => audio.mime_type,
                    _ => String::new(),
                };
                result.mime_types.push(mime_type);
            }
            Ok(())
        }
    }
}

async fn converse(client: &Client, turn: Turn, result: &mut CaseResult) -> Result<(), Over> {
    let mut call = client.converse(conversation(&turn)?);
    if let Some(options) = options(turn.options.as_ref())? {
        call = call.options(options);
    }
    if let Some(id) = turn.request_id {
        call = call.request_id(id);
    }
    if let Some(ms) = turn.timeout_ms {
        call = call.timeout(Duration::from_millis(ms));
    }
    for (name, value) in turn.metadata {
        call = call.metadata(name, value);
    }
    if let Some(retries) = turn.max_retries {
        call = call.max_retries(retries);
    }
    if let Some(number) = turn.expected_turn {
        call = call.expected_turn(number);
    }
    if let Some(history) = &turn.history {
        call = call.history(result::message("HistoryPolicy", history)?);
    }
    let ended = streams::until(turn.cancel, async { Ok(call.await?) }).await;
    if matches!(ended, Err(Over::Cancelled)) {
        streams::sent().await;
    }
    result.answers.push(result::answer(&ended?)?);
    Ok(())
}

async fn dialogue(client: &Client, job: Dialogue, result: &mut CaseResult) -> Result<(), Over> {
    let mut conversation = match job.name {
        None => Conversation::new(job.model),
        Some(name) => {
            let id = name.strip_prefix("conversations/").unwrap_or(&name);
            client.create_conversation().id(id).model(job.model).await?;
            Conversation::stored(name)
        }
    };
    if let Some(system) = job.system {
        conversation.system(system);
    }
    let options = options(job.options.as_ref())?.unwrap_or_default();
    let ended = turns(
        client,
        &mut conversation,
        job.turns,
        options,
        job.stream,
        result,
    )
    .await;
    result.last_turn = conversation.last_turn();
    result.conversation = Some(result::json_of("Conversation", conversation.raw())?);
    ended
}

async fn turns(
    client: &Client,
    conversation: &mut Conversation,
    turns: Vec<Vec<Value>>,
    options: GenerationOptions,
    streamed: bool,
    result: &mut CaseResult,
) -> Result<(), Over> {
    for turn in turns {
        conversation.user(contents(&turn, "").await?);
        let answer = if streamed {
            let events = client.stream(&*conversation).options(options.clone());
            events.await?.finish().await?
        } else {
            client
                .converse(&*conversation)
                .options(options.clone())
                .await?
        };
        conversation.append(&answer);
        result.answers.push(result::answer(&answer)?);
    }
    Ok(())
}

/// The type of `structured`.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
struct City {
    name: String,
    people: i64,
    rivers: Vec<String>,
}

async fn structured(client: &Client, job: Structured, result: &mut CaseResult) -> Result<(), Over> {
    let mut conversation = Conversation::new(job.model);
    conversation.user(job.question);
    let call = client.converse_as::<City>(&conversation);
    let structured = call.repair(job.repair).await?;
    result.answers.push(result::answer(&structured.answer)?);
    result.value = Some(json!(structured.value));
    Ok(())
}

/// The conversation of a turn.
pub fn conversation(turn: &Turn) -> Result<v1::Conversation, Fault> {
    result::message("Conversation", &turn.conversation)
}

/// The options of a turn.
pub fn options(json: Option<&Value>) -> Result<Option<GenerationOptions>, Fault> {
    let message = |json| result::message("GenerationOptions", json);
    json.map(message).transpose()
}
