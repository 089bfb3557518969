//! The header of WAVE files that are written.

/// The size of the header in bytes.
pub(crate) const LENGTH: usize = 44;

/// The size for data whose length is not known yet, as streaming encoders write it.
pub(crate) const UNKNOWN: usize = u32::MAX as usize;

/// The header of this many bytes of samples: PCM of 16 bits in one channel.
pub(crate) fn bytes(rate: u32, data: usize) -> Vec<u8> {
    of_channels(rate, 1, data)
}

/// The header of this many bytes of samples: PCM of 16 bits in this many channels.
pub(crate) fn of_channels(rate: u32, channels: u16, data: usize) -> Vec<u8> {
    let block = channels.saturating_mul(2);
    let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    let mut header = Vec::with_capacity(LENGTH);
    header.extend(b"RIFF");
    header.extend(size(data.saturating_add(LENGTH - 8)));
    header.extend(b"WAVEfmt ");
    header.extend(size(16));
    header.extend([1, 0]);
    header.extend(channels.to_le_bytes());
    header.extend(rate.to_le_bytes());
    header.extend(rate.saturating_mul(u32::from(block)).to_le_bytes());
    header.extend(block.to_le_bytes());
    header.extend([16, 0]);
    header.extend(b"data");
    header.extend(size(data));
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_are_those_of_the_data_and_never_wrap() {
        let header = bytes(24_000, 100);
        assert_eq!(header.len(), LENGTH);
        assert_eq!(header[4..8], 136_u32.to_le_bytes());
        assert_eq!(header[28..32], 48_000_u32.to_le_bytes());
        assert_eq!(header[40..], 100_u32.to_le_bytes());
        let unknown = bytes(24_000, UNKNOWN);
        assert_eq!(
            (&unknown[4..8], &unknown[40..]),
            (&[255; 4][..], &[255; 4][..])
        );
    }
}
