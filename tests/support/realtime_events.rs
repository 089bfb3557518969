//! The events that a scripted realtime interface sends, in the forms of DashScope.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::realtime::{SocketEnd, UpstreamSocket};

impl UpstreamSocket {
    /// The session has started.
    pub fn session_created(&self) {
        self.send(json!({
            "type": "session.created",
            "session": {"id": "sess_1", "object": "realtime.session", "voice": "Cherry"},
        }));
    }

    /// Takes the first update and confirms it.
    pub async fn configured(&mut self) -> Value {
        let update = self.until("session.update").await;
        self.send(json!({"type": "session.updated", "session": {"id": "sess_1"}}));
        update
    }

    /// Speech of the caller has started.
    pub fn speech_started(&self, item: &str) {
        let kind = "input_audio_buffer.speech_started";
        self.send(json!({"type": kind, "audio_start_ms": 100, "item_id": item}));
    }

    /// Speech of the caller has stopped: a turn.
    pub fn speech_stopped(&self, item: &str) {
        let kind = "input_audio_buffer.speech_stopped";
        self.send(json!({"type": kind, "audio_end_ms": 900, "item_id": item}));
        self.send(json!({"type": "input_audio_buffer.committed", "item_id": item}));
    }

    /// A response has started.
    pub fn response_created(&self, id: &str) {
        let response = json!({"id": id, "status": "in_progress"});
        self.send(json!({"type": "response.created", "response": response}));
        let item = json!({"id": format!("item_{id}"), "type": "message"});
        self.send(json!({
            "type": "response.output_item.added", "response_id": id, "output_index": 0,
            "item": item,
        }));
    }

    /// A piece of text of a response.
    pub fn text(&self, id: &str, text: &str) {
        self.delta("response.text.delta", id, text);
    }

    /// A piece of the transcript of a response.
    pub fn transcript(&self, id: &str, text: &str) {
        self.delta("response.audio_transcript.delta", id, text);
    }

    /// A piece of the audio of a response.
    pub fn speak(&self, id: &str, audio: &[u8]) {
        self.delta("response.audio.delta", id, &STANDARD.encode(audio));
    }

    fn delta(&self, kind: &str, id: &str, delta: &str) {
        self.send(json!({
            "type": kind, "response_id": id, "item_id": format!("item_{id}"), "output_index": 0,
            "content_index": 0, "delta": delta,
        }));
    }

    /// The item of a response is complete.
    pub fn item_done(&self, id: &str) {
        let item = json!({"id": format!("item_{id}"), "type": "message", "status": "completed"});
        self.send(json!({
            "type": "response.output_item.done", "response_id": id, "output_index": 0,
            "item": item,
        }));
    }

    /// A response has ended.
    pub fn response_done(&self, id: &str, status: &str) {
        let usage = json!({
            "total_tokens": 30, "input_tokens": 20, "output_tokens": 10,
            "input_tokens_details": {"text_tokens": 5, "audio_tokens": 15},
            "output_tokens_details": {"text_tokens": 4, "audio_tokens": 6},
        });
        let response = json!({"id": id, "status": status, "output": [], "usage": usage});
        self.send(json!({"type": "response.done", "response": response}));
    }

    /// A whole response of this text.
    pub fn answer(&self, id: &str, text: &str) {
        self.response_created(id);
        self.text(id, text);
        self.item_done(id);
        self.response_done(id, "completed");
    }

    /// A refusal that the session survives.
    pub fn refuse(&self, event_id: &Value, param: &str, message: &str) {
        self.send(json!({"type": "error", "error": {
            "type": "invalid_request_error", "code": "invalid_value", "message": message,
            "param": param, "event_id": event_id,
        }}));
    }

    /// Waits for `session.finish`, confirms it, and returns how the connection ended.
    pub async fn finish(&mut self) -> SocketEnd {
        self.until("session.finish").await;
        self.send(json!({"type": "session.finished"}));
        self.ended().await
    }
}
