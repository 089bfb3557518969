//! Fingerprints of requests: equal for equal requests, in every process of one version.

use std::hash::{Hash, Hasher};

use aws_lc_rs::digest::{Context, SHA256};

use crate::chat::call::Call;

/// The version of what is hashed. It must grow whenever a change of the data model changes the
/// fingerprint of a request, which a test below notices: replicas of two versions cannot compare
/// their fingerprints.
const VERSION: u8 = 1;

/// The fingerprint of a call. Not of its trace: each retry of a call has its own span.
pub(super) fn of(call: &Call) -> Vec<u8> {
    let mut hasher = Sha256Hasher(Context::new(&SHA256));
    let passing = (&call.passing.workspace, &call.passing.data_inspection);
    (&call.prompt, call.delivery, passing).hash(&mut hasher);
    let mut fingerprint = vec![VERSION];
    fingerprint.extend_from_slice(hasher.0.finish().as_ref());
    fingerprint
}

/// Whether two fingerprints are those of different requests. Unknown if another version made one.
pub(super) fn contradict(one: &[u8], other: &[u8]) -> bool {
    one.first() == other.first() && one != other
}

/// The derived `Hash` of a request, into SHA-256.
struct Sha256Hasher(Context);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}
