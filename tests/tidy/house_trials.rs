//! The rules of `rooms` and `papers` on trial: each on a small project that breaks it, and on one
//! that does not.

use std::collections::BTreeSet;

use super::fault::names;
use super::source::Source;
use super::{papers, rooms};

/// The rules that a project of these files breaks.
fn rooms_of(files: &[(&str, &str)]) -> Vec<&'static str> {
    let parse = |(path, text): &(&str, &str)| Source::parse(path, text).expect("it is Rust");
    let sources: Vec<Source> = files.iter().map(parse).collect();
    let crates = ["bytes", "reqwest", "serde_json", "tonic", "tokio", "hyper"];
    let crates: BTreeSet<String> = crates.iter().map(ToString::to_string).collect();
    names(&rooms::faults(&sources, &crates))
}

#[test]
fn an_arrow_up_is_seen() {
    for (path, code) in [
        ("src/chat/message.rs", "use crate::grpc::pb;"),
        ("src/chat/message.rs", "fn a() { crate::config::b(); }"),
        ("src/error.rs", "use crate::chat::message::Turn;"),
        ("src/relay/retry.rs", "use super::super::config::Settings;"),
        (
            "src/dashscope/mod.rs",
            "use crate::{error::Error, relay::Relay};",
        ),
        ("src/emulator/mod.rs", "use crate::chat::message;"),
        ("src/grpc/mod.rs", "use crate::dashscope::answer_json;"),
        (
            "src/relay/mod.rs",
            "use crate::dashscope::answer_json::Body;",
        ),
        ("src/telemetry/mod.rs", "use crate::chat::message::Turn;"),
        ("src/cli/ask.rs", "use crate::grpc::status;"),
        ("src/main.rs", "use dashgate::app;"),
    ] {
        let files = [
            (path, code),
            ("src/app.rs", ""),
            ("src/chat/message.rs", ""),
            ("src/dashscope/answer_json.rs", ""),
            ("src/grpc/status.rs", ""),
        ];
        let files = if path == "src/chat/message.rs" {
            &files[..2]
        } else {
            &files[..]
        };
        assert_eq!(rooms_of(files), ["room-table"], "{path}: {code}");
    }
    assert_eq!(rooms_of(&[("src/cellar/mod.rs", "")]), ["room-table"]);
}

#[test]
fn an_arrow_down_is_fine() {
    let files = [
        ("src/main.rs", "use dashgate::cli;"),
        ("src/lib.rs", "pub mod cli;"),
        (
            "src/cli/mod.rs",
            "use crate::grpc::pb::Message; use crate::app::{self, App};",
        ),
        (
            "src/app.rs",
            "use crate::relay::retry; fn a() { crate::emulator::serve() }",
        ),
        ("src/grpc/pb.rs", ""),
        (
            "src/relay/mod.rs",
            "pub mod retry; use crate::upstream::Exchange; use retry::Again;",
        ),
        (
            "src/relay/retry.rs",
            "use crate::error::Error; use bytes::Bytes;",
        ),
        ("src/upstream/mod.rs", "pub use crate::dashscope::Exchange;"),
        (
            "src/dashscope/mod.rs",
            "#[cfg(test)]\nuse crate::emulator::script;",
        ),
        (
            "src/emulator/mod.rs",
            "fn a() { Vec::<u8>::new().len(); tokio::spawn(b); }",
        ),
    ];
    assert!(rooms_of(&files).is_empty(), "{:?}", rooms_of(&files));
}

#[test]
fn a_crate_in_the_wrong_room_is_seen() {
    for (path, code) in [
        ("src/chat/message.rs", "use tonic::Status;"),
        ("src/error.rs", "use bytes::Bytes;"),
        ("src/relay/mod.rs", "fn a() { serde_json::to_string(b); }"),
        (
            "src/grpc/mod.rs",
            "use {reqwest as http_client, bytes::Bytes};",
        ),
        (
            "src/dashscope/mod.rs",
            "fn a() -> Result<(), tonic::Status> { b }",
        ),
        (
            "src/emulator/mod.rs",
            "#[tonic::async_trait]\nimpl A for B {}",
        ),
    ] {
        assert_eq!(
            rooms_of(&[(path, code)]),
            ["crate-owners"],
            "{path}: {code}"
        );
    }
    let strange = BTreeSet::from(["left_pad".to_owned()]);
    let faults: Vec<String> = rooms::owners(&strange)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        faults
            .iter()
            .any(|fault| fault.contains("`left_pad` has no row"))
    );
    assert!(
        faults
            .iter()
            .any(|fault| fault.contains("`tonic` has a row"))
    );
}

#[test]
fn a_crate_that_nobody_uses_is_seen() {
    let crates = BTreeSet::from(["bytes".to_owned(), "tower".to_owned()]);
    let code = "//! A.\nuse bytes::Bytes;\n#[cfg(test)]\nmod tests { use tower::Service; }";
    let source = Source::parse("src/chat/message.rs", code).expect("it is Rust");
    let faults: Vec<String> = rooms::unused(&[source], &crates)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(faults, ["Cargo.toml:0: `tower`"]);
}

