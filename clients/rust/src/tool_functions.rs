//! Runs the functions of a round.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use crate::tools::{Fault, Function, Running, Tool};
use crate::v1::ToolCall;

/// How many functions run at the same time.
const MAX_PARALLEL: usize = 16;

/// What came of the function of a call.
#[derive(Debug)]
pub(crate) enum Outcome {
    NotRun,
    /// It runs or, in a round that has ended, was dropped or has panicked.
    Begun,
    Ended(Result<String, Fault>),
}

/// What came of the functions of a round, in the order of the calls. The loop has them also if the
/// round does not end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcomes(Arc<Mutex<Vec<Outcome>>>);

impl Outcomes {
    /// Of this many calls.
    pub(crate) fn of(calls: usize) -> Self {
        let outcomes = (0..calls).map(|_| Outcome::NotRun);
        Self(Arc::new(Mutex::new(outcomes.collect())))
    }

    /// Returns all, once.
    pub(crate) fn take(&self) -> Vec<Outcome> {
        std::mem::take(&mut *self.lock())
    }

    fn set(&self, at: usize, outcome: Outcome) {
        if let Some(place) = self.lock().get_mut(at) {
            *place = outcome;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Outcome>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is to be run.
pub(crate) struct Task {
    /// `None` if there is no such tool.
    function: Option<Function>,
    name: String,
    arguments: String,
}

impl Task {
    pub(crate) fn of(tools: &[Tool], call: &ToolCall) -> Self {
        let tool = tools.iter().find(|tool| tool.name() == call.name);
        Self {
            function: tool.map(Tool::function),
            name: call.name.clone(),
            arguments: call.arguments.clone(),
        }
    }

    fn start(self) -> Running {
        match self.function {
            Some(function) => function(self.arguments),
            None => Box::pin(async move { Ok(missing(&self.name)) }),
        }
    }
}

/// Runs one function after the other, up to the first that fails.
pub(crate) async fn one_by_one(tasks: Vec<Task>, outcomes: Outcomes) {
    for (at, task) in tasks.into_iter().enumerate() {
        outcomes.set(at, Outcome::Begun);
        let result = task.start().await;
        let has_failed = result.is_err();
        outcomes.set(at, Outcome::Ended(result));
        if has_failed {
            return;
        }
    }
}

/// Runs all functions to their ends, some of them at the same time.
pub(crate) async fn together(tasks: Vec<Task>, outcomes: Outcomes) {
    let mut waiting: VecDeque<_> = tasks.into_iter().enumerate().collect();
    let mut running: Vec<(usize, Running)> = Vec::new();
    poll_fn(|context| {
        loop {
            while running.len() < MAX_PARALLEL
                && let Some((at, task)) = waiting.pop_front()
            {
                outcomes.set(at, Outcome::Begun);
                running.push((at, task.start()));
            }
            let before = running.len();
            running.retain_mut(|(at, function)| match function.as_mut().poll(context) {
                Poll::Ready(result) => {
                    outcomes.set(*at, Outcome::Ended(result));
                    false
                }
                Poll::Pending => true,
            });
            if running.is_empty() && waiting.is_empty() {
                return Poll::Ready(());
            }
            if running.len() == before || waiting.is_empty() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// Returns the result of a call of an unknown tool. The name is escaped, because the model may
/// write any text.
fn missing(name: &str) -> String {
    let mut json = String::from(r#"{"error":"there is no tool "#);
    for letter in name.chars() {
        match letter {
            '"' | '\\' => json.extend(['\\', letter]),
            letter if letter.is_control() => {
                json.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => json.push(letter),
        }
    }
    json + r#""}"#
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_tool_is_reported_as_json() {
        assert_eq!(missing("f"), r#"{"error":"there is no tool f"}"#);
        let odd = "a\"b\\c\nd\u{85}天";
        let result: serde_json::Value = serde_json::from_str(&missing(odd)).unwrap();
        assert_eq!(result["error"], format!("there is no tool {odd}"));
    }
}
