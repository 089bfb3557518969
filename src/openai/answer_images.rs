//! Images of OpenAI-style answers, which have them in two places and two forms.

use std::borrow::Cow;

use crate::chat::document::{Document, Object};
use crate::dashscope::answer_json::Part;
use crate::dashscope::json_text::Text;

/// The images beside the content of a message, as SGLang-Omni sends them: base64 with a format. Any
/// other stays as it is.
pub(super) fn take_images(extra: &mut Object) -> Vec<Part<'static>> {
    const IMAGES: &str = "images";
    let Some(Document::List(images)) = extra.value(IMAGES) else {
        return Vec::new();
    };
    let parts = images.iter().map(|image| {
        let Document::Object(image) = image else {
            return None;
        };
        let mut image = image.clone();
        let url = take_image(&mut image);
        image.0.retain(|(key, _)| key != "type");
        let data = match (image.value("data"), image.value("format")) {
            _ if url.is_some() => None,
            (Some(Document::String(data)), Some(Document::String(format))) => {
                Some(format!("data:image/{format};base64,{data}"))
            }
            _ => None,
        };
        if data.is_some() {
            image.0.retain(|(key, _)| key != "data" && key != "format");
        }
        Some(Part {
            image: Some(url.or(data.map(|data| Text(Cow::Owned(data))))?),
            extra: image,
            ..Part::default()
        })
    });
    let parts: Option<Vec<_>> = parts.collect();
    if parts.is_some() {
        extra.0.retain(|(key, _)| key != IMAGES);
    }
    parts.unwrap_or_default()
}

/// The URL of an image among the keys of a part, which is an object or a string.
pub(super) fn take_image(extra: &mut Object) -> Option<Text<'static>> {
    const IMAGE_URL: &str = "image_url";
    let mut value = extra.value(IMAGE_URL)?;
    if let Document::Object(object) = value {
        value = object.value("url")?;
    }
    let Document::String(url) = value else {
        return None;
    };
    let url = url.clone();
    extra.0.retain(|(key, _)| key != IMAGE_URL);
    Some(Text(Cow::Owned(url)))
}
