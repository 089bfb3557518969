//! Resolves the media URLs of a request to bytes.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use crate::chat::sniffing::{self, Modality};

use super::audio_analysis::{AudioAnalysis, analyse_audio};
use super::audio_decoder::{DecodedAudio, decode};
use super::decode_budget::Budget;
use super::error::ApiError;
use super::image::{ImageInfo, crc, image_info};
use super::object_store::Store;
use super::policy::mark;
use super::request::{GenerationRequest, MediaKind, Part};
use super::sample_files;
use super::video::{VideoInfo, video_info};

/// Larger files are not decoded: the models' limits are far lower.
const DECODED_BYTES: usize = 256 * 1024 * 1024;

/// DashScope's message for files that are too large to decode.
const TOO_LARGE: &str = "Multimodal file size is too large";

/// Base64 as DashScope accepts it: padding is optional.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A medium of a request, analysed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Medium {
    /// Audio.
    Audio(Box<DecodedAudio>, AudioAnalysis, Fingerprint),
    /// An image.
    Image(ImageInfo, Fingerprint),
    /// A video; the frames are counted if the container is known.
    Video(Option<VideoInfo>, Fingerprint),
    /// A video given as images.
    Frames(Vec<Medium>),
    /// A remote medium, which is not fetched: the emulator has no network access. The URL has no
    /// query.
    Remote(MediaKind, String),
}

/// The fingerprint of a file, which changes with every byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// Length in bytes.
    pub(super) bytes: usize,
    /// CRC-32.
    pub(super) crc: u32,
}

/// A medium before the analysis.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Bytes that were resolved.
    Bytes(MediaKind, Bytes),
    /// The frames of a video given as images.
    Frames(Vec<Source>),
    /// The URL of a remote medium.
    Remote(MediaKind, String),
}

/// Where the emulator resolves media itself.
#[derive(Clone, Copy)]
pub(super) struct MediaLocations<'a> {
    /// Whether `oss://` URLs are allowed.
    pub(super) resolve: bool,
    /// The longest data URI.
    pub(super) data_uri_bytes: usize,
    /// Uploads and results.
    pub(super) store: &'a Store,
    /// Base URL of the emulator, as in `http://127.0.0.1:8089`.
    pub(super) origin: &'a str,
}

/// The bytes behind a URL of the emulator itself: a sample, or the result of an earlier call.
fn own_bytes(url: &url::Url, locations: MediaLocations<'_>) -> Result<Option<Bytes>, ApiError> {
    if let Some(bytes) = sample_files::documented(url) {
        return Ok(Some(bytes));
    }
    let origin = url::Url::parse(locations.origin).ok();
    if origin.is_none_or(|origin| origin.origin() != url.origin()) {
        return Ok(None);
    }
    let path = url.path();
    let made = path.strip_prefix("/emulator/files/");
    let made = made.and_then(|name| locations.store.find(name));
    let made = made.filter(|object| object.mark.is_empty());
    let bytes = sample_files::sample(path).or(made.map(|object| object.bytes));
    match bytes {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(ApiError::algorithm("Failed to download multimodal content")),
    }
}

/// Resolves the media of a message.
///
/// # Errors
///
/// DashScope's error for a URL that cannot be resolved.
pub(super) fn find(
    parts: &[Part],
    request: &GenerationRequest,
    locations: MediaLocations<'_>,
) -> Result<Vec<Source>, ApiError> {
    let mut sources = Vec::new();
    for part in parts {
        let source = |media_kind, address: &String| source(media_kind, address, request, locations);
        match part {
            Part::Text(_) => {}
            Part::Medium(media_kind, address) => sources.push(source(*media_kind, address)?),
            Part::Frames(addresses) => {
                let frames = addresses
                    .iter()
                    .map(|frame| source(MediaKind::Image, frame));
                sources.push(Source::Frames(frames.collect::<Result<_, _>>()?));
            }
        }
    }
    Ok(sources)
}

fn source(
    media_kind: MediaKind,
    address: &str,
    request: &GenerationRequest,
    locations: MediaLocations<'_>,
) -> Result<Source, ApiError> {
    if let Some(data) = address.strip_prefix("data:") {
        if address.len() > locations.data_uri_bytes {
            return Err(ApiError::algorithm(
                "Exceeded limit on max bytes per data-uri item : 10485760'.",
            ));
        }
        return inline(data).map(|bytes| Source::Bytes(media_kind, bytes));
    }
    if let Some(key) = address.strip_prefix("oss://") {
        if !locations.resolve {
            return Err(ApiError::url());
        }
        let object = locations
            .store
            .find(key)
            .filter(|object| object.mark == mark(&request.model));
        return match object {
            Some(object) => Ok(Source::Bytes(media_kind, object.bytes)),
            None => Err(ApiError::algorithm(
                "Don't have authorization to access the media resource! The object is gone, or \
                 it was uploaded for another model.",
            )),
        };
    }
    let url = url::Url::parse(address).map_err(|_| ApiError::url())?;
    let host = url.host_str().unwrap_or_default();
    if !["http", "https"].contains(&url.scheme()) || host.is_empty() {
        return Err(ApiError::url());
    }
    if let Some(bytes) = own_bytes(&url, locations)? {
        return Ok(Source::Bytes(media_kind, bytes));
    }
    // RFC 2606 reserves this name: it has no hosts, so the URL cannot be valid.
    if host.ends_with(".invalid") {
        return Err(ApiError::algorithm("Failed to download multimodal content"));
    }
    Ok(Source::Remote(media_kind, without_secrets(url)))
}

