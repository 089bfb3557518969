//! From the addresses in a request to the bytes behind them.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use crate::chat::sniffing::{self, Modality};

use super::audio_analysis::{Heard, listen};
use super::audio_decoder::{Sound, decode};
use super::decode_budget::Budget;
use super::error::{DATA_URI_BYTES, Fault};
use super::image::{Picture, crc, look};
use super::object_store::Store;
use super::policy::mark;
use super::request::{Ask, Part, Sense};
use super::sample_files;
use super::video::{Film, watch};

/// Larger files are not decoded: the models take far less.
const DECODED_BYTES: usize = 256 * 1024 * 1024;

/// What DashScope says of files that it does not decode for their size.
const TOO_LARGE: &str = "Multimodal file size is too large";

/// Base64 as the service takes it: with its padding or without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One medium of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Medium {
    /// It was heard.
    Audio(Box<Sound>, Heard, Print),
    /// It was looked at.
    Image(Picture, Print),
    /// Its frames were counted, if its container is known.
    Video(Option<Film>, Print),
    /// A film that came as single pictures.
    Frames(Vec<Medium>),
    /// It lies elsewhere, and the emulator has no network. The address has no query.
    Elsewhere(Sense, String),
}

/// The fingerprint of a file: any other byte changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Print {
    /// Its length in bytes.
    pub(super) bytes: usize,
    /// Its CRC-32.
    pub(super) crc: u32,
}

/// A medium whose bytes are at hand, or whose address is all there is.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Its bytes.
    Bytes(Sense, Bytes),
    /// Several pictures of a film.
    Frames(Vec<Source>),
    /// Its address.
    Elsewhere(Sense, String),
}

/// Where the emulator finds media by itself.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// Whether `oss://` addresses may be used.
    pub(super) resolve: bool,
    /// What was uploaded and made.
    pub(super) store: &'a Store,
    /// Where the emulator is reached, as in `http://127.0.0.1:8089`.
    pub(super) origin: &'a str,
}

/// The bytes behind an address of the emulator itself: a sample, or a result of an earlier call.
fn own(url: &url::Url, place: Place<'_>) -> Result<Option<Bytes>, Fault> {
    if let Some(bytes) = sample_files::documented(url) {
        return Ok(Some(bytes));
    }
    let origin = url::Url::parse(place.origin).ok();
    if origin.is_none_or(|origin| origin.origin() != url.origin()) {
        return Ok(None);
    }
    let path = url.path();
    let made = path.strip_prefix("/emulator/files/");
    let made = made.and_then(|name| place.store.find(name));
    let made = made.filter(|object| object.mark.is_empty());
    let bytes = sample_files::sample(path).or(made.map(|object| object.bytes));
    match bytes {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(Fault::algorithm("Failed to download multimodal content")),
    }
}

/// Finds the media of a turn.
///
/// # Errors
///
/// DashScope's words for an address that leads nowhere.
pub(super) fn find(parts: &[Part], ask: &Ask, place: Place<'_>) -> Result<Vec<Source>, Fault> {
    let mut sources = Vec::new();
    for part in parts {
        let source = |sense, address: &String| source(sense, address, ask, place);
        match part {
            Part::Text(_) => {}
            Part::Medium(sense, address) => sources.push(source(*sense, address)?),
            Part::Frames(addresses) => {
                let frames = addresses.iter().map(|frame| source(Sense::Image, frame));
                sources.push(Source::Frames(frames.collect::<Result<_, _>>()?));
            }
        }
    }
    Ok(sources)
}

