//! Reads the size of images, and generates PNG files.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::chat::sniffing::{self, Modality};

/// The properties of an image that are known without decoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ImageInfo {
    /// For example `PNG`.
    pub(super) format: &'static str,
    /// In pixels.
    pub(super) width: usize,
    /// In pixels.
    pub(super) height: usize,
}

/// Reads the properties of an image. `None` if the bytes are no image.
pub(super) fn image_info(bytes: &[u8]) -> Option<ImageInfo> {
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
    Some(ImageInfo {
        format: format.1,
        width: size.width,
        height: size.height,
    })
}

/// The tokens of an image: one for each 28 by 28 pixels, within the default bounds of the vision
/// models.
pub(super) fn tokens(image: ImageInfo) -> u64 {
    let tiles = image
        .width
        .div_ceil(28)
        .saturating_mul(image.height.div_ceil(28));
    u64::try_from(tiles.clamp(4, 1280)).unwrap_or(1280) + 2
}

/// Generates a PNG whose colours depend on the text.
///
/// Returns `None` if encoding fails, which does not happen in memory.
pub(super) fn generate_png(text: &str, width: u32, height: u32) -> Option<Bytes> {
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
    // Bit depth 8, RGB, deflate, no filter, not interlaced.
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

/// The CRC-32 of PNG, gzip and ZIP, used as the fingerprint of media.
pub(super) fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_image_is_a_png_of_the_requested_size() {
        let png = generate_png("a cat", 320, 200).unwrap();
        let expected = ImageInfo {
            format: "PNG",
            width: 320,
            height: 200,
        };
        assert_eq!(image_info(&png), Some(expected));
        assert_ne!(generate_png("a dog", 320, 200).unwrap(), png);
        assert_eq!(tokens(expected), 12 * 8 + 2);
    }

    #[test]
    fn the_crc_matches_the_check_value() {
        assert_eq!(crc(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn bytes_that_are_no_image_are_refused() {
        for bytes in [&b""[..], b"RIFF1234WAVE", b"\x89PNG\r\n\x1a\n"] {
            assert_eq!(image_info(bytes), None);
        }
    }
}
