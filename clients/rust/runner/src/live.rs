//! Live sessions of a job.

use std::time::Duration;

use dashgate_client::{Client, LiveSession, SpeechSession, v1};
use serde_json::Value;
use tokio::time::sleep;

use crate::Fault;
use crate::job::{Session, Step};
use crate::over::Over;
use crate::result::{self, CaseResult};

/// The bytes of 100 ms.
const PIECE: usize = 3200;

/// A conversation.
pub async fn live(client: &Client, job: Session, result: &mut CaseResult) -> Result<(), Over> {
    let events = result.live.insert(Vec::new());
    let setup: v1::LiveSetup = result::message("LiveSetup", &job.setup)?;
    let mut call = client.live(setup);
    if let Some(ms) = job.timeout_ms {
        call = call.timeout(Duration::from_millis(ms));
    }
    for (name, value) in job.metadata {
        call = call.metadata(name, value);
    }
    let mut session = call.await?;
    let mut others = Vec::new();
    for step in job.steps {
        match step {
            Step::Await(kind) => read_live(&mut session, events, &kind).await?,
            Step::Close {} => {
                drop(session);
                return Err(left().await);
            }
            Step::TakeOver {} => {
                let resume = session.resumption();
                let setup = v1::LiveSetup {
                    resume,
                    ..v1::LiveSetup::default()
                };
                let mut other = client.live(setup).await?;
                if let Some(event) = other.next().await {
                    event?;
                }
                others.push(other);
            }
            step => {
                if let Err(over) = send_live(&session, step, events).await {
                    // A session that has ended still has the events until then.
                    read_live(&mut session, events, "").await?;
                    return Err(over);
                }
            }
        }
    }
    read_live(&mut session, events, "").await
}

async fn send_live(session: &LiveSession, step: Step, events: &[Value]) -> Result<(), Over> {
    match step {
        Step::AudioFile(file) => {
            let audio = std::fs::read(file).map_err(Fault::from)?;
            for piece in audio.chunks(PIECE) {
                session.send_audio(piece.to_vec()).await?;
            }
        }
        Step::ImageFile(file) => {
            let image = std::fs::read(file).map_err(Fault::from)?;
            session.send_image(image).await?;
        }
        Step::Text(text) => session.send_text(text).await?,
        Step::Commit {} => session.commit().await?,
        Step::Clear {} => session.clear().await?,
        Step::CreateResponse {
            instructions,
            modalities,
        } => session.create_response(instructions, modalities).await?,
        Step::CancelResponse {} => session.cancel_response().await?,
        Step::ToolResult {
            tool_call_id,
            output,
        } => {
            let id = tool_call_id.or_else(|| last_tool_call(events));
            let id = id.ok_or_else(|| Fault::from("there is no tool call"))?;
            session.send_tool_result(id, output).await?;
        }
        Step::Update(update) => {
            let update = result::message("UpdateSession", &update)?;
            session.update(update).await?;
        }
        Step::DeleteItem { item_id } => session.delete_item(item_id).await?,
        Step::Finish {} => session.finish(),
        Step::Await(_) | Step::TakeOver {} | Step::Close {} => return Err(unknown(&step)),
    }
    Ok(())
}

fn last_tool_call(events: &[Value]) -> Option<String> {
    let id = |event: &Value| {
        let id = event.pointer("/responseDelta/toolCall/id")?.as_str()?;
        (!id.is_empty()).then(|| id.to_owned())
    };
    events.iter().rev().find_map(id)
}

async fn read_live(
    session: &mut LiveSession,
    events: &mut Vec<Value>,
    last: &str,
) -> Result<(), Over> {
    while let Some(event) = session.next().await {
        let event = result::json_of("ConverseLiveResponse", &event?)?;
        let is_last = is_kind(&event, last);
        events.push(event);
        if is_last {
            return Ok(());
        }
    }
    Ok(())
}

/// A text that is spoken.
pub async fn speak(client: &Client, job: Session, result: &mut CaseResult) -> Result<(), Over> {
    let events = result.speech.insert(Vec::new());
    let setup: v1::SynthesisSetup = result::message("SynthesisSetup", &job.setup)?;
    let mut call = client.speak(setup);
    if let Some(ms) = job.timeout_ms {
        call = call.timeout(Duration::from_millis(ms));
    }
    for (name, value) in job.metadata {
        call = call.metadata(name, value);
    }
    let mut session = call.await?;
    for step in job.steps {
        match step {
            Step::Text(text) => session.send_text(text).await?,
            Step::Commit {} => session.commit().await?,
            Step::Clear {} => session.clear().await?,
            Step::Finish {} => session.finish(),
            Step::Await(kind) => read_speech(&mut session, events, &kind).await?,
            Step::Close {} => {
                drop(session);
                return Err(left().await);
            }
            step => return Err(unknown(&step)),
        }
    }
    read_speech(&mut session, events, "").await
}

async fn read_speech(
    session: &mut SpeechSession,
    events: &mut Vec<Value>,
    last: &str,
) -> Result<(), Over> {
    while let Some(event) = session.next().await {
        let event = result::json_of("SynthesizeLiveResponse", &event?)?;
        let is_last = is_kind(&event, last);
        events.push(event);
        if is_last {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether an event is of this kind, which is named as in the schema.
fn is_kind(event: &Value, kind: &str) -> bool {
    let mut words = kind.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    event.get(name).is_some()
}

/// The end of a session that was left. Its connection sends the last frames before the runtime
/// ends.
async fn left() -> Over {
    sleep(Duration::from_millis(100)).await;
    Over::Cancelled
}

fn unknown(step: &Step) -> Over {
    Over::Broken(format!("unknown step: {step:?}").into())
}
