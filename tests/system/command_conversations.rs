//! `dashgate ask --conversation` and `dashgate conversations` as a person runs them, with the
//! emulator and a store in a file.

use std::process::{Command, Output};

use serde_json::Value;

use crate::callers::Folder;

/// Runs `dashgate` with this store, and nothing of this machine's settings.
async fn dashgate(arguments: &[&str], store: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dashgate"));
    command.args(arguments).env_clear();
    if !store.is_empty() {
        command.env("DASHGATE_STORE_URL", store);
    }
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let Output {
        status,
        stdout,
        stderr,
    } = output.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[tokio::test]
async fn a_conversation_is_continued_shown_exported_and_deleted() {
    let folder = Folder::new();
    let store = format!("sqlite:{}", folder.path("state.db").display());
    let ask = |text| ["ask", "--conversation", "birds", "--json", text];
    for text in ["What is a wren?", "How large is it?"] {
        let (code, out, err) = dashgate(&ask(text), &store).await;
        assert_eq!(code, Some(0), "{out}{err}");
    }
    let (code, out, _) = dashgate(&["conversations", "list"], &store).await;
    assert_eq!(code, Some(0));
    let row: Vec<_> = out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((row[0], row[2]), ("birds", "2"), "{out}");

    let show = ["conversations", "show", "birds", "--turns", "1"];
    let (_, out, _) = dashgate(&show, &store).await;
    assert!(
        out.contains("[2]\nuser: How large is it?\nassistant: "),
        "{out}"
    );
    assert!(!out.contains("wren?"), "{out}");

    let (_, out, _) = dashgate(&["conversations", "export", "birds"], &store).await;
    let export: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(export["conversation"]["name"], "conversations/birds");
    assert_eq!(export["turns"].as_array().unwrap().len(), 2);
    let text = &export["turns"][0]["messages"][0]["content"][0]["text"];
    assert_eq!(text, "What is a wren?");

    let delete = ["conversations", "delete", "birds"];
    let (code, out, _) = dashgate(&delete, &store).await;
    assert_eq!((code, &*out), (Some(0), "deleted conversations/birds\n"));
    let (code, out, err) = dashgate(&delete, &store).await;
    assert_eq!((code, &*out), (Some(1), ""));
    assert!(err.contains("CONVERSATION_NOT_FOUND"), "{err}");
}

#[tokio::test]
async fn a_live_session_continues_a_conversation_and_begins_one() {
    let folder = Folder::new();
    let store = format!("sqlite:{}", folder.path("state.db").display());
    let audio = "examples/sentence-en.wav";
    let live = |id| ["live", "--audio", audio, "--conversation", id, "--json"];
    let ask = |id| ["ask", "--conversation", id, "hello"];
    for (id, session) in [("a", 2), ("b", 1)] {
        if session == 2 {
            let (code, out, err) = dashgate(&ask(id), &store).await;
            assert_eq!(code, Some(0), "{out}{err}");
        }
        let (code, out, err) = dashgate(&live(id), &store).await;
        assert_eq!(code, Some(0), "{out}{err}");
        let events = out.lines().map(|line| serde_json::from_str(line).unwrap());
        let events: Vec<Value> = events.collect();
        let find = |name: &str| events.iter().find(|event| !event[name].is_null());
        let completed = find("response_completed").unwrap();
        assert_eq!(completed["response_completed"]["turn"], session);
        let words = find("input_transcript").is_some();
        assert!(words, "{out}");
        let (code, out, err) = dashgate(&ask(id), &store).await;
        assert_eq!(code, Some(0), "{out}{err}");
        let show = ["conversations", "show", id];
        let (_, out, _) = dashgate(&show, &store).await;
        assert!(out.contains(&format!("[{session}]\nuser: ")), "{out}");
        assert!(out.contains("I heard "), "{out}");
        assert!(
            out.contains(&format!("[{}]\nuser: hello", session + 1)),
            "{out}"
        );
    }
}

#[tokio::test]
async fn media_of_an_export_are_written_to_files() {
    let folder = Folder::new();
    let store = format!("sqlite:{}", folder.path("state.db").display());
    let image = folder.path("dot.png");
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x20\0\0\0\x20\x08\x02\0\0\0\0\0\0\0";
    std::fs::write(&image, png).unwrap();
    let image = image.display().to_string();
    let ask = [
        "ask",
        "--conversation",
        "a",
        "--image",
        &image,
        "What is it?",
    ];
    let (code, out, err) = dashgate(&ask, &store).await;
    assert_eq!(code, Some(0), "{out}{err}");
    let media = folder.path("media").display().to_string();
    let export = ["conversations", "export", "a", "--media", &media];
    let (code, out, err) = dashgate(&export, &store).await;
    assert_eq!(code, Some(0), "{out}{err}");
    let saved = folder.path("media").join("1-1.png");
    assert_eq!(std::fs::read(saved).unwrap(), png);
}

#[tokio::test]
async fn a_gateway_without_a_store_names_the_setting_that_it_needs() {
    for arguments in [
        &["conversations", "list"][..],
        &["ask", "--conversation", "a", "hello"],
        &[
            "live",
            "--audio",
            "examples/sentence-en.wav",
            "--conversation",
            "a",
        ],
    ] {
        let (code, out, err) = dashgate(arguments, "").await;
        assert_eq!((code, &*out), (Some(1), ""));
        assert!(err.contains("store.url"), "{err}");
    }
}
