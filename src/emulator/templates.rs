//! Texts of the emulator's answers about a request, in Chinese and English.

use super::audio_analysis::{AudioAnalysis, LISTED_SEGMENTS, SignalKind};
use super::audio_decoder::DecodedAudio;
use super::image::crc;
use super::media::{Fingerprint, Medium};
use super::request::{GenerationRequest, MediaKind};
use super::video::VideoInfo;
use Language::{Chinese, English};

/// The language of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// Chinese.
    Chinese,
    /// English, the default.
    English,
}

/// The language of a question: Chinese if it has at least one Chinese character.
pub(super) fn language(question: &str) -> Language {
    if question
        .chars()
        .any(|c| ('\u{3400}'..='\u{9fff}').contains(&c))
    {
        Language::Chinese
    } else {
        Language::English
    }
}

/// The whole text of an answer, with or without media.
pub(super) fn answer(request: &GenerationRequest, media: &[Medium]) -> String {
    let question = request.question();
    let language = language(&question);
    let mut lines = vec![match language {
        Chinese => "【内置的 DashScope 模拟器】".to_owned(),
        English => "[embedded DashScope emulator]".to_owned(),
    }];
    let many = media.len() > 1;
    for (index, medium) in media.iter().enumerate() {
        let number = if many {
            format!("{}. ", index + 1)
        } else {
            String::new()
        };
        lines.push(format!(
            "{number}{}",
            describe(medium, request.family.max_audio_seconds, language)
        ));
    }
    if !question.is_empty() {
        lines.push(match language {
            Chinese => format!("你说的是：“{question}”"),
            English => format!("You said: \"{question}\""),
        });
    }
    lines.extend(context(request, language));
    lines.join("\n")
}

/// Reports the number of earlier messages and a fingerprint, so that a lost one is noticed.
fn context(request: &GenerationRequest, language: Language) -> Option<String> {
    let (_, earlier) = request.messages.split_last()?;
    if earlier.is_empty() {
        return None;
    }
    let count = earlier.len();
    let crc = crc(format!("{earlier:?}").as_bytes());
    Some(match language {
        Chinese => format!("之前还有 {count} 条消息（CRC32 {crc:08x}）。"),
        English => format!("{} (CRC32 {crc:08x}).", plural(count, "earlier message")),
    })
}

fn describe(medium: &Medium, max_audio_seconds: u32, language: Language) -> String {
    match medium {
        Medium::Audio(recording, analysis, fingerprint) => audio(
            recording,
            analysis,
            *fingerprint,
            max_audio_seconds,
            language,
        ),
        Medium::Image(image, fingerprint) => {
            let (format, width, height) = (image.format, image.width, image.height);
            let fingerprint = fingerprint_text(*fingerprint, language);
            match language {
                Chinese => format!("图像：{format}，{width}×{height} 像素，{fingerprint}。"),
                English => format!("Image: {format}, {width} x {height} pixels, {fingerprint}."),
            }
        }
        Medium::Video(info, fingerprint) => video(info.as_ref(), *fingerprint, language),
        Medium::Frames(frames) => {
            let list: Vec<_> = frames
                .iter()
                .map(|frame| describe(frame, max_audio_seconds, language))
                .collect();
            let (count, list) = (frames.len(), list.join(" "));
            match language {
                Chinese => format!("视频：{count} 帧。{list}"),
                English => format!("Video: {count} frames. {list}"),
            }
        }
        Medium::Remote(media_kind, address) => remote(*media_kind, address, language),
    }
}

fn video(info: Option<&VideoInfo>, fingerprint: Fingerprint, language: Language) -> String {
    let fingerprint = fingerprint_text(fingerprint, language);
    match (info, language) {
        (Some(VideoInfo { container, frames }), Chinese) => {
            format!("视频：{container}，{frames} 帧，{fingerprint}。")
        }
        (Some(VideoInfo { container, frames }), English) => {
            format!("Video: {container}, {frames} frames, {fingerprint}.")
        }
        (None, Chinese) => format!("视频：{fingerprint}。"),
        (None, English) => format!("Video: {fingerprint}."),
    }
}

fn remote(media_kind: MediaKind, address: &str, language: Language) -> String {
    let (chinese, english) = match media_kind {
        MediaKind::Audio => ("音频", "audio"),
        MediaKind::Image => ("图像", "image"),
        MediaKind::Video => ("视频", "video"),
    };
    match language {
        Chinese => format!("模拟器不访问网络，没有下载这个{chinese}：{address}"),
        English => {
            format!("The emulator uses no network, so it did not fetch the {english} at {address}")
        }
    }
}

fn fingerprint_text(fingerprint: Fingerprint, language: Language) -> String {
    let Fingerprint { bytes, crc } = fingerprint;
    match language {
        Chinese => format!("{bytes} 字节，CRC32 {crc:08x}"),
        English => format!("{bytes} bytes, CRC32 {crc:08x}"),
    }
}

fn audio(
    recording: &DecodedAudio,
    analysis: &AudioAnalysis,
    fingerprint: Fingerprint,
    max_audio_seconds: u32,
    language: Language,
) -> String {
    let (seconds, rate, channels) = (recording.seconds(), recording.rate, recording.channels);
    let (container, codec) = (&recording.container, &recording.codec);
    let more = if recording.longer { "+" } else { "" };
    let fingerprint = fingerprint_text(fingerprint, language);
    let mut text = match language {
        Chinese => format!(
            "音频：{container}（{codec}），{seconds:.2}{more} 秒，{rate} Hz，{channels} 声道，{fingerprint}。"
        ),
        English => format!(
            "Audio: {container} ({codec}), {seconds:.2}{more} s, {rate} Hz, {}, {fingerprint}.",
            plural(channels, "channel")
        ),
    };
    if seconds > f64::from(max_audio_seconds) {
        text += &match language {
            Chinese => format!("该模型只处理前 {max_audio_seconds} 秒。"),
            English => format!(" This model processes the first {max_audio_seconds} s only."),
        };
    }
    text + &signal_kind(analysis, language)
}

