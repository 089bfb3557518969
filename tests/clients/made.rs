//! Media that would be too large to keep: made once, the same each time, below `target/`.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::place;

const SAMPLES_A_SECOND: u32 = 16_000;
/// No case needs more, and a slip of a digit must not fill a disk.
const LARGEST: usize = 256 * 1024 * 1024;

/// A file that stands in the place of a name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    /// A WAV file of noise, so many seconds long.
    wav_seconds: Option<u32>,
    /// So many bytes of noise,
    bytes: Option<usize>,
    /// with these first,
    #[serde(default)]
    hex: String,
    /// 16-bit PCM at 16 kHz: pieces of `tone`, which is heard as speech, and of `silence`, each
    /// with its milliseconds.
    pcm: Option<Vec<(Sound, u32)>>,
    /// A PNG picture of this width and height.
    png: Option<(u32, u32)>,
    /// in a file of this name.
    name: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Sound {
    Tone,
    Silence,
}

/// The same JSON, with a path in the place of each file: `file`, and all keys that end in `_file`,
/// `_bytes_of` or `_frames`.
pub(crate) fn with_files(value: &Value) -> Result<Value, String> {
    match value {
        Value::Object(fields) => {
            let mut replaced = Map::new();
            for (key, value) in fields {
                let endings = ["_file", "_bytes_of"];
                let one = key == "file" || endings.iter().any(|ending| key.ends_with(ending));
                let value = match value {
                    value if one => path(value)?,
                    Value::Array(files) if key == "video_frames" => {
                        files.iter().map(path).collect::<Result<_, _>>()?
                    }
                    value => with_files(value)?,
                };
                replaced.insert(key.clone(), value);
            }
            Ok(Value::Object(replaced))
        }
        Value::Array(items) => items.iter().map(with_files).collect(),
        other => Ok(other.clone()),
    }
}

/// The same JSON, with base64 in the place of each `{"$bytes": N}`.
pub(crate) fn with_bytes(value: &Value) -> Value {
    match value {
        Value::Object(fields) => match fields.get("$bytes").and_then(Value::as_u64) {
            Some(count) => {
                let count = usize::try_from(count).unwrap_or(LARGEST).min(LARGEST);
                Value::String(STANDARD.encode(noise(count)))
            }
            None => fields
                .iter()
                .map(|(key, value)| (key.clone(), with_bytes(value)))
                .collect(),
        },
        Value::Array(items) => items.iter().map(with_bytes).collect(),
        other => other.clone(),
    }
}

/// So many bytes that are the same each time, and that no compression makes small.
pub(crate) fn noise(count: usize) -> Vec<u8> {
    // A linear congruence: cheap, and more than any checksum needs.
    let mut state: u64 = 0x2545_f491_4f6c_dd1d;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..count.min(LARGEST)).map(|_| next()).collect()
}

fn path(file: &Value) -> Result<Value, String> {
    let path = match file {
        Value::String(name) => place::example(name),
        recipe => make(recipe)?,
    };
    if !path.exists() {
        return Err(format!("there is no {}", path.display()));
    }
    Ok(Value::String(path.display().to_string()))
}

fn make(recipe: &Value) -> Result<PathBuf, String> {
    let key = recipe.to_string();
    let recipe: Recipe =
        serde_json::from_value(recipe.clone()).map_err(|error| format!("{key}: {error}"))?;
    let (ending, bytes) = if let Some(seconds) = recipe.wav_seconds {
        ("wav", wav(seconds))
    } else if let Some(sounds) = recipe.pcm {
        ("pcm", pcm(&sounds))
    } else if let Some((width, height)) = recipe.png {
        (
            "png",
            png(width, height).map_err(|error| error.to_string())?,
        )
    } else if let Some(count) = recipe.bytes {
        let mut bytes = bytes_of_hex(&recipe.hex)?;
        let rest = count.saturating_sub(bytes.len());
        bytes.extend(noise(rest));
        ("bin", bytes)
    } else {
        return Err(format!("{key} makes nothing"));
    };
    let mut crc = Crc::new();
    crc.update(key.as_bytes());
    let folder = place::made().join(format!("media-{:08x}", crc.sum()));
    let path = folder.join(recipe.name.unwrap_or_else(|| format!("made.{ending}")));
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    if fs::metadata(&path).is_ok_and(|there| there.len() == bytes.len() as u64) {
        return Ok(path);
    }
    fs::create_dir_all(&folder).map_err(told)?;
    // Under another name first: a test that runs beside this one sees all of it or nothing.
    let part = folder.join(format!("part-{:?}", std::thread::current().id()));
    fs::write(&part, bytes).map_err(told)?;
    fs::rename(&part, &path).map_err(told)?;
    Ok(path)
}

/// The bytes that a text in hexadecimal digits says.
pub(crate) fn bytes_of_hex(hex: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    if digits.len() != hex.len() || !digits.len().is_multiple_of(2) {
        return Err(format!("{hex:?} is not in hexadecimal pairs"));
    }
    let pair = |pair: &[u32]| pair.iter().fold(0, |byte, digit| byte * 16 + digit) as u8;
    Ok(digits.chunks(2).map(pair).collect())
}

fn wav(seconds: u32) -> Vec<u8> {
    let size = seconds.saturating_mul(SAMPLES_A_SECOND * 2);
    let mut bytes = Vec::with_capacity(size as usize + 44);
    bytes.extend(b"RIFF");
    bytes.extend((size + 36).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(SAMPLES_A_SECOND.to_le_bytes());
    bytes.extend((SAMPLES_A_SECOND * 2).to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend(size.to_le_bytes());
    bytes.extend(noise(size as usize));
    bytes
}

fn pcm(sounds: &[(Sound, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (sound, ms) in sounds {
        let samples = ms.saturating_mul(SAMPLES_A_SECOND / 1000);
        // 440 Hz at a quarter of the loudest.
        let step = 440.0 * std::f64::consts::TAU / f64::from(SAMPLES_A_SECOND);
        let sample = |at: u32| match sound {
            Sound::Tone => (8000.0 * (f64::from(at) * step).sin()) as i16,
            Sound::Silence => 0,
        };
        bytes.extend((0..samples).flat_map(|at| sample(at).to_le_bytes()));
    }
    bytes
}

fn png(width: u32, height: u32) -> std::io::Result<Vec<u8>> {
    let mut header = Vec::new();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    // Eight bits of grey, no tricks.
    header.extend([8, 0, 0, 0, 0]);
    let mut pixels = ZlibEncoder::new(Vec::new(), Compression::default());
    let line = vec![0; width as usize + 1];
    for _ in 0..height {
        pixels.write_all(&line)?;
    }
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut bytes, b"IHDR", &header);
    chunk(&mut bytes, b"IDAT", &pixels.finish()?);
    chunk(&mut bytes, b"IEND", &[]);
    Ok(bytes)
}

fn chunk(bytes: &mut Vec<u8>, kind: &[u8; 4], content: &[u8]) {
    let mut crc = Crc::new();
    crc.update(kind);
    crc.update(content);
    bytes.extend((content.len() as u32).to_be_bytes());
    bytes.extend(kind);
    bytes.extend(content);
    bytes.extend(crc.sum().to_be_bytes());
}