#[test]
fn a_circle_is_seen() {
    let two = [
        ("src/chat/message.rs", "use super::media::Medium;"),
        ("src/chat/media.rs", "use crate::chat::message::Turn;"),
    ];
    assert_eq!(rooms_of(&two), ["no-circles"]);
    let face = [
        (
            "src/chat/mod.rs",
            "pub mod message; pub use message::Turn; pub struct Chat;",
        ),
        ("src/chat/message.rs", "use super::Chat;"),
    ];
    assert_eq!(rooms_of(&face), ["no-circles"]);
    let three = [
        ("src/chat/a.rs", "fn x() { super::b::y(); }"),
        ("src/chat/b.rs", "use super::c::{Z, self};"),
        ("src/chat/c.rs", "mod inner { use super::super::a::X; }"),
    ];
    assert_eq!(rooms_of(&three), ["no-circles"]);
    let tests_only = [
        ("src/chat/a.rs", "use super::b::B;"),
        (
            "src/chat/b.rs",
            "#[cfg(test)]\nmod tests { use crate::chat::a::A; }",
        ),
    ];
    assert!(rooms_of(&tests_only).is_empty());
    let visibility = |text| {
        [
            ("src/chat/mod.rs", "use a::A; mod a;"),
            ("src/chat/a.rs", text),
        ]
    };
    assert!(rooms_of(&visibility("pub(in crate::chat) struct A;")).is_empty());
    let tuple = visibility("pub(in crate::chat) struct A(pub crate::chat::B);");
    assert_eq!(rooms_of(&tuple), ["no-circles"]);
}

#[test]
fn names_at_the_root_are_seen() {
    let lib = ("src/lib.rs", "pub mod error; pub use error::Error;");
    assert_eq!(rooms_of(&[lib, ("src/error.rs", "")]), ["no-root-names"]);
}

#[test]
fn a_map_that_is_not_true_is_seen() {
    let folders = BTreeSet::from(["src/chat/".to_owned()]);
    let crates = BTreeSet::from(["bytes".to_owned()]);
    let map = |text: &str| names(&papers::map(text, &folders, &crates));
    assert!(map("- `src/chat/`: nouns\n- `bytes`: buffers\n- `--flag` is no crate").is_empty());
    assert_eq!(
        map("- `src/chat/`: nouns\nand `bytes` too"),
        ["architecture"]
    );
    assert_eq!(map("- `bytes`: buffers"), ["architecture"]);
    let stale = "- `src/chat/`: a\n- `src/attic/`: b\n- `bytes`: c\n- `left-pad`: d";
    assert_eq!(map(stale), ["architecture"; 2]);
}

#[test]
fn a_lint_that_is_not_denied_is_seen() {
    let lints = |text: &str| {
        let manifest: toml::Table = text.parse().expect("it is TOML");
        papers::lints(&manifest).len()
    };
    let all = lints("[lints.clippy]");
    let panic = "[lints.clippy]\npanic = \"deny\"\n";
    assert_eq!(lints(panic), all - 1);
    assert_eq!(lints(&panic.replace("deny", "warn")), all);
}

#[test]
fn readmes_that_differ_are_seen() {
    let english = "# A\n```sh\n# run it\ncargo run\n```\n```json\n{}\n```\n";
    let chinese = "# 甲\n```sh\n# 运行\ncargo run\n```\n";
    let rules = |one, two| names(&papers::commands(one, two));
    assert!(rules(Some(english), Some(chinese)).is_empty());
    let other = chinese.replace("cargo run", "cargo run --release");
    assert_eq!(rules(Some(english), Some(&other)), ["readme-commands"]);
    assert_eq!(rules(Some(english), Some("# 甲")), ["readme-commands"]);
    assert_eq!(rules(Some(english), None), ["readme-commands"]);
}

#[test]
fn a_version_without_an_entry_is_seen() {
    assert!(papers::changes("## [1.2.3] - soon", "1.2.3").is_empty());
    assert_eq!(
        names(&papers::changes("## [1.2.30]", "1.2.3")),
        ["changelog"]
    );
}

#[test]
fn forbidden_words_are_seen() {
    for text in [
        concat!("cd /wo", "rk/x"),
        concat!("// TO", "DO: later"),
        concat!("a St", "ub."),
        concat!("https://registry.npm", "js.org/a"),
    ] {
        assert_eq!(
            names(&papers::words("a.md", text)),
            ["forbidden-words"],
            "{text}"
        );
    }
    for text in [
        "a stubborn mule",
        "let todo = 1;",
        "/homework",
        "ConversationServiceStub(channel)",
    ] {
        assert!(papers::words("a.md", text).is_empty(), "{text}");
    }
}