/// The URL without what may be a secret: user, password, query.
fn without_secrets(mut url: url::Url) -> String {
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for URLs without a host, which were refused.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.into()
}

fn inline(data: &str) -> Result<Bytes, ApiError> {
    let (head, body) = data.split_once(',').ok_or_else(ApiError::url)?;
    if !head.to_ascii_lowercase().ends_with(";base64") {
        return Err(ApiError::url());
    }
    let bytes = match LENIENT.decode(body.trim()) {
        Ok(bytes) => bytes,
        // MIME encoders break the lines.
        Err(_) => {
            let body: Vec<u8> = body.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
            LENIENT.decode(body).map_err(|_| ApiError::url())?
        }
    };
    Ok(Bytes::from(bytes))
}

/// Analyses the media. Blocks: call it on a blocking thread.
///
/// # Errors
///
/// DashScope's error for a medium that cannot be decoded.
pub(super) fn analyse_media(
    source: Source,
    max_audio_seconds: u32,
    budget: &mut Budget,
) -> Result<Medium, ApiError> {
    match source {
        Source::Remote(media_kind, address) => Ok(Medium::Remote(media_kind, address)),
        Source::Frames(frames) => {
            let frames = frames
                .into_iter()
                .map(|frame| analyse_media(frame, max_audio_seconds, budget));
            Ok(Medium::Frames(frames.collect::<Result<_, _>>()?))
        }
        Source::Bytes(media_kind, bytes) => {
            let fingerprint = Fingerprint {
                bytes: bytes.len(),
                crc: crc(&bytes),
            };
            analyse_bytes(media_kind, bytes, fingerprint, max_audio_seconds, budget)
        }
    }
}

