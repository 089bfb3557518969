//! The content of messages, with the helpers of the library.

use dashgate_client::{Media, audio, image, text, v1, video, video_frames};
use serde_json::Value;

use crate::Fault;
use crate::over::Over;

/// The parts of a message; `uploaded` is the URI of an upload.
pub async fn contents(specs: &[Value], uploaded: &str) -> Result<Vec<v1::Content>, Over> {
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
        return Ok(video_frames(files).await.map_err(Fault::from)?);
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
        "audio" => audio(media).await.map_err(Fault::from)?,
        "image" => image(media).await.map_err(Fault::from)?,
        "video" => video(media).await.map_err(Fault::from)?,
        _ => return Err(wrong(spec).into()),
    })
}

fn wrong(spec: &Value) -> Fault {
    format!("no content: {spec}").into()
}
