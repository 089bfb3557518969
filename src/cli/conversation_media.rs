//! The media of stored turns, as files.

use std::path::Path;

use crate::grpc::pb;
use crate::grpc::pb::content::Kind;

use super::error::Failure;

/// Writes the media of turns to files, named by turn and number.
pub(super) async fn save_media(folder: &Path, turns: &[pb::Turn]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::usage(format!("cannot write to {}: {error}", folder.display()))
    };
    tokio::fs::create_dir_all(folder).await.map_err(failed)?;
    for turn in turns {
        let messages = turn.messages.iter().chain(&turn.answer);
        let media = messages
            .flat_map(|message| &message.content)
            .flat_map(media);
        for (number, (mime_type, data)) in (1..).zip(media) {
            let file = format!("{}-{number}.{}", turn.number, extension(mime_type));
            tokio::fs::write(folder.join(file), data)
                .await
                .map_err(failed)?;
        }
    }
    Ok(())
}

/// The media of a part that were sent as bytes.
fn media(part: &pb::Content) -> Vec<(&str, &[u8])> {
    use pb::{audio, video};
    match &part.kind {
        Some(Kind::Audio(audio)) => match &audio.source {
            Some(audio::Source::Data(data)) => vec![(&audio.mime_type, data)],
            Some(audio::Source::Uri(_)) | None => Vec::new(),
        },
        Some(Kind::Image(image)) => of_image(image).into_iter().collect(),
        Some(Kind::Video(video)) => match &video.source {
            Some(video::Source::Data(data)) => vec![(&video.mime_type, data)],
            Some(video::Source::Frames(frames)) => {
                frames.frames.iter().filter_map(of_image).collect()
            }
            Some(video::Source::Uri(_)) | None => Vec::new(),
        },
        Some(Kind::Text(_)) | None => Vec::new(),
    }
}

fn of_image(image: &pb::Image) -> Option<(&str, &[u8])> {
    match &image.source {
        Some(pb::image::Source::Data(data)) => Some((&image.mime_type, data)),
        Some(pb::image::Source::Uri(_)) | None => None,
    }
}

/// A file name extension: the subtype, if it is a plain word.
fn extension(mime_type: &str) -> &str {
    let subtype = mime_type.split_once('/').map_or("", |(_, subtype)| subtype);
    match !subtype.is_empty() && subtype.bytes().all(|b| b.is_ascii_alphanumeric()) {
        true => subtype,
        false => "bin",
    }
}
