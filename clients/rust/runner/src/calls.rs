//! The calls of a job, with the public functions of the library.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashgate_client::v1::GenerationOptions;
use dashgate_client::{
    Client, Conversation, Media, Tls, Tool, ToolError, audio, image, text, v1, video, video_frames,
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::Fault;
use crate::job::{Call, Cancel, Job, Options, Turn};
use crate::live;
use crate::over::Over;
use crate::result::{self, CaseResult};

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
    Ok(builder.build()?)
}

async fn call(client: Client, call: Call, result: &mut CaseResult) -> Result<(), Over> {
    match call {
        Call::Converse(turn) => {
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
            let answer = until(turn.cancel, call.into_future()).await??;
            result.answers.push(result::answer(&answer)?);
            Ok(())
        }
        Call::Stream(turn) => stream(&client, turn, result).await,
        Call::Deltas(turn) => deltas(&client, turn, result).await,
        Call::Dialogue {
            model,
            system,
            turns,
            options: given,
            stream,
        } => {
            let options = options(given.as_ref())?.unwrap_or_default();
            let mut conversation = Conversation::new(model);
            if let Some(system) = system {
                conversation.system(system);
            }
            let ended = dialogue(&client, &mut conversation, turns, options, stream, result).await;
            result.conversation = Some(result::json_of("Conversation", conversation.raw())?);
            ended
        }
        Call::Tools {
            model,
            question,
            tools,
            results,
            max_rounds,
        } => {
            let called = Arc::new(Mutex::new(Vec::new()));
            let tools: Vec<Tool> = tools
                .into_iter()
                .map(|tool| recording(tool, &results, &called))
                .collect();
            let mut conversation = Conversation::new(model);
            conversation.user(question);
            let mut run = client.run_tools(&mut conversation, &tools);
            if let Some(rounds) = max_rounds {
                run = run.max_rounds(rounds);
            }
            let ended = run.await;
            let mut calls = called.lock().unwrap_or_else(PoisonError::into_inner);
            result.tool_calls.append(&mut calls);
            result.conversation = Some(result::json_of("Conversation", conversation.raw())?);
            match ended {
                Ok(answer) => result.answers.push(result::answer(&answer)?),
                Err(ToolError::Call(error)) => return Err(Over::Failed(error)),
                Err(error) => return Err(Over::Broken(error.into())),
            }
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
        Call::Many { count, turn } => many(&client, count, &turn, result).await,
        Call::Live(session) => live::live(&client, session, result).await,
        Call::Speak(session) => live::speak(&client, session, result).await,
        Call::Sniff { vectors } => {
            for vector in vectors {
                let part = audio(Media::path(vector.file)).await?;
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

async fn open(client: &Client, turn: &Turn) -> Result<dashgate_client::Events, Over> {
    let mut call = client.stream(conversation(turn)?);
    if let Some(resume) = turn.resume {
        call = call.resume(resume);
    }
    if let Some(options) = options(turn.options.as_ref())? {
        call = call.options(options);
    }
    if let Some(id) = &turn.request_id {
        call = call.request_id(id);
    }
    if let Some(ms) = turn.timeout_ms {
        call = call.timeout(Duration::from_millis(ms));
    }
    for (name, value) in &turn.metadata {
        call = call.metadata(name, value);
    }
    Ok(call.await?)
}

async fn stream(client: &Client, turn: Turn, result: &mut CaseResult) -> Result<(), Over> {
    let cancel = turn.cancel;
    let read = async {
        let mut events = open(client, &turn).await?;
        while let Some(event) = events.next().await {
            let event = result::json_of("ConverseStreamResponse", &event?)?;
            result.events.push(event);
            if matches!(cancel, Some(Cancel::AfterEvents(count)) if result.events.len() >= count) {
                return Err(Over::Cancelled);
            }
        }
        let answer = events.finish().await?;
        result.answers.push(result::answer(&answer)?);
        Ok(())
    };
    until(cancel, read).await?
}

async fn deltas(client: &Client, turn: Turn, result: &mut CaseResult) -> Result<(), Over> {
    let cancel = turn.cancel;
    let read = async {
        let mut events = open(client, &turn).await?;
        let mut texts = events.text_deltas();
        while let Some(text) = texts.next().await {
            result.deltas.push(text?);
            if matches!(cancel, Some(Cancel::AfterEvents(count)) if result.deltas.len() >= count) {
                return Err(Over::Cancelled);
            }
        }
        let answer = events.finish().await?;
        result.answers.push(result::answer(&answer)?);
        Ok(())
    };
    until(cancel, read).await?
}

async fn many(
    client: &Client,
    count: usize,
    turn: &Turn,
    result: &mut CaseResult,
) -> Result<(), Over> {
    let mut calls = Vec::new();
    for _ in 0..count {
        let (client, turn) = (client.clone(), turn.clone());
        calls.push(tokio::spawn(async move {
            let mut part = CaseResult::default();
            let ended = stream(&client, turn, &mut part).await;
            (part.answers, ended)
        }));
    }
    for call in calls {
        let (answers, ended) = call.await.map_err(|error| Over::Broken(error.into()))?;
        result.answers.extend(answers);
        ended?;
    }
    Ok(())
}

async fn dialogue(
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

/// Drops the future after the time that a job names.
async fn until<T>(cancel: Option<Cancel>, future: impl IntoFuture<Output = T>) -> Result<T, Over> {
    match cancel {
        Some(Cancel::AfterMs(ms)) => match timeout(Duration::from_millis(ms), future).await {
            Ok(ended) => Ok(ended),
            Err(_) => {
                // The connection is a task of the runtime; it sends its last frames before that ends.
                sleep(Duration::from_millis(100)).await;
                Err(Over::Cancelled)
            }
        },
        Some(Cancel::AfterEvents(_)) | None => Ok(future.await),
    }
}

fn conversation(turn: &Turn) -> Result<v1::Conversation, Fault> {
    result::message("Conversation", &turn.conversation)
}

fn options(json: Option<&Value>) -> Result<Option<GenerationOptions>, Fault> {
    let message = |json| result::message("GenerationOptions", json);
    json.map(message).transpose()
}

type Calls = Arc<Mutex<Vec<Value>>>;

fn recording(tool: crate::job::Tool, results: &BTreeMap<String, String>, called: &Calls) -> Tool {
    let name = tool.name.clone();
    let result = results.get(&name).cloned().unwrap_or_default();
    let called = Arc::clone(called);
    Tool::new(
        tool.name,
        tool.description,
        tool.parameters,
        move |arguments: String| {
            let call = json!({"name": name, "arguments": arguments});
            let mut called = called.lock().unwrap_or_else(PoisonError::into_inner);
            called.push(call);
            let result = result.clone();
            async move { Ok::<_, Fault>(result) }
        },
    )
}

async fn contents(specs: &[Value], uploaded: &str) -> Result<Vec<v1::Content>, Over> {
    let mut contents = Vec::new();
    for spec in specs {
        contents.push(content(spec, uploaded).await?);
    }
    Ok(contents)
}

async fn content(spec: &Value, uploaded: &str) -> Result<v1::Content, Over> {
    let fields = spec.as_object().ok_or_else(|| wrong(spec))?;
    let mime_type = fields.get("mime_type").and_then(Value::as_str);
    let mut keys = fields.keys().filter(|key| *key != "mime_type");
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(wrong(spec).into());
    };
    let value = fields.get(key).unwrap_or(&Value::Null);
    if let Value::Array(files) = value {
        let files = files.iter().filter_map(Value::as_str).map(Media::path);
        return Ok(video_frames(files).await?);
    }
    let value = value.as_str().ok_or_else(|| wrong(spec))?;
    let (kind, form) = match (key.as_str(), value) {
        ("text", _) => return Ok(text(value)),
        ("uploaded", kind) => (kind, "uploaded"),
        (key, _) => key.split_once('_').ok_or_else(|| wrong(spec))?,
    };
    let mut media = match form {
        // As a user writes it: a string that is no address is a path.
        "file" => Media::from(value),
        "bytes_of" => Media::bytes(std::fs::read(value).map_err(Fault::from)?),
        "uri" => Media::from(value),
        "uploaded" => Media::uri(uploaded),
        _ => return Err(wrong(spec).into()),
    };
    if let Some(mime_type) = mime_type {
        media = media.mime_type(mime_type);
    }
    Ok(match kind {
        "audio" => audio(media).await?,
        "image" => image(media).await?,
        "video" => video(media).await?,
        _ => return Err(wrong(spec).into()),
    })
}

fn wrong(spec: &Value) -> Fault {
    format!("no content: {spec}").into()
}
