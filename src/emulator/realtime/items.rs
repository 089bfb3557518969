//! The items of a conversation: messages, tool calls and their results.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::hearing::Heard;
use super::session_config::invalid;
use crate::emulator::image::ImageInfo;
use crate::emulator::websocket::outbox::new_id;
use crate::emulator::websocket::session::SocketError;

/// The most items; the oldest are dropped, as DashScope drops the oldest turns.
const MAX_ITEMS: usize = 200;
/// The longest text of an item, in bytes.
const MAX_TEXT: usize = 128 * 1024;

/// One item.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    /// Its id.
    pub(super) id: String,
    /// What it holds.
    pub(super) content: Content,
    /// The item as it is reported.
    pub(super) value: Value,
}

/// What an item holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    /// Audio and images that were committed.
    Spoken(Heard, Vec<ImageInfo>),
    /// The text of a user or a system.
    Text(String),
    /// The result of a tool.
    ToolOutput(String),
    /// A tool call, or what the model answered: its text.
    Answer(String),
}

/// The items, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Items(VecDeque<Item>);

impl Items {
    /// Adds an item, after another one if its id is given and known.
    pub(super) fn add(&mut self, item: Item, after: Option<&str>) {
        let position = after.and_then(|id| self.0.iter().position(|item| item.id == id));
        match position {
            Some(position) => self.0.insert(position + 1, item),
            None => self.0.push_back(item),
        }
        while self.0.len() > MAX_ITEMS {
            self.0.pop_front();
        }
    }

    /// The item with an id.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub(super) fn find(&self, id: &str, param: &str) -> Result<&Item, SocketError> {
        let found = self.0.iter().find(|item| item.id == id);
        found.ok_or_else(|| invalid(format!("Item with id '{id}' does not exist."), param))
    }

    /// Removes the item with an id, if there is one.
    pub(super) fn remove(&mut self, id: &str) {
        self.0.retain(|item| item.id != id);
    }

    /// All items.
    pub(super) fn all(&self) -> impl Iterator<Item = &Item> {
        self.0.iter()
    }

    /// The items that were not answered yet.
    pub(super) fn unanswered(&self) -> Vec<&Item> {
        let is_answer = |item: &Item| matches!(item.content, Content::Answer(_));
        let answered = self.0.iter().rposition(is_answer);
        self.0
            .iter()
            .skip(answered.map_or(0, |last| last + 1))
            .collect()
    }
}

/// The item of a turn as it is reported. The role is as in DashScope's documentation.
pub(super) fn spoken_value(id: &str) -> Value {
    json!({"id": id, "object": "realtime.item", "type": "message",
        "status": "in_progress", "role": "assistant", "content": [{"type": "input_audio"}]})
}

/// The item of a turn.
pub(super) fn spoken(id: String, heard: Heard, images: Vec<ImageInfo>) -> Item {
    Item {
        value: spoken_value(&id),
        id,
        content: Content::Spoken(heard, images),
    }
}

/// An item that the model generated.
pub(super) fn generated(value: Value, text: &str) -> Item {
    let id = value.get("id").and_then(Value::as_str).unwrap_or_default();
    Item {
        id: id.to_owned(),
        content: Content::Answer(text.to_owned()),
        value,
    }
}

/// The item of a client's `conversation.item.create`.
///
/// # Errors
///
/// If the item is invalid.
pub(super) fn created(item: &Value, keeps_id: bool) -> Result<Item, SocketError> {
    let Some(fields) = item.as_object() else {
        return Err(invalid("Missing required parameter: 'item'.", "item"));
    };
    let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
    let content = match text("type") {
        "message" => {
            let content = message(item)?;
            match text("role") {
                "assistant" => Content::Answer(content),
                _ => Content::Text(content),
            }
        }
        "function_call" => Content::Answer(String::new()),
        "function_call_output" if text("call_id").is_empty() => {
            let message = "Missing required parameter: 'item.call_id'.";
            return Err(invalid(message, "item.call_id"));
        }
        "function_call_output" => Content::ToolOutput(text("output").to_owned()),
        kind => return Err(invalid(format!("Invalid item.type: '{kind}'"), "item.type")),
    };
    if item.to_string().len() > MAX_TEXT {
        return Err(invalid("The item is too long.", "item"));
    }
    let given = Some(text("id")).filter(|id| keeps_id && !id.is_empty());
    let id = given.map_or_else(|| new_id("item"), str::to_owned);
    let mut value = json!({"id": id, "object": "realtime.item"});
    if let Some(value) = value.as_object_mut() {
        let others = fields.iter().filter(|(name, _)| *name != "id");
        value.extend(others.map(|(name, field)| (name.clone(), field.clone())));
        value.insert("status".into(), json!("completed"));
    }
    Ok(Item { id, content, value })
}

fn message(item: &Value) -> Result<String, SocketError> {
    let parts = item.get("content").and_then(Value::as_array);
    let parts = parts.map(Vec::as_slice).unwrap_or_default();
    let texts = parts.iter().map(|part| {
        let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
        let text = part.get("text").and_then(Value::as_str);
        match (kind, text) {
            ("input_text" | "text" | "output_text", Some(text)) => Ok(text),
            _ => Err(invalid(
                format!("Invalid content type: '{kind}'"),
                "item.content",
            )),
        }
    });
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    match texts.is_empty() {
        true => Err(invalid(
            "Missing required parameter: 'item.content'.",
            "item.content",
        )),
        false => Ok(texts.join("\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_validated_and_ids_kept_where_the_model_keeps_them() {
        let item = json!({"id": "mine", "type": "message", "role": "user",
            "content": [{"type": "input_text", "text": "hi"}]});
        let kept = created(&item, true).unwrap();
        assert_eq!(
            (kept.id.as_str(), &kept.value["status"]),
            ("mine", &json!("completed"))
        );
        assert_eq!(kept.content, Content::Text("hi".to_owned()));
        assert_ne!(created(&item, false).unwrap().id, "mine");
        for (item, message) in [
            (json!(1), "Missing required parameter: 'item'."),
            (json!({"type": "song"}), "Invalid item.type: 'song'"),
            (
                json!({"type": "message", "content": []}),
                "Missing required parameter: 'item.content'.",
            ),
            (
                json!({"type": "message", "content": [{"type": "input_audio"}]}),
                "Invalid content type: 'input_audio'",
            ),
            (
                json!({"type": "function_call_output"}),
                "Missing required parameter: 'item.call_id'.",
            ),
        ] {
            assert_eq!(created(&item, true).unwrap_err().message, message);
        }
    }

    #[test]
    fn what_follows_the_last_answer_is_unanswered_and_items_are_bounded() {
        let text = |text: &str, content: fn(String) -> Content| Item {
            id: text.to_owned(),
            content: content(text.to_owned()),
            value: Value::Null,
        };
        let mut items = Items::default();
        items.add(text("a", Content::Text), None);
        items.add(text("b", Content::Answer), None);
        items.add(text("c", Content::Text), None);
        items.add(text("d", Content::Text), Some("b"));
        let ids: Vec<_> = items
            .unanswered()
            .iter()
            .map(|item| item.id.as_str())
            .collect();
        assert_eq!(ids, ["d", "c"]);
        items.remove("c");
        assert!(items.find("c", "item_id").is_err());
        for _ in 0..2 * MAX_ITEMS {
            items.add(text("x", Content::Text), None);
        }
        assert_eq!(items.all().count(), MAX_ITEMS);
    }
}
