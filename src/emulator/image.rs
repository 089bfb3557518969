//! Pictures: the size of those that come, and PNG files for those that are asked for.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::chat::sniffing::{self, Modality};

/// What can be told of a picture without decoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    /// For example `PNG`.
    pub(super) format: &'static str,
    /// In pixels.
    pub(super) width: usize,
    /// In pixels.
    pub(super) height: usize,
}

/// Looks at a picture. None if it is none.
pub(super) fn look(bytes: &[u8]) -> Option<Picture> {
    let size = imagesize::blob_size(bytes).ok()?;
    let found = sniffing::mime_type(bytes, "", Some(Modality::Image))?;
    let known = [
        ("image/png", "PNG"),
        ("image/jpeg", "JPEG"),
        ("image/gif", "GIF"),
        ("image/webp", "WebP"),
        ("image/bmp", "BMP"),
        ("image/tiff", "TIFF"),
        ("image/heic", "HEIC"),
        ("image/x-icon", "ICO"),
        ("image/avif", "AVIF"),
    ];
    let format = known.iter().find(|(mime, _)| *mime == found)?;
    Some(Picture {
        format: format.1,
        width: size.width,
        height: size.height,
    })
}

/// The tokens that a picture costs: one for each 28 by 28 pixels, within the default bounds of the
/// vision models.
pub(super) fn tokens(picture: Picture) -> u64 {
    let tiles = picture
        .width
        .div_ceil(28)
        .saturating_mul(picture.height.div_ceil(28));
    u64::try_from(tiles.clamp(4, 1280)).unwrap_or(1280) + 2
}

/// Makes a picture for a text: another text has other colours.
///
/// None if it cannot be written, which memory does not refuse.
pub(super) fn paint(text: &str, width: u32, height: u32) -> Option<Bytes> {
    let seed = crc(text.as_bytes()).to_be_bytes();
    let [red, green, blue, tilt] = seed;
    let mut pixels = ZlibEncoder::new(Vec::new(), Compression::fast());
    let mut row: Vec<u8> = Vec::new();
    for y in 0..height {
        row.clear();
        row.push(0);
        for x in 0..width {
            let shade = (x * 64 / width + y * u32::from(tilt) / height) / 32 * 8;
            let shade = u8::try_from(shade % 128).unwrap_or(0);
            row.extend([red, green, blue].map(|colour| colour.wrapping_add(shade)));
        }
        pixels.write_all(&row).ok()?;
    }
    let mut header = Vec::new();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    // Eight bits for each of three colours, no filter that differs, not interlaced.
    header.extend([8, 2, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, *b"IHDR", &header);
    chunk(&mut file, *b"IDAT", &pixels.finish().ok()?);
    chunk(&mut file, *b"IEND", &[]);
    Some(Bytes::from(file))
}

fn chunk(file: &mut Vec<u8>, name: [u8; 4], data: &[u8]) {
    let mut named = name.to_vec();
    named.extend(data);
    file.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    file.extend(&named);
    file.extend(crc(&named).to_be_bytes());
}

/// The CRC-32 that PNG, gzip and ZIP use: the fingerprint of every medium.
pub(super) fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_painted_picture_is_a_png_of_its_size() {
        let png = paint("a cat", 320, 200).unwrap();
        let expected = Picture {
            format: "PNG",
            width: 320,
            height: 200,
        };
        assert_eq!(look(&png), Some(expected));
        assert_ne!(paint("a dog", 320, 200).unwrap(), png);
        assert_eq!(tokens(expected), 12 * 8 + 2);
    }

    #[test]
    fn the_crc_is_the_common_one() {
        assert_eq!(crc(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        for bytes in [&b""[..], b"RIFF1234WAVE", b"\x89PNG\r\n\x1a\n"] {
            assert_eq!(look(bytes), None);
        }
    }
}
