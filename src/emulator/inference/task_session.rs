//! A connection of tasks: the commands of its client, and the tasks that run on it.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::recognition::{self, Recognition};
use super::synthesis::{self, Synthesis};
use super::task_event::{event, failed, finished, invalid};
use crate::emulator::realtime::conversation_session::SessionContext;
use crate::emulator::script::wildcard;
use crate::emulator::websocket::outbox::Outbox;
use crate::emulator::websocket::session::{SocketError, SocketSession};

/// The most tasks at a time.
const MAX_TASKS: usize = 16;
/// The time without input after which a task fails. Clients cannot change it.
const INPUT_TIMEOUT: Duration = Duration::from_secs(23);

/// A connection.
pub(in crate::emulator) struct TaskSession {
    context: SessionContext,
    tasks: Vec<Task>,
    /// The latest task, which an error of a script is about.
    latest: String,
}

struct Task {
    id: String,
    work: Work,
    active_at: Instant,
}

enum Work {
    Recognition(Box<Recognition>),
    Synthesis(Box<Synthesis>),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Command {
    header: Header,
    payload: Payload,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Header {
    action: String,
    task_id: String,
    streaming: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Payload {
    task: String,
    model: String,
    parameters: Map<String, Value>,
    input: Map<String, Value>,
}

impl TaskSession {
    /// A connection without tasks.
    pub(in crate::emulator) fn new(context: SessionContext) -> Self {
        Self {
            context,
            tasks: Vec::new(),
            latest: String::new(),
        }
    }

    async fn handle(&mut self, command: &Command, out: &mut Outbox) -> Result<(), SocketError> {
        let id = command.header.task_id.as_str();
        let input = &command.payload.input;
        if command.header.action == "run-task" {
            return self.run(command, out);
        }
        let context = &self.context;
        let position = self.tasks.iter().position(|task| task.id == id);
        let task = position.and_then(|position| self.tasks.get_mut(position));
        let Some(task) = task else {
            return Err(invalid(format!("task not found: {id}")));
        };
        task.active_at = Instant::now();
        match (command.header.action.as_str(), &mut task.work) {
            // What it has is context for the recognition, which needs none.
            ("continue-task", Work::Recognition(_)) => {}
            ("continue-task", Work::Synthesis(synthesis)) => {
                if let Some(text) = input.get("text").and_then(Value::as_str) {
                    synthesis.append(text)?;
                }
                if input.get("flush") == Some(&json!(true)) {
                    synthesis.flush();
                }
            }
            ("finish-task", Work::Recognition(recognition)) => {
                recognition.finish(context, out).await;
                finished(id, &json!({}), &Value::Null, out);
                self.tasks.retain(|task| task.id != id);
            }
            ("finish-task", Work::Synthesis(synthesis)) => {
                match input.get("directive").and_then(Value::as_str) {
                    Some("cancel") => synthesis.cancel(),
                    _ => synthesis.finish(),
                }
            }
            (action, _) => return Err(invalid(format!("unknown action: {action}"))),
        }
        Ok(())
    }

    fn run(&mut self, command: &Command, out: &mut Outbox) -> Result<(), SocketError> {
        let (id, payload) = (command.header.task_id.clone(), &command.payload);
        if id.is_empty() || self.tasks.iter().any(|task| task.id == id) {
            return Err(invalid("task_id must be set, and new"));
        }
        if self.tasks.len() >= MAX_TASKS {
            return Err(invalid("too many tasks on the connection"));
        }
        self.latest.clone_from(&id);
        let model = payload.model.as_str();
        let is_one_of = |models: &[&str]| models.iter().any(|known| wildcard(known, model));
        let work = match payload.task.as_str() {
            "asr" if is_one_of(&recognition::MODELS) => {
                let task = Recognition::new(id.clone(), model, &payload.parameters)?;
                Work::Recognition(Box::new(task))
            }
            "tts" if is_one_of(&synthesis::MODELS) => {
                let pace = self.context.pace;
                let mut task = Synthesis::new(id.clone(), &payload.parameters, pace)?;
                let text = payload.input.get("text").and_then(Value::as_str);
                task.append(text.unwrap_or_default())?;
                if command.header.streaming == "out" {
                    task.finish();
                }
                Work::Synthesis(Box::new(task))
            }
            _ => {
                return Err(SocketError {
                    code: "ModelNotFound".to_owned(),
                    ..invalid(format!("Model not found: {model}"))
                });
            }
        };
        self.tasks.push(Task {
            id: id.clone(),
            work,
            active_at: Instant::now(),
        });
        event(&id, "task-started", &json!({}), out);
        Ok(())
    }

    /// Sends what is due of all syntheses, and ends tasks without input.
    fn settle(&mut self, out: &mut Outbox) {
        let now = Instant::now();
        self.tasks.retain_mut(|task| {
            if let Work::Synthesis(synthesis) = &mut task.work {
                if synthesis.due().is_some() {
                    task.active_at = now;
                }
                if synthesis.advance(out) {
                    return false;
                }
            }
            let is_late = task.active_at + INPUT_TIMEOUT <= now;
            if is_late {
                let seconds = INPUT_TIMEOUT.as_secs();
                let error = SocketError {
                    code: "CLIENT_ERROR".to_owned(),
                    message: format!("request timeout after {seconds} seconds."),
                    ..SocketError::default()
                };
                failed(&task.id, &error, out);
            }
            !is_late
        });
    }
}

impl SocketSession for TaskSession {
    fn open(&mut self, _: &mut Outbox) {}

    async fn text(&mut self, text: &str, out: &mut Outbox) {
        let command: Command = match serde_json::from_str(text) {
            Ok(command) => command,
            Err(error) => {
                return failed("", &invalid(format!("invalid command: {error}")), out);
            }
        };
        let id = command.header.task_id.clone();
        if let Err(error) = self.handle(&command, out).await {
            failed(&id, &error, out);
            self.tasks.retain(|task| task.id != id);
        }
        self.settle(out);
    }

    async fn binary(&mut self, bytes: Bytes, out: &mut Outbox) {
        let context = &self.context;
        for task in self.tasks.iter_mut().rev() {
            if let Work::Recognition(recognition) = &mut task.work {
                task.active_at = Instant::now();
                return recognition.audio(&bytes, context, out).await;
            }
        }
        failed("", &invalid("no task takes audio"), out);
    }

    fn due(&self) -> Option<Instant> {
        let tasks = self.tasks.iter();
        let due = tasks.flat_map(|task| {
            let step = match &task.work {
                Work::Synthesis(synthesis) => synthesis.due(),
                Work::Recognition(_) => None,
            };
            [step, Some(task.active_at + INPUT_TIMEOUT)]
        });
        due.flatten().min()
    }

    fn advance(&mut self, out: &mut Outbox) {
        self.settle(out);
    }

    /// Errors are about the task of the command, or the latest one.
    fn fail(&mut self, error: &SocketError, out: &mut Outbox) {
        let is_running = self.tasks.iter().any(|task| task.id == self.latest);
        let latest = Some(&self.latest).filter(|_| is_running);
        if let Some(id) = error.event_id.as_ref().or(latest).cloned() {
            failed(&id, error, out);
            self.tasks.retain(|task| task.id != id);
        }
    }
}
