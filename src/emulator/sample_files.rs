//! Audio files that the emulator serves under `/samples/` and resolves itself, so that a first
//! example works without network access.

use std::sync::LazyLock;

use bytes::Bytes;

const SENTENCE_EN: &[u8] = include_bytes!("../../examples/sentence-en.wav");
const SENTENCE_ZH: &[u8] = include_bytes!("../../examples/sentence-zh.wav");
const TONE: &[u8] = include_bytes!("../../examples/tone.wav");

/// Host and path of the audio in DashScope's quick starts, which a sample of the same name
/// replaces.
const DOCUMENTED: (&str, &str) = ("dashscope.oss-cn-beijing.aliyuncs.com", "/audios/");

/// The sentence in two channels, like the file of the quick start.
static TWO_CHANNELS: LazyLock<Bytes> = LazyLock::new(|| doubled(SENTENCE_ZH));

/// The sample at this path.
pub(super) fn sample(path: &str) -> Option<Bytes> {
    match path.strip_prefix("/samples/")? {
        "sentence-en.wav" => Some(Bytes::from_static(SENTENCE_EN)),
        "sentence-zh.wav" => Some(Bytes::from_static(SENTENCE_ZH)),
        "tone.wav" => Some(Bytes::from_static(TONE)),
        "2channel_16K.wav" => Some(TWO_CHANNELS.clone()),
        _ => None,
    }
}

/// The sample that replaces a file of a quick start.
pub(super) fn documented(url: &url::Url) -> Option<Bytes> {
    let (host, folder) = DOCUMENTED;
    if url.host_str() != Some(host) {
        return None;
    }
    match url.path().strip_prefix(folder)? {
        "2channel_16K.wav" => Some(TWO_CHANNELS.clone()),
        "welcome.mp3" => Some(Bytes::from_static(SENTENCE_ZH)),
        _ => None,
    }
}

/// Converts a WAV file of one channel, 16 bits and a 44-byte header to two channels.
fn doubled(file: &[u8]) -> Bytes {
    let (head, data) = file.split_at_checked(44).unwrap_or((file, &[]));
    let mut two = head.to_vec();
    let mut set = |at: usize, bytes: &[u8]| {
        if let Some(place) = two.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    let number = |at: usize| {
        let bytes = head.get(at..at + 4).and_then(|four| four.try_into().ok());
        u32::from_le_bytes(bytes.unwrap_or_default())
    };
    let length = u32::try_from(data.len() * 2).unwrap_or(u32::MAX);
    set(4, &length.saturating_add(36).to_le_bytes());
    set(22, &2_u16.to_le_bytes());
    set(28, &number(28).saturating_mul(2).to_le_bytes());
    set(32, &4_u16.to_le_bytes());
    set(40, &length.to_le_bytes());
    for sample in data.chunks_exact(2) {
        two.extend(sample);
        two.extend(sample);
    }
    Bytes::from(two)
}

#[cfg(test)]
mod tests {
    use super::super::audio_decoder::decode;
    use super::super::decode_budget::Budget;
    use super::*;

    #[test]
    fn every_sample_is_decoded() {
        for (name, channels) in [
            ("sentence-en.wav", 1),
            ("sentence-zh.wav", 1),
            ("tone.wav", 1),
            ("2channel_16K.wav", 2),
        ] {
            let file = sample(&format!("/samples/{name}")).unwrap();
            let recording = decode(file, 30, &mut Budget::default()).unwrap();
            assert_eq!(
                (recording.rate, recording.channels),
                (16_000, channels),
                "{name}"
            );
            assert!(recording.seconds() > 1.0 && !recording.longer, "{name}");
        }
        assert!(sample("/samples/none.wav").is_none() && sample("/tone.wav").is_none());
    }
}
