//! Any bytes as a form that is posted to the emulator's object store: it is stored or refused as
//! the store does it, and the emulator goes on.
//!
//! `%P`, `%S`, `%A` and `%D` stand for the policy, its signature, the access key and the folder that
//! the emulator gave: no mutation finds them.
#![no_main]

use std::cell::{LazyCell, RefCell};

use dashgate_fuzz::emulator::Emulator;
use libfuzzer_sys::fuzz_target;

/// What stands for a value, and the value.
type Fields = [(&'static str, String); 4];

struct Storage {
    emulator: Emulator,
    fields: RefCell<Fields>,
}

impl Storage {
    fn new() -> Self {
        let emulator = Emulator::new();
        let fields = RefCell::new(Self::policy(&emulator));
        Self { emulator, fields }
    }

    fn policy(emulator: &Emulator) -> Fields {
        let path = "/api/v1/uploads?action=getPolicy&model=qwen-audio-turbo";
        let given = emulator.call("GET", path, &[], b"");
        let field = |name: &str| given.after(&format!("\"{name}\":\"")).expect("a policy");
        [
            ("%P", field("policy")),
            ("%S", field("signature")),
            ("%A", field("oss_access_key_id")),
            ("%D", field("upload_dir")),
        ]
    }
}

thread_local! {
    static STORAGE: LazyCell<Storage> = LazyCell::new(Storage::new);
}

fuzz_target!(|bytes: &[u8]| {
    STORAGE.with(|storage| {
        let kind = ["content-type: multipart/form-data; boundary=b"];
        let body = filled(bytes, &*storage.fields.borrow());
        let answer = storage.emulator.call("POST", "/oss", &kind, &body);
        assert!((200..600).contains(&answer.status), "{answer:?}");
        let journal = storage.emulator.call("GET", "/emulator/journal", &[], b"");
        assert_eq!(journal.status, 200, "{journal:?}");
        if answer.status == 403 {
            // The policy may have expired.
            storage.fields.replace(Storage::policy(&storage.emulator));
        }
    });
});

/// The form with what the emulator gave in its places.
fn filled(bytes: &[u8], fields: &[(&str, String)]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        match fields
            .iter()
            .find(|(name, _)| rest.starts_with(name.as_bytes()))
        {
            Some((name, value)) => {
                body.extend(value.as_bytes());
                rest = &rest[name.len()..];
            }
            None => {
                body.push(*first);
                rest = after;
            }
        }
    }
    body
}
