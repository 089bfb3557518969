//! Limits of the vision models for images and for videos given as images, with DashScope's
//! messages.

use super::error::ApiError;
use super::family::Kind;
use super::image::ImageInfo;
use super::media::Medium;
use super::request::{GenerationRequest, Part};
use super::script::wildcard;

/// Both sides of an image must be longer than this, in pixels.
const SIDE: usize = 10;
/// The ratio of the long side of an image to the short one must be below this.
const RATIO: usize = 200;
/// The fewest frames of a video given as images.
const LEAST_FRAMES: usize = 4;
/// The most frames of a video, by model; the first row that matches applies.
static MOST_FRAMES: [(&str, usize); 5] = [
    ("qwen3.?*", 8000),
    ("kimi*", 8000),
    ("qwen2-vl*", 80),
    ("qvq*", 512),
    ("*", 512),
];

/// Checks the number of frames, before they are resolved.
///
/// # Errors
///
/// DashScope's error.
pub(super) fn frames(request: &GenerationRequest) -> Result<(), ApiError> {
    let most = MOST_FRAMES
        .iter()
        .find(|(models, _)| wildcard(models, &request.model))
        .map_or(usize::MAX, |(_, most)| *most);
    for part in request.messages.iter().flat_map(|message| &message.parts) {
        if let Part::Frames(frames) = part
            && !(LEAST_FRAMES..=most).contains(&frames.len())
        {
            return Err(ApiError::algorithm(&format!(
                "The video modality input does not meet the requirements because: the range of \
                 sequence images shoule be ({LEAST_FRAMES}, {most})."
            )));
        }
    }
    Ok(())
}

/// Checks the sizes of images.
///
/// # Errors
///
/// DashScope's error.
pub(super) fn sizes(request: &GenerationRequest, media: &[Medium]) -> Result<(), ApiError> {
    if request.family.kind != Kind::Chat {
        return Ok(());
    }
    media.iter().try_for_each(size)
}

fn size(medium: &Medium) -> Result<(), ApiError> {
    match medium {
        Medium::Image(image, _) => sides(*image),
        Medium::Frames(frames) => frames.iter().try_for_each(size),
        Medium::Audio(..) | Medium::Video(..) | Medium::Remote(..) => Ok(()),
    }
}

fn sides(image: ImageInfo) -> Result<(), ApiError> {
    let ImageInfo { width, height, .. } = image;
    let (short, long) = (width.min(height), width.max(height));
    let rule = if short <= SIDE {
        format!("height:{height} or width:{width} must be larger than {SIDE}")
    } else if long > short.saturating_mul(RATIO) {
        format!("absolute aspect ratio must be smaller than {RATIO}, got {long} / {short}")
    } else {
        return Ok(());
    };
    Err(ApiError::algorithm(&format!(
        "The image length and width do not meet the model restrictions. [{rule}]"
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sides_and_ratios_have_limits() {
        for (width, height, words) in [
            (11, 11, ""),
            (10, 300, "[height:300 or width:10 must be larger than 10]"),
            (1, 1, "[height:1 or width:1 must be larger than 10]"),
            (2200, 11, ""),
            (11, 2201, "must be smaller than 200, got 2201 / 11]"),
        ] {
            let format = "PNG";
            let judged = sides(ImageInfo {
                format,
                width,
                height,
            });
            match words {
                "" => assert!(judged.is_ok(), "{width} x {height}"),
                words => assert!(judged.unwrap_err().message.ends_with(words), "{words}"),
            }
        }
    }

    #[test]
    fn videos_have_four_frames_or_more() {
        for (model, count, good) in [
            ("qwen3-vl-plus", 1, false),
            ("qwen3-vl-plus", 3, false),
            ("qwen3-vl-plus", 4, true),
            ("qwen3-vl-plus", 512, true),
            ("qwen3-vl-plus", 513, false),
            ("qwen3.6-plus", 513, true),
            ("qwen2-vl-7b-instruct", 81, false),
        ] {
            let frames_of = vec!["https://a.example/b.png"; count];
            let body = json!({"model": model, "input": {"messages": [
                {"role": "user", "content": [{"video": frames_of}]}]}});
            let judged = frames(&GenerationRequest::read(&body, false).unwrap());
            assert_eq!(judged.is_ok(), good, "{model} {count}");
        }
    }
}