fn analyse_bytes(
    media_kind: MediaKind,
    bytes: Bytes,
    fingerprint: Fingerprint,
    max_audio_seconds: u32,
    budget: &mut Budget,
) -> Result<Medium, ApiError> {
    if bytes.len() > DECODED_BYTES {
        return Err(ApiError::algorithm(TOO_LARGE));
    }
    match media_kind {
        MediaKind::Audio if bytes.is_empty() => Err(ApiError::algorithm("The audio is empty")),
        MediaKind::Audio => {
            let recording = match decode(bytes, max_audio_seconds, budget) {
                Some(recording) => recording,
                // The files before it have used up the budget of the request.
                None if budget.is_spent() => return Err(ApiError::algorithm(TOO_LARGE)),
                None => return Err(ApiError::format()),
            };
            let analysis = analyse_audio(&recording);
            // The samples are analysed; they are dropped because a request may have many files.
            let recording = DecodedAudio {
                samples: Vec::new(),
                ..recording
            };
            Ok(Medium::Audio(Box::new(recording), analysis, fingerprint))
        }
        MediaKind::Image => match image_info(&bytes) {
            Some(image) => Ok(Medium::Image(image, fingerprint)),
            None => Err(ApiError::algorithm(
                "The image format is illegal and cannot be opened",
            )),
        },
        MediaKind::Video => match sniffing::mime_type(&bytes, "", Some(Modality::Video)) {
            Some(found) if found.starts_with("video/") => {
                Ok(Medium::Video(video_info(bytes, budget), fingerprint))
            }
            _ => Err(ApiError::algorithm("The video file cannot be opened")),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::emulator::error::DATA_URI_BYTES;
    use crate::emulator::image::generate_png;
    use crate::emulator::speech_synthesis::wav;

    fn found(address: &str, resolve: bool, store: &Store) -> Result<Vec<Source>, ApiError> {
        let body = json!({"model": "qwen-audio-turbo", "input": {"messages": [
            {"role": "user", "content": [{"audio": address}]}]}});
        let request = GenerationRequest::read(&body, false).unwrap();
        let origin = "http://127.0.0.1:8089";
        let locations = MediaLocations {
            resolve,
            data_uri_bytes: DATA_URI_BYTES,
            store,
            origin,
        };
        find(&request.messages[0].parts, &request, locations)
    }

    #[test]
    fn media_urls_are_validated() {
        let store = Store::new(100);
        for (address, words) in [
            ("/music/a.wav", "does not appear to be valid"),
            ("file:///music/a.wav", "does not appear to be valid"),
            ("data:audio/wav,plain", "does not appear to be valid"),
            ("data:audio/wav;base64,*", "does not appear to be valid"),
            (
                "oss://nowhere",
                "Don't have authorization to access the media resource",
            ),
            (
                "https://media.invalid/a.wav",
                "Failed to download multimodal content",
            ),
        ] {
            let error = found(address, true, &store).unwrap_err();
            assert_eq!(error.code, "InvalidParameter");
            assert!(
                error.message.contains(words),
                "{address}: {}",
                error.message
            );
        }
        let long = format!("data:audio/wav;base64,{}", "A".repeat(DATA_URI_BYTES));
        let error = found(&long, true, &store).unwrap_err();
        assert!(
            error
                .message
                .contains("max bytes per data-uri item : 10485760")
        );
        for data in ["data:audio/wav;base64,AAE", "data:;BASE64,A\nAE=\n"] {
            assert!(found(data, true, &store).is_ok(), "{data}");
        }
        let there = found(
            "https://me:pass@a.example/b.wav?Signature=secret#x",
            true,
            &store,
        );
        let [Source::Remote(MediaKind::Audio, address)] = &there.unwrap()[..] else {
            panic!("it is not remote");
        };
        assert_eq!(address, "https://a.example/b.wav");
    }

    #[tokio::test(start_paused = true)]
    async fn the_emulators_own_urls_are_resolved() {
        let store = Store::new(100);
        let lifetime = std::time::Duration::from_secs(9);
        store
            .keep(
                "made.wav",
                Bytes::from_static(b"made"),
                "audio/wav",
                lifetime,
            )
            .unwrap();
        for (address, bytes) in [
            ("http://127.0.0.1:8089/samples/sentence-en.wav", 121_258),
            (
                "HTTP://127.0.0.1:8089/samples/2channel_16K.wav?x=1",
                273_176,
            ),
            ("http://127.0.0.1:8089/emulator/files/made.wav", 4),
            (
                "https://dashscope.oss-cn-beijing.aliyuncs.com/audios/2channel_16K.wav",
                273_176,
            ),
        ] {
            let sources = found(address, false, &store).unwrap();
            let [Source::Bytes(MediaKind::Audio, found)] = &sources[..] else {
                panic!("{address} was not fetched");
            };
            assert_eq!(found.len(), bytes, "{address}");
        }
        let error = found("http://127.0.0.1:8089/samples/none.wav", false, &store).unwrap_err();
        assert!(error.message.contains("Failed to download"));
        for address in [
            "http://127.0.0.1:8090/samples/tone.wav",
            "https://a.example/tone.wav",
        ] {
            let sources = found(address, false, &store).unwrap();
            assert!(matches!(&sources[..], [Source::Remote(..)]), "{address}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stored_objects_need_the_header_and_the_model() {
        let store = Store::new(100);
        for model in ["qwen-audio-turbo", "qwen-vl-plus"] {
            let mut pending_object = store.begin_upload();
            pending_object.push(b"abc").unwrap();
            let metadata = crate::emulator::object_store::ObjectMetadata {
                key: model.to_owned(),
                mark: mark(model),
                mime: String::new(),
                lifetime: std::time::Duration::from_secs(9),
            };
            pending_object.keep(metadata, true).unwrap();
        }
        assert!(found("oss://qwen-audio-turbo", true, &store).is_ok());
        let error = found("oss://qwen-audio-turbo", false, &store).unwrap_err();
        assert!(error.message.contains("does not appear to be valid"));
        let error = found("oss://qwen-vl-plus", true, &store).unwrap_err();
        assert!(error.message.contains("Don't have authorization"));
    }

    #[test]
    fn media_are_analysed_by_their_kind() {
        let wav = wav(16_000, &[900; 16_000]);
        let medium = analyse_media(
            Source::Bytes(MediaKind::Audio, wav.clone()),
            30,
            &mut Budget::default(),
        )
        .unwrap();
        let Medium::Audio(recording, _, fingerprint) = medium else {
            panic!("it is not audio");
        };
        assert_eq!((recording.frames, fingerprint.bytes), (16_000, 32_044));
        let error = analyse_media(
            Source::Bytes(MediaKind::Audio, Bytes::new()),
            30,
            &mut Budget::default(),
        )
        .unwrap_err();
        assert!(error.message.contains("The audio is empty"));
        let error = analyse_media(
            Source::Bytes(MediaKind::Image, wav.clone()),
            30,
            &mut Budget::default(),
        )
        .unwrap_err();
        assert!(error.message.contains("image format is illegal"));
        let error = analyse_media(
            Source::Bytes(MediaKind::Video, wav),
            30,
            &mut Budget::default(),
        )
        .unwrap_err();
        assert!(error.message.contains("cannot be opened"));
        let image = Source::Bytes(MediaKind::Image, generate_png("x", 8, 8).unwrap());
        let frames = analyse_media(
            Source::Frames(vec![image.clone(), image]),
            30,
            &mut Budget::default(),
        )
        .unwrap();
        assert!(matches!(frames, Medium::Frames(frames) if frames.len() == 2));
    }
}
