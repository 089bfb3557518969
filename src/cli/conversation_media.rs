//! The media of stored turns, as files.

use std::io;
use std::path::Path;

use dashgate_client::v1 as pb;
use dashgate_client::v1::content::Kind;

use super::error::Failure;

/// Creates the folder, if it does not exist.
pub(super) async fn create(folder: &Path) -> Result<(), Failure> {
    let created = tokio::fs::create_dir_all(folder).await;
    created.map_err(|error| unwritten(folder, &error))
}

/// Writes the media of a turn to files, named by turn and number.
pub(super) async fn save(folder: &Path, turn: &pb::Turn) -> Result<(), Failure> {
    let messages = turn.messages.iter().chain(&turn.answer);
    let media = messages
        .flat_map(|message| &message.content)
        .flat_map(media);
    for (number, (mime_type, data)) in (1..).zip(media) {
        let file = format!("{}-{number}.{}", turn.number, extension(mime_type));
        let written = tokio::fs::write(folder.join(file), data).await;
        written.map_err(|error| unwritten(folder, &error))?;
    }
    Ok(())
}

fn unwritten(folder: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot write to {}: {error}", folder.display()))
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