fn source(sense: Sense, address: &str, ask: &Ask, place: Place<'_>) -> Result<Source, Fault> {
    if let Some(data) = address.strip_prefix("data:") {
        if address.len() > DATA_URI_BYTES {
            return Err(Fault::algorithm(
                "Exceeded limit on max bytes per data-uri item : 10485760'.",
            ));
        }
        return inline(data).map(|bytes| Source::Bytes(sense, bytes));
    }
    if let Some(key) = address.strip_prefix("oss://") {
        if !place.resolve {
            return Err(Fault::url());
        }
        let object = place
            .store
            .find(key)
            .filter(|object| object.mark == mark(&ask.model));
        return match object {
            Some(object) => Ok(Source::Bytes(sense, object.bytes)),
            None => Err(Fault::algorithm(
                "Don't have authorization to access the media resource! The object is gone, or \
                 it was uploaded for another model.",
            )),
        };
    }
    let url = url::Url::parse(address).map_err(|_| Fault::url())?;
    let host = url.host_str().unwrap_or_default();
    if !["http", "https"].contains(&url.scheme()) || host.is_empty() {
        return Err(Fault::url());
    }
    if let Some(bytes) = own(&url, place)? {
        return Ok(Source::Bytes(sense, bytes));
    }
    // RFC 2606 keeps this name free of hosts, so nobody can have meant a real one.
    if host.ends_with(".invalid") {
        return Err(Fault::algorithm("Failed to download multimodal content"));
    }
    Ok(Source::Elsewhere(sense, plain(url)))
}

/// An address without what may be a secret: user, password, query.
fn plain(mut url: url::Url) -> String {
    url.set_query(None);
    url.set_fragment(None);
    // Both fail for addresses without a host alone, and those were refused.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.into()
}

fn inline(data: &str) -> Result<Bytes, Fault> {
    let (head, body) = data.split_once(',').ok_or_else(Fault::url)?;
    if !head.to_ascii_lowercase().ends_with(";base64") {
        return Err(Fault::url());
    }
    let bytes = match LENIENT.decode(body.trim()) {
        Ok(bytes) => bytes,
        // Encoders for mail break the lines.
        Err(_) => {
            let body: Vec<u8> = body.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
            LENIENT.decode(body).map_err(|_| Fault::url())?
        }
    };
    Ok(Bytes::from(bytes))
}

/// Hears and sees a medium. Blocks: call it on a thread for that.
///
/// # Errors
///
/// DashScope's words for a medium that cannot be decoded.
pub(super) fn perceive(
    source: Source,
    hears_seconds: u32,
    budget: &mut Budget,
) -> Result<Medium, Fault> {
    match source {
        Source::Elsewhere(sense, address) => Ok(Medium::Elsewhere(sense, address)),
        Source::Frames(frames) => {
            let frames = frames
                .into_iter()
                .map(|frame| perceive(frame, hears_seconds, budget));
            Ok(Medium::Frames(frames.collect::<Result<_, _>>()?))
        }
        Source::Bytes(sense, bytes) => {
            let print = Print {
                bytes: bytes.len(),
                crc: crc(&bytes),
            };
            see_or_hear(sense, bytes, print, hears_seconds, budget)
        }
    }
}

