//! FLAC's stream information.

use super::bytes::{array, be32, real};

/// Where rate, channels, sample size and number of samples are packed into eight bytes: behind the
/// block's header and the sizes of blocks and frames.
const PACKED: usize = 4 + 10;

/// From what follows `fLaC`: the first metadata block, which is always the stream information. A
/// stream whose encoder did not know the number of samples has 0 there.
pub(super) fn seconds(bytes: &[u8]) -> Option<f64> {
    let samples = u64::from_be_bytes(array(bytes, PACKED)?) & 0xf_ffff_ffff;
    (samples > 0).then_some(real(samples) / f64::from(rate(bytes)?))
}

/// The sample rate.
pub(super) fn rate(bytes: &[u8]) -> Option<u32> {
    Some(be32(bytes, PACKED)? >> 12).filter(|rate| *rate > 0)
}