fn plural(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

fn signal_kind(analysis: &AudioAnalysis, language: Language) -> String {
    let (chinese, english) = match analysis.signal_kind {
        SignalKind::Silence => {
            return match language {
                Chinese => "其中只有静音。".to_owned(),
                English => " It is silent.".to_owned(),
            };
        }
        SignalKind::Tone => ("纯音", "a tone"),
        SignalKind::Speech => ("语音", "speech"),
        SignalKind::Music => ("音乐", "music"),
        SignalKind::Noise => ("噪声", "noise"),
    };
    let (loud, peak) = (analysis.loudness_dbfs, analysis.peak_dbfs);
    let segments = segments(&analysis.segments, language);
    let pitch = match (analysis.pitch_hz, language) {
        (Some(hz), Chinese) => format!("主音高约 {hz:.0} Hz"),
        (Some(hz), English) => format!("the pitch is about {hz:.0} Hz"),
        (None, Chinese) => "没有明显的音高".to_owned(),
        (None, English) => "there is no clear pitch".to_owned(),
    };
    match language {
        Chinese => format!(
            "响度 {loud:.1} dBFS，峰值 {peak:.1} dBFS；有声段：{segments}；{pitch}；听起来最接近{chinese}。"
        ),
        English => format!(
            " Loudness {loud:.1} dBFS, peak {peak:.1} dBFS; sound in {segments}; {pitch}; it is \
             nearest to {english}."
        ),
    }
}

fn segments(segments: &[(f64, f64)], language: Language) -> String {
    let mut list: Vec<String> = segments
        .iter()
        .take(LISTED_SEGMENTS)
        .map(|(from, to)| format!("{from:.2}-{to:.2}"))
        .collect();
    if segments.len() > LISTED_SEGMENTS {
        list.push("...".to_owned());
    }
    let (count, list) = (segments.len(), list.join(", "));
    match language {
        Chinese => format!("{count} 段（{list} 秒）"),
        English => format!("{} ({list} s)", plural(count, "segment")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::emulator::decode_budget::Budget;
    use crate::emulator::media::{Source, analyse_media};
    use crate::emulator::speech_synthesis::wav;

    fn request(messages: Value) -> GenerationRequest {
        let body = json!({"model": "qwen-audio-turbo", "input": {"messages": messages}});
        GenerationRequest::read(&body, false).unwrap()
    }

    #[test]
    fn the_answer_is_in_the_language_of_the_question() {
        let chinese = answer(&request(json!([{"role": "user", "content": "你好"}])), &[]);
        assert_eq!(chinese, "【内置的 DashScope 模拟器】\n你说的是：“你好”");
        let english = answer(&request(json!([{"role": "user", "content": "hello"}])), &[]);
        assert_eq!(
            english,
            "[embedded DashScope emulator]\nYou said: \"hello\""
        );
    }

    #[test]
    fn every_byte_of_media_and_earlier_messages_changes_the_answer() {
        let question = request(json!([{"role": "user", "content": "what is it?"}]));
        let tone: Vec<i16> = (0..16_000_u32)
            .map(|n| (8000.0 * (n as f32 * 0.172_787_6).sin()) as i16)
            .collect();
        let file = wav(16_000, &tone);
        let told = |bytes: bytes::Bytes| {
            answer(
                &question,
                &[analyse_media(
                    Source::Bytes(MediaKind::Audio, bytes),
                    30,
                    &mut Budget::default(),
                )
                .unwrap()],
            )
        };
        let whole = told(file.clone());
        for words in [
            "Audio: wave (pcm_s16le), 1.00 s, 16000 Hz, 1 channel, 32044 bytes, CRC32",
            "Loudness -15.3 dBFS, peak -12.2 dBFS; sound in 1 segment (0.00-1.00 s);",
            "the pitch is about 440 Hz; it is nearest to a tone.",
        ] {
            assert!(whole.contains(words), "{words} is not in {whole}");
        }
        for at in [100, 20_000, 32_043] {
            let mut bytes = file.to_vec();
            bytes[at] ^= 1;
            assert_ne!(told(bytes.into()), whole);
        }
        assert_ne!(told(file.slice(..32_043)), whole);

        let messages = |first: &str| {
            let earlier = json!({"role": "system", "content": first});
            answer(
                &request(json!([earlier, {"role": "user", "content": "x"}])),
                &[],
            )
        };
        assert_ne!(messages("a"), messages("b"));
        assert!(messages("a").contains("1 earlier message "));
    }

    #[test]
    fn a_long_recording_is_reported_as_cut() {
        let question = request(json!([{"role": "user", "content": "听"}]));
        let long = wav(1000, &[500; 31_000]);
        let medium = analyse_media(
            Source::Bytes(MediaKind::Audio, long),
            30,
            &mut Budget::default(),
        )
        .unwrap();
        let told = answer(&question, &[medium]);
        assert!(
            told.contains("31.00 秒") && told.contains("只处理前 30 秒"),
            "{told}"
        );
    }
}
