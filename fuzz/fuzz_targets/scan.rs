//! Any bytes as a message that arrives in pieces: the scan ends in the same way wherever they are
//! cut, and what prost decodes is accepted.
#![no_main]

use std::sync::{Arc, LazyLock};

use dashgate::grpc::count_limits::Schema;
use dashgate::grpc::pb::{ConverseLiveRequest, ConverseRequest, UploadMediaRequest};
use dashgate::grpc::scan::Scan;
use libfuzzer_sys::fuzz_target;
use prost::Message;

static SCHEMA: LazyLock<Arc<Schema>> =
    LazyLock::new(|| Arc::new(Schema::new().expect("the schema is valid")));

fuzz_target!(|bytes: &[u8]| {
    check::<ConverseRequest>("dashgate.v1.ConverseRequest", bytes);
    check::<ConverseLiveRequest>("dashgate.v1.ConverseLiveRequest", bytes);
    check::<UploadMediaRequest>("dashgate.v1.UploadMediaRequest", bytes);
});

fn check<M: Message + Default>(name: &str, bytes: &[u8]) {
    let whole = scanned(name, bytes.chunks(usize::MAX));
    // One of the sizes is taken from the input itself, so that inputs stay readable.
    for size in [1, bytes.last().map_or(2, |byte| usize::from(*byte) + 1)] {
        assert_eq!(scanned(name, bytes.chunks(size)), whole);
    }
    if M::decode(bytes).is_ok() {
        assert!(whole.is_ok(), "{whole:?}");
    }
}

/// The weight of a message, or its error.
fn scanned<'a>(name: &str, pieces: impl Iterator<Item = &'a [u8]>) -> Result<usize, String> {
    let message = SCHEMA.find(name).expect("the schema has it");
    let mut scan = Scan::new(Arc::clone(&SCHEMA), message, usize::MAX);
    for piece in pieces {
        scan.feed(piece)
            .map_err(|error| error.message().to_owned())?;
    }
    let ended = scan.finish();
    ended.map_err(|error| error.message().to_owned())?;
    Ok(scan.weight())
}
