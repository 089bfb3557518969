//! Recorded exchanges as files: `NAME.request.body.json`, `NAME.response.header.txt` and
//! `NAME.response.body.txt`, where NAME ends with `-sse` for a stream.

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::*;

/// Where they are, from the folder that holds the project.
const FOLDER: &str = "shared/dashscope/recordings";

/// One exchange.
#[derive(Clone, Debug)]
pub struct Recording {
    pub name: String,
    request: Option<Value>,
    head: String,
    pub answer: Vec<u8>,
}

/// The recordings whose name begins so.
pub fn recordings(start: &str) -> Vec<Recording> {
    let folder = folder();
    let entries = std::fs::read_dir(&folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = names.filter_map(|file| {
        let name = file.strip_suffix(".response.body.txt")?;
        name.starts_with(start).then(|| name.to_owned())
    });
    let mut recordings: Vec<_> = names.map(|name| read(&folder, name)).collect();
    assert!(!recordings.is_empty(), "no recording begins with {start}");
    recordings.sort_by(|a, b| a.name.cmp(&b.name));
    recordings
}

/// Those that are streams of an answer.
pub fn streams() -> Vec<Recording> {
    let mut streams = recordings("multimodal-");
    streams.retain(Recording::is_stream);
    streams
}

/// Where all of them are, if they are here.
pub fn folder() -> PathBuf {
    let project = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    project.parent().unwrap().join(FOLDER)
}

fn read(folder: &std::path::Path, name: String) -> Recording {
    let file = |end: &str| std::fs::read(folder.join(format!("{name}{end}")));
    let text = |end: &str| {
        let text = String::from_utf8(file(end).unwrap()).unwrap();
        text.trim_start_matches('\u{feff}').to_owned()
    };
    let has_request = file(".request.body.json").is_ok();
    let request = has_request.then(|| text(".request.body.json"));
    let request = request.map(|json| serde_json::from_str(&json).unwrap());
    Recording {
        head: text(".response.header.txt"),
        answer: file(".response.body.txt").unwrap(),
        request,
        name,
    }
}

/// Parameters whose field has another name and stands in a group.
const GROUPED: [(&str, &str, &str); 10] = [
    ("enable_thinking", "thinking", "enabled"),
    ("thinking_budget", "thinking", "budget_tokens"),
    ("preserve_thinking", "thinking", "preserve"),
    ("reasoning_effort", "thinking", "effort"),
    (
        "vl_high_resolution_images",
        "vision",
        "high_resolution_images",
    ),
    ("vl_enable_image_hw_output", "vision", "output_image_size"),
    ("negative_prompt", "image_generation", "negative_prompt"),
    ("prompt_extend", "image_generation", "prompt_extend"),
    ("watermark", "image_generation", "watermark"),
    ("size", "image_generation", "size"),
];

impl Recording {
    /// Whether the answer came as events.
    pub fn is_stream(&self) -> bool {
        self.name.ends_with("-sse")
    }

    /// Where the last event's JSON ends.
    pub fn last_brace(&self) -> usize {
        self.answer.iter().rposition(|byte| *byte == b'}').unwrap()
    }

    /// The body that was sent, as the gateway would send it.
    pub fn body(&self) -> Value {
        let mut body = self.request.clone().unwrap();
        let parameters = body["parameters"].as_object_mut().unwrap();
        if self.is_stream() {
            assert_eq!(parameters["incremental_output"], true);
        } else {
            parameters.remove("incremental_output");
        }
        if let Some(stop) = parameters.get_mut("stop").filter(|stop| stop.is_string()) {
            *stop = json!([stop]);
        }
        body
    }

    /// The answer byte for byte, in the compression that its head names.
    pub fn steps(&self) -> Vec<Step> {
        self.steps_of(&self.answer)
    }

    /// The answer with one text for another.
    pub fn replaced(&self, from: &str, to: &str) -> Vec<Step> {
        let text = std::str::from_utf8(&self.answer).unwrap();
        assert!(text.contains(from));
        self.steps_of(text.replace(from, to).as_bytes())
    }

    fn steps_of(&self, body: &[u8]) -> Vec<Step> {
        let mut lines = self.head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let mut headers = String::new();
        let mut packed = None;
        for line in lines.filter(|line| !line.trim().is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            let name = name.to_ascii_lowercase();
            match (name.as_str(), value.trim()) {
                ("transfer-encoding" | "content-length" | "connection", _) => {}
                ("content-encoding", "gzip") => {
                    let level = flate2::Compression::default();
                    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                    encoder.write_all(body).unwrap();
                    packed = Some(encoder.finish().unwrap());
                    headers.push_str("content-encoding: gzip\r\n");
                }
                (name, value) => headers.push_str(&format!("{name}: {value}\r\n")),
            }
        }
        let body = packed.as_deref().unwrap_or(body);
        http(status.parse().unwrap(), &headers, body)
    }

    /// The same call over gRPC, as JSON.
    pub fn call(&self) -> Value {
        let body = self.request.as_ref().unwrap();
        let messages = body["input"]["messages"].as_array().unwrap();
        let mut conversation = json!({
            "model": body["model"],
            "messages": messages.iter().map(turn).collect::<Value>(),
        });
        let mut options = body["parameters"].clone();
        let fields = options.as_object_mut().unwrap();
        fields.remove("incremental_output");
        if let Some(stop) = fields.get_mut("stop").filter(|stop| stop.is_string()) {
            *stop = json!([stop]);
        }
        for (key, group, field) in GROUPED {
            if let Some(value) = fields.remove(key) {
                let group = fields.entry(group).or_insert_with(|| json!({}));
                group[field] = value;
            }
        }
        if let Some(size) = fields
            .get_mut("image_generation")
            .map(|group| &mut group["size"])
            && let Some((width, height)) = size.as_str().and_then(|size| size.split_once('*'))
        {
            let [width, height] = [width, height].map(|side| side.parse::<i32>().unwrap());
            *size = json!({"width": width, "height": height});
        }
        if let Some(tools) = fields.remove("tools") {
            conversation["tools"] = tools.as_array().unwrap().iter().map(tool).collect();
        }
        json!({"conversation": conversation, "options": options})
    }
}

fn turn(turn: &Value) -> Value {
    let role = turn["role"].as_str().unwrap().to_ascii_uppercase();
    let mut message = json!({
        "role": format!("ROLE_{role}"),
        "content": turn["content"].as_array().unwrap().iter().map(part).collect::<Value>(),
    });
    if let Some(calls) = turn["tool_calls"].as_array() {
        message["tool_calls"] = calls.iter().map(tool_call).collect();
    }
    if turn["tool_call_id"].is_string() {
        message["tool_call_id"] = turn["tool_call_id"].clone();
    }
    message
}

fn part(part: &Value) -> Value {
    let [(key, value)] = &part.as_object().unwrap().iter().collect::<Vec<_>>()[..] else {
        panic!("a part has one key: {part}")
    };
    match key.as_str() {
        "text" => part.clone(),
        other => json!({other: {"uri": value}}),
    }
}

fn tool_call(call: &Value) -> Value {
    json!({
        "index": call["index"],
        "id": call["id"],
        "type": call["type"],
        "name": call["function"]["name"],
        "arguments": call["function"]["arguments"],
    })
}

fn tool(tool: &Value) -> Value {
    let function = &tool["function"];
    json!({"function": {
        "name": function["name"],
        "description": function["description"],
        "parameters": function["parameters"].to_string(),
    }})
}
