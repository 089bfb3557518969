//! `dashgate models` as a person runs it.

use std::process::{Command, Output};

use serde_json::Value;

use crate::callers::Folder;
use crate::support::*;

/// Runs `dashgate` with these variables, and nothing of this machine's settings.
async fn dashgate(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dashgate"));
    let variables = variables.iter().copied();
    command.args(arguments).env_clear().envs(variables);
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
async fn without_a_server_the_settings_of_this_machine_are_listed() {
    let alias = "models.aliases=mine=qwen-audio-turbo";
    let (code, out, err) = dashgate(&["models", "--set", alias], &[]).await;
    assert_eq!((code, &*err), (Some(0), ""));
    let mut lines = out.lines();
    let head: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["NAME", "MODEL", "INPUT", "OUTPUT", "STATE"]);
    let row = |name: &str| {
        let mut rows = out.lines().map(|line| line.split_whitespace());
        let row = rows.find(|row| row.clone().next() == Some(name));
        row.unwrap_or_else(|| panic!("{name}: {out}"))
            .collect::<Vec<_>>()
    };
    let expected = [
        "mine",
        "qwen-audio-turbo",
        "text,audio",
        "text",
        "available",
    ];
    assert_eq!(row("mine"), expected);
    let expected = ["qwen3-tts-flash", "-", "text", "audio", "available"];
    assert_eq!(row("qwen3-tts-flash"), expected);

    let (code, out, _) = dashgate(&["models", "mine", "--set", alias], &[]).await;
    assert_eq!(code, Some(0));
    assert!(out.contains("max audio duration   30s\n"), "{out}");
    let (code, out, err) = dashgate(&["models", "nothing"], &[]).await;
    assert_eq!((code, &*out), (Some(1), ""));
    assert!(
        err.contains("MODEL_NOT_FOUND") && err.contains("`dashgate models`"),
        "{err}"
    );
}

#[tokio::test]
async fn json_has_the_fields_of_the_schema_for_all_for_one_and_for_a_failure() {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let (code, out, _) = dashgate(&["models", "--json"], &[]).await;
    assert_eq!((code, out.lines().count()), (Some(0), 1));
    let all = read(&out);
    let models = all["models"].as_array().unwrap();
    let omni = models
        .iter()
        .find(|model| model["name"] == "qwen3-omni-flash");
    let omni = omni.unwrap();
    assert_eq!(omni["stream_only"], true);
    assert_eq!(omni["health"]["state"], "MODEL_STATE_AVAILABLE");
    let (_, out, _) = dashgate(&["models", "--json", "qwen3-omni-flash"], &[]).await;
    assert_eq!(read(&out), *omni);
    let (code, out, err) = dashgate(&["models", "--json", "nothing"], &[]).await;
    assert_eq!((code, &*err), (Some(1), ""));
    let error = &read(&out)["error"];
    assert_eq!(error["reason"], "MODEL_NOT_FOUND");
    assert_eq!(error["fields"][0]["field"], "name");
}

#[tokio::test]
async fn a_gateway_lists_the_models_of_the_key() {
    let upstream = Upstream::always(Vec::new()).await;
    let folder = Folder::new();
    let (_, key) = folder.key("team-a", |entry| {
        entry.limits.models = Some(vec!["qwen3-tts-flash".to_owned()]);
    });
    let gateway = gateway_with(folder.settings(&upstream)).await;
    let address = gateway.address.to_string();
    let server = ["models", "--server", &address];
    let key = [("DASHGATE_API_KEY", &*key)];
    let (code, out, err) = dashgate(&server, &key).await;
    assert_eq!((code, out.lines().count()), (Some(0), 2), "{out}{err}");
    assert!(out.contains("\nqwen3-tts-flash "), "{out}");
    let (code, _, err) = dashgate(&server, &[]).await;
    assert_eq!(code, Some(1));
    assert!(err.contains("UNAUTHENTICATED"), "{err}");
    let other = [&server[..], &["qwen-audio-turbo"]].concat();
    let (code, _, err) = dashgate(&other, &key).await;
    assert_eq!(code, Some(1));
    assert!(err.contains("PERMISSION_DENIED"), "{err}");
    gateway.stop().await;
    gateway.ended().await;
    let (code, _, err) = dashgate(&server, &key).await;
    assert_eq!(code, Some(3), "{err}");
    let (code, _, _) = dashgate(&["models", "--timeout", "0s"], &[]).await;
    assert_eq!(code, Some(2));
}
