//! The rules on trial: each on a small text that breaks it, and on one that does not.

use std::collections::BTreeSet;

use super::source::Source;
use super::{fault::Fault, form, papers, rooms};

fn rules(faults: &[Fault]) -> Vec<&'static str> {
    faults.iter().map(|fault| fault.rule.name).collect()
}

/// The rules that one file breaks; a module doc is put above it.
fn form_of(path: &str, code: &str) -> Vec<&'static str> {
    let text = format!("//! A file.\n{code}\n");
    rules(&form::faults(
        &Source::parse(path, &text).expect("it is Rust"),
    ))
}

/// The rules that a project of these files breaks.
fn rooms_of(files: &[(&str, &str)]) -> Vec<&'static str> {
    let parse = |(path, text): &(&str, &str)| Source::parse(path, text).expect("it is Rust");
    let sources: Vec<Source> = files.iter().map(parse).collect();
    let crates = ["bytes", "reqwest", "serde_json", "tonic", "tokio", "hyper"];
    let crates: BTreeSet<String> = crates.iter().map(ToString::to_string).collect();
    rules(&rooms::faults(&sources, &crates))
}

#[test]
fn a_long_file_is_seen_and_its_tests_are_not_counted() {
    let long = "const A: u8 = 1;\n".repeat(400);
    assert_eq!(form_of("src/error.rs", &long), ["file-length"]);
    let tests = "mod tests {\n".to_owned() + &"const A: u8 = 1;\n".repeat(400) + "}";
    assert!(form_of("src/error.rs", &format!("#[cfg(test)]\n{tests}")).is_empty());
    assert_eq!(
        form_of("src/error.rs", &format!("#[cfg(not(test))]\n{tests}")),
        ["file-length"]
    );
}

#[test]
fn a_long_function_is_seen_wherever_it_stands() {
    let body = |lines: usize| "call();\n".repeat(lines);
    let short = format!("fn a() {{\n{}// a comment\n\n}}", body(70));
    assert!(form_of("src/error.rs", &short).is_empty());
    let long = format!("fn a() {{\n{}}}", body(71));
    assert_eq!(form_of("src/error.rs", &long), ["function-length"]);
    let hidden = format!("macro_rules! m {{ () => {{ impl X {{ {long} }} }} }}");
    assert_eq!(form_of("src/error.rs", &hidden), ["function-length"]);
    assert_eq!(form_of("tests/one.rs", &long), ["function-length"]);
}

#[test]
fn a_wide_line_is_seen_and_counted_in_letters() {
    let wide = |letter: &str| format!("// {}", letter.repeat(98));
    assert_eq!(form_of("src/error.rs", &wide("a")), ["line-width"]);
    let chinese = format!("// {}", "音".repeat(97));
    assert!(form_of("src/error.rs", &chinese).is_empty());
    assert_eq!(rules(&form::widths("a.proto", &wide("a"))), ["line-width"]);
}

#[test]
fn a_folder_in_a_folder_is_seen() {
    assert!(form_of("src/chat/turn.rs", "").is_empty());
    assert_eq!(form_of("src/chat/turn/part.rs", ""), ["folder-depth"]);
}

#[test]
fn what_has_no_document_is_seen() {
    let bare = Source::parse("src/error.rs", "fn a() {}").expect("it is Rust");
    assert_eq!(rules(&form::faults(&bare)), ["module-doc"]);
    for code in [
        "pub fn a() {}",
        "pub(crate) struct A;",
        "#[derive(Debug)]\npub struct A;",
        "/// A.\npub struct A {\n    pub b: u8,\n}",
        "pub mod a {}",
        "impl A { pub(crate) const B: u8 = 1; }",
    ] {
        assert_eq!(form_of("src/error.rs", code), ["pub-doc"], "{code}");
    }
    for code in [
        "/// A.\n#[derive(Debug)]\npub struct A(pub u8);",
        "pub mod a;\npub use a::B;",
        "impl A { pub(super) const B: u8 = 1; }",
        "macro_rules! m { ($(#[$meta:meta])*) => { $(#[$meta])* pub struct A; } }",
        "/// A.\n#[expect(missing_docs, reason = \"x\")]\npub struct A { pub b: u8 }",
    ] {
        assert!(form_of("src/error.rs", code).is_empty(), "{code}");
    }
}

