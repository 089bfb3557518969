//! The emulator's own words for what it was asked and given, in Chinese or in English.

use super::audio_analysis::{Heard, LISTED_SEGMENTS, Nature};
use super::audio_decoder::Sound;
use super::image::crc;
use super::media::{Medium, Print};
use super::request::{Ask, Sense};
use super::video::Film;
use Language::{Chinese, English};

/// The language of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// Chinese.
    Chinese,
    /// English, for every other language too.
    English,
}

/// The language of a question: Chinese if there is one Chinese character in it.
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

/// The whole answer to a question about media, or without any.
pub(super) fn answer(ask: &Ask, media: &[Medium]) -> String {
    let question = ask.question();
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
            describe(medium, ask.family.hears_seconds, language)
        ));
    }
    if !question.is_empty() {
        lines.push(match language {
            Chinese => format!("你说的是：“{question}”"),
            English => format!("You said: \"{question}\""),
        });
    }
    lines.extend(context(ask, language));
    lines.join("\n")
}

/// Earlier turns are told by their number and a fingerprint, so that a lost one is seen.
fn context(ask: &Ask, language: Language) -> Option<String> {
    let (_, earlier) = ask.turns.split_last()?;
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

fn describe(medium: &Medium, hears_seconds: u32, language: Language) -> String {
    match medium {
        Medium::Audio(sound, heard, print) => audio(sound, heard, *print, hears_seconds, language),
        Medium::Image(picture, print) => {
            let (format, width, height) = (picture.format, picture.width, picture.height);
            let print = fingerprint(*print, language);
            match language {
                Chinese => format!("图像：{format}，{width}×{height} 像素，{print}。"),
                English => format!("Image: {format}, {width} x {height} pixels, {print}."),
            }
        }
        Medium::Video(film, print) => video(film.as_ref(), *print, language),
        Medium::Frames(frames) => {
            let list: Vec<_> = frames
                .iter()
                .map(|frame| describe(frame, hears_seconds, language))
                .collect();
            let (count, list) = (frames.len(), list.join(" "));
            match language {
                Chinese => format!("视频：{count} 帧。{list}"),
                English => format!("Video: {count} frames. {list}"),
            }
        }
        Medium::Elsewhere(sense, address) => elsewhere(*sense, address, language),
    }
}

fn video(film: Option<&Film>, print: Print, language: Language) -> String {
    let print = fingerprint(print, language);
    match (film, language) {
        (Some(Film { container, frames }), Chinese) => {
            format!("视频：{container}，{frames} 帧，{print}。")
        }
        (Some(Film { container, frames }), English) => {
            format!("Video: {container}, {frames} frames, {print}.")
        }
        (None, Chinese) => format!("视频：{print}。"),
        (None, English) => format!("Video: {print}."),
    }
}

fn elsewhere(sense: Sense, address: &str, language: Language) -> String {
    let (chinese, english) = match sense {
        Sense::Audio => ("音频", "audio"),
        Sense::Image => ("图像", "image"),
        Sense::Video => ("视频", "video"),
    };
    match language {
        Chinese => format!("模拟器不访问网络，没有下载这个{chinese}：{address}"),
        English => {
            format!("The emulator uses no network, so it did not fetch the {english} at {address}")
        }
    }
}

fn fingerprint(print: Print, language: Language) -> String {
    let Print { bytes, crc } = print;
    match language {
        Chinese => format!("{bytes} 字节，CRC32 {crc:08x}"),
        English => format!("{bytes} bytes, CRC32 {crc:08x}"),
    }
}

fn audio(
    sound: &Sound,
    heard: &Heard,
    print: Print,
    hears_seconds: u32,
    language: Language,
) -> String {
    let (seconds, rate, channels) = (sound.seconds(), sound.rate, sound.channels);
    let (container, codec) = (&sound.container, &sound.codec);
    let more = if sound.longer { "+" } else { "" };
    let print = fingerprint(print, language);
    let mut text = match language {
        Chinese => format!(
            "音频：{container}（{codec}），{seconds:.2}{more} 秒，{rate} Hz，{channels} 声道，{print}。"
        ),
        English => format!(
            "Audio: {container} ({codec}), {seconds:.2}{more} s, {rate} Hz, {}, {print}.",
            plural(channels, "channel")
        ),
    };
    if seconds > f64::from(hears_seconds) {
        text += &match language {
            Chinese => format!("该模型只处理前 {hears_seconds} 秒。"),
            English => format!(" This model processes the first {hears_seconds} s only."),
        };
    }
    text + &nature(heard, language)
}

fn plural(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

fn nature(heard: &Heard, language: Language) -> String {
    let (chinese, english) = match heard.nature {
        Nature::Silence => {
            return match language {
                Chinese => "其中只有静音。".to_owned(),
                English => " It is silent.".to_owned(),
            };
        }
        Nature::Tone => ("纯音", "a tone"),
        Nature::Speech => ("语音", "speech"),
        Nature::Music => ("音乐", "music"),
        Nature::Noise => ("噪声", "noise"),
    };
    let (loud, peak) = (heard.loudness_dbfs, heard.peak_dbfs);
    let segments = segments(&heard.segments, language);
    let pitch = match (heard.pitch_hz, language) {
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
    use crate::emulator::media::{Source, perceive};
    use crate::emulator::speech_synthesis::wav;

    fn ask(messages: Value) -> Ask {
        let body = json!({"model": "qwen-audio-turbo", "input": {"messages": messages}});
        Ask::read(&body, false).unwrap()
    }

    #[test]
    fn the_answer_speaks_the_language_of_the_question() {
        let chinese = answer(&ask(json!([{"role": "user", "content": "你好"}])), &[]);
        assert_eq!(chinese, "【内置的 DashScope 模拟器】\n你说的是：“你好”");
        let english = answer(&ask(json!([{"role": "user", "content": "hello"}])), &[]);
        assert_eq!(
            english,
            "[embedded DashScope emulator]\nYou said: \"hello\""
        );
    }

    #[test]
    fn every_byte_of_a_medium_and_of_earlier_turns_counts() {
        let question = ask(json!([{"role": "user", "content": "what is it?"}]));
        let tone: Vec<i16> = (0..16_000_u32)
            .map(|n| (8000.0 * (n as f32 * 0.172_787_6).sin()) as i16)
            .collect();
        let file = wav(16_000, &tone);
        let told = |bytes: bytes::Bytes| {
            answer(
                &question,
                &[perceive(
                    Source::Bytes(Sense::Audio, bytes),
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

        let turns = |first: &str| {
            let earlier = json!({"role": "system", "content": first});
            answer(
                &ask(json!([earlier, {"role": "user", "content": "x"}])),
                &[],
            )
        };
        assert_ne!(turns("a"), turns("b"));
        assert!(turns("a").contains("1 earlier message "));
    }

    #[test]
    fn a_long_audio_is_said_to_be_cut() {
        let question = ask(json!([{"role": "user", "content": "听"}]));
        let long = wav(1000, &[500; 31_000]);
        let medium = perceive(
            Source::Bytes(Sense::Audio, long),
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