fn see_or_hear(
    sense: Sense,
    bytes: Bytes,
    print: Print,
    hears_seconds: u32,
    budget: &mut Budget,
) -> Result<Medium, Fault> {
    if bytes.len() > DECODED_BYTES {
        return Err(Fault::algorithm(TOO_LARGE));
    }
    match sense {
        Sense::Audio if bytes.is_empty() => Err(Fault::algorithm("The audio is empty")),
        Sense::Audio => {
            let sound = match decode(bytes, hears_seconds, budget) {
                Some(sound) => sound,
                // The files before it have used up what one request may cost.
                None if budget.is_spent() => return Err(Fault::algorithm(TOO_LARGE)),
                None => return Err(Fault::format()),
            };
            let heard = listen(&sound);
            // The samples have told what they can; a request may hold many files.
            let sound = Sound {
                samples: Vec::new(),
                ..sound
            };
            Ok(Medium::Audio(Box::new(sound), heard, print))
        }
        Sense::Image => match look(&bytes) {
            Some(picture) => Ok(Medium::Image(picture, print)),
            None => Err(Fault::algorithm(
                "The image format is illegal and cannot be opened",
            )),
        },
        Sense::Video => match sniffing::mime_type(&bytes, "", Some(Modality::Video)) {
            Some(found) if found.starts_with("video/") => {
                Ok(Medium::Video(watch(bytes, budget), print))
            }
            _ => Err(Fault::algorithm("The video file cannot be opened")),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::emulator::image::paint;
    use crate::emulator::speech_synthesis::wav;

    fn found(address: &str, resolve: bool, store: &Store) -> Result<Vec<Source>, Fault> {
        let body = json!({"model": "qwen-audio-turbo", "input": {"messages": [
            {"role": "user", "content": [{"audio": address}]}]}});
        let ask = Ask::read(&body, false).unwrap();
        let origin = "http://127.0.0.1:8089";
        let place = Place {
            resolve,
            store,
            origin,
        };
        find(&ask.turns[0].parts, &ask, place)
    }

    #[test]
    fn addresses_are_judged() {
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
            let fault = found(address, true, &store).unwrap_err();
            assert_eq!(fault.code, "InvalidParameter");
            assert!(
                fault.message.contains(words),
                "{address}: {}",
                fault.message
            );
        }
        let long = format!("data:audio/wav;base64,{}", "A".repeat(DATA_URI_BYTES));
        let fault = found(&long, true, &store).unwrap_err();
        assert!(
            fault
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
        let [Source::Elsewhere(Sense::Audio, address)] = &there.unwrap()[..] else {
            panic!("it should lie elsewhere");
        };
        assert_eq!(address, "https://a.example/b.wav");
    }

    #[tokio::test(start_paused = true)]
    async fn the_emulators_own_addresses_are_fetched() {
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
            let [Source::Bytes(Sense::Audio, found)] = &sources[..] else {
                panic!("{address} was not fetched");
            };
            assert_eq!(found.len(), bytes, "{address}");
        }
        let fault = found("http://127.0.0.1:8089/samples/none.wav", false, &store).unwrap_err();
        assert!(fault.message.contains("Failed to download"));
        for address in [
            "http://127.0.0.1:8090/samples/tone.wav",
            "https://a.example/tone.wav",
        ] {
            let sources = found(address, false, &store).unwrap();
            assert!(matches!(&sources[..], [Source::Elsewhere(..)]), "{address}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stored_objects_need_the_header_and_the_model() {
        let store = Store::new(100);
        for model in ["qwen-audio-turbo", "qwen-vl-plus"] {
            let mut arrival = store.arrive();
            arrival.push(b"abc").unwrap();
            let labels = crate::emulator::object_store::Labels {
                key: model.to_owned(),
                mark: mark(model),
                mime: String::new(),
                lifetime: std::time::Duration::from_secs(9),
            };
            arrival.keep(labels, true).unwrap();
        }
        assert!(found("oss://qwen-audio-turbo", true, &store).is_ok());
        let fault = found("oss://qwen-audio-turbo", false, &store).unwrap_err();
        assert!(fault.message.contains("does not appear to be valid"));
        let fault = found("oss://qwen-vl-plus", true, &store).unwrap_err();
        assert!(fault.message.contains("Don't have authorization"));
    }

    #[test]
    fn media_are_perceived_by_their_sense() {
        let wav = wav(16_000, &[900; 16_000]);
        let heard = perceive(
            Source::Bytes(Sense::Audio, wav.clone()),
            30,
            &mut Budget::default(),
        )
        .unwrap();
        let Medium::Audio(sound, _, print) = heard else {
            panic!("it should be heard");
        };
        assert_eq!((sound.frames, print.bytes), (16_000, 32_044));
        let fault = perceive(
            Source::Bytes(Sense::Audio, Bytes::new()),
            30,
            &mut Budget::default(),
        )
        .unwrap_err();
        assert!(fault.message.contains("The audio is empty"));
        let fault = perceive(
            Source::Bytes(Sense::Image, wav.clone()),
            30,
            &mut Budget::default(),
        )
        .unwrap_err();
        assert!(fault.message.contains("image format is illegal"));
        let fault =
            perceive(Source::Bytes(Sense::Video, wav), 30, &mut Budget::default()).unwrap_err();
        assert!(fault.message.contains("cannot be opened"));
        let image = Source::Bytes(Sense::Image, paint("x", 8, 8).unwrap());
        let frames = perceive(
            Source::Frames(vec![image.clone(), image]),
            30,
            &mut Budget::default(),
        )
        .unwrap();
        assert!(matches!(frames, Medium::Frames(frames) if frames.len() == 2));
    }
}