#[test]
fn what_may_panic_is_seen() {
    for code in [
        "fn a() { b.unwrap(); }",
        "fn a() { b.expect(\"c\"); }",
        "fn a() { b.expect_err(\"c\"); }",
        "fn a() { panic!(); }",
        "fn a() { unreachable!(); }",
        "macro_rules! m { ($a:expr) => { $a.unwrap() } }",
    ] {
        let broken = form_of("src/error.rs", code);
        assert!(broken.contains(&"no-panic"), "{code}: {broken:?}");
        assert!(form_of("tests/one.rs", code).is_empty(), "{code}");
        let test = format!("#[cfg(test)]\nmod tests {{ {code} }}");
        assert!(form_of("src/error.rs", &test).is_empty(), "{code}");
        let proved = "#[expect(clippy::unwrap_used, clippy::panic, reason = \"b is there\")]";
        assert!(form_of("src/error.rs", &format!("{proved}\n{code}")).is_empty());
    }
    for code in ["fn a() { b.unwrap_or(c); d::expect(e); }", "fn panic() {}"] {
        assert!(form_of("src/error.rs", code).is_empty(), "{code}");
    }
}

#[test]
fn an_exception_is_narrow_and_has_its_reason() {
    for code in [
        "#[allow(clippy::unwrap_used, reason = \"x\")]\nfn a() {}",
        "#![allow(dead_code, reason = \"x\")]",
        "#![expect(clippy::indexing_slicing, reason = \"x\")]",
    ] {
        assert_eq!(
            form_of("src/error.rs", code),
            ["expect-not-allow"],
            "{code}"
        );
    }
    let bare = "#[expect(clippy::unwrap_used)]\nfn a() { b.unwrap() }";
    assert_eq!(form_of("src/error.rs", bare), ["no-panic"]);
    let other = "#[expect(clippy::unwrap_used, reason = \"x\")]\nfn a() {}\nfn b() { c.unwrap() }";
    assert_eq!(form_of("src/error.rs", other), ["no-panic"]);
}

#[test]
fn names_that_say_nothing_are_seen() {
    assert_eq!(form_of("src/chat/utils.rs", ""), ["names"]);
    assert_eq!(form_of("src/chat/turn.rs", "fn get_part() {}"), ["names"]);
    assert!(form_of("src/chat/turn.rs", "fn forget_part() {}").is_empty());
}

#[test]
fn untyped_json_is_seen_outside_the_wire() {
    for code in [
        "use serde_json::Value;",
        "use serde_json::{self, Map};",
        "fn a() { serde_json::json!({}); }",
        "struct A(serde_json::Value);",
    ] {
        assert_eq!(form_of("src/cli/ask.rs", code), ["json-value"], "{code}");
        assert!(form_of("src/dashscope/wire.rs", code).is_empty(), "{code}");
    }
    assert!(form_of("src/cli/ask.rs", "use serde_json::value_of;").is_empty());
}

#[test]
fn an_arrow_up_is_seen() {
    for (path, code) in [
        ("src/chat/turn.rs", "use crate::grpc::pb;"),
        ("src/chat/turn.rs", "fn a() { crate::config::b(); }"),
        ("src/error.rs", "use crate::chat::turn::Turn;"),
        ("src/relay/retry.rs", "use super::super::config::Settings;"),
        (
            "src/dashscope/mod.rs",
            "use crate::{error::Error, relay::Relay};",
        ),
        ("src/emulator/mod.rs", "use crate::chat::turn;"),
        ("src/grpc/mod.rs", "use crate::dashscope::wire;"),
        ("src/relay/mod.rs", "use crate::dashscope::wire::Body;"),
        ("src/telemetry/mod.rs", "use crate::chat::turn::Turn;"),
        ("src/cli/ask.rs", "use crate::grpc::status;"),
        ("src/main.rs", "use dashgate::app;"),
    ] {
        let files = [
            (path, code),
            ("src/app.rs", ""),
            ("src/chat/turn.rs", ""),
            ("src/dashscope/wire.rs", ""),
            ("src/grpc/status.rs", ""),
        ];
        let files = if path == "src/chat/turn.rs" {
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
            "pub mod retry; use crate::dashscope::Exchange; use retry::Again;",
        ),
        (
            "src/relay/retry.rs",
            "use crate::error::Error; use bytes::Bytes;",
        ),
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
        ("src/chat/turn.rs", "use tonic::Status;"),
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
    let source = Source::parse("src/chat/turn.rs", code).expect("it is Rust");
    let faults: Vec<String> = rooms::unused(&[source], &crates)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(faults, ["Cargo.toml:0: `tower`"]);
}

#[test]
fn a_circle_is_seen() {
    let two = [
        ("src/chat/turn.rs", "use super::media::Medium;"),
        ("src/chat/media.rs", "use crate::chat::turn::Turn;"),
    ];
    assert_eq!(rooms_of(&two), ["no-circles"]);
    let face = [
        (
            "src/chat/mod.rs",
            "pub mod turn; pub use turn::Turn; pub struct Chat;",
        ),
        ("src/chat/turn.rs", "use super::Chat;"),
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
    let map = |text: &str| rules(&papers::map(text, &folders, &crates));
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
    let rules = |one, two| rules(&papers::commands(one, two));
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
        rules(&papers::changes("## [1.2.30]", "1.2.3")),
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
            rules(&papers::words("a.md", text)),
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
