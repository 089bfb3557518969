//! The tool loops of a job.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use dashgate_client::{Answer, Client, Conversation, Tool, ToolError};
use serde_json::{Value, json};

use crate::Fault;
use crate::job;
use crate::over::Over;
use crate::result::{self, CaseResult};

/// Runs a tool loop.
pub async fn tools(
    client: &Client,
    loop_: job::ToolLoop,
    result: &mut CaseResult,
) -> Result<(), Over> {
    let called = Arc::new(Mutex::new(Vec::new()));
    let tools = loop_.tools.iter();
    let tools: Vec<Tool> = tools
        .map(|tool| recording(tool, &loop_.results, &called))
        .collect();
    let mut conversation = Conversation::new(&loop_.model);
    conversation.user(loop_.question.as_str());
    let ended = match loop_.stream {
        true => streamed(client, &loop_, &tools, &mut conversation, result).await,
        false => whole(client, &loop_, &tools, &mut conversation).await,
    };
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

async fn whole(
    client: &Client,
    loop_: &job::ToolLoop,
    tools: &[Tool],
    conversation: &mut Conversation,
) -> Result<Answer, ToolError> {
    let mut run = client.run_tools(conversation, tools);
    run = run.parallel(loop_.parallel);
    if let Some(rounds) = loop_.max_rounds {
        run = run.max_rounds(rounds);
    }
    run.await
}

async fn streamed(
    client: &Client,
    loop_: &job::ToolLoop,
    tools: &[Tool],
    conversation: &mut Conversation,
    result: &mut CaseResult,
) -> Result<Answer, ToolError> {
    let mut events = client.stream_tools(conversation, tools);
    events = events.parallel(loop_.parallel);
    if let Some(rounds) = loop_.max_rounds {
        events = events.max_rounds(rounds);
    }
    while let Some(event) = events.next().await {
        let event = result::json_of("ConverseStreamResponse", &event?);
        result.events.push(event.map_err(ToolError::Tool)?);
    }
    events.finish().await
}

type Calls = Arc<Mutex<Vec<Value>>>;

fn recording(tool: &job::Tool, results: &BTreeMap<String, String>, called: &Calls) -> Tool {
    let name = tool.name.clone();
    let result = results.get(&name).cloned().unwrap_or_default();
    let called = Arc::clone(called);
    Tool::new(
        tool.name.as_str(),
        tool.description.as_str(),
        tool.parameters.as_str(),
        move |arguments: String| {
            let call = json!({"name": name, "arguments": arguments});
            let mut called = called.lock().unwrap_or_else(PoisonError::into_inner);
            called.push(call);
            let result = result.clone();
            async move { Ok::<_, Fault>(result) }
        },
    )
}
