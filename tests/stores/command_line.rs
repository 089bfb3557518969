//! `dashgate store`, with the real binary.

use std::process::{Output, Stdio};
use std::time::Duration;

use dashgate::config::StoreSettings;

use crate::database;
use crate::kept::with_one_turn;
use crate::replicas::replica;
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        migrations_go_forward_and_one_step_back,
        turns_of_an_earlier_schema_keep_the_fences_of_their_calls,
        a_check_shows_schema_latency_size_and_calls,
        a_schema_that_is_missing_is_a_failure_unless_serve_migrates,
        a_schema_of_the_next_version_is_used_and_later_ones_are_refused,
        processes_that_start_together_create_the_tables_once,
        an_export_has_the_turns_of_all_pages,
    ]
}

pub fn without_a_store() -> Vec<Test> {
    tests![
        a_check_without_a_store_url_is_a_usage_error,
        a_store_that_does_not_answer_is_unreachable,
    ]
}

async fn dashgate(url: &str, arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dashgate"));
    command
        .args(arguments)
        .env_clear()
        .env("DASHGATE_STORE_URL", url)
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output());
    output.await.unwrap().unwrap()
}

async fn store(store: &StoreSettings, arguments: &[&str]) -> (i32, String, String) {
    let arguments = [&["store"], arguments].concat();
    let output = dashgate(store.url.expose(), &arguments).await;
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

async fn checked(settings: &StoreSettings) -> (i32, serde_json::Value) {
    let (code, out, _) = store(settings, &["check", "--json"]).await;
    (code, serde_json::from_str(&out).unwrap())
}

async fn migrations_go_forward_and_one_step_back(settings: StoreSettings) {
    let newest = dashgate::store::migrations::LATEST;
    let (code, out, err) = store(&settings, &["migrate"]).await;
    let expected = format!("the schema was version 0, and is version {newest} now\n");
    assert_eq!((code, out, err), (0, expected, String::new()));
    let (code, out, _) = store(&settings, &["migrate"]).await;
    let expected = format!("the schema is version {newest} already\n");
    assert_eq!((code, out), (0, expected));
    for to in (0..newest).rev() {
        let (code, out, err) = store(&settings, &["migrate", "--to", &to.to_string()]).await;
        let expected = format!(
            "the schema was version {}, and is version {to} now\n",
            to + 1
        );
        assert_eq!((code, out, err), (0, expected, String::new()));
    }
    let (code, _, _) = store(&settings, &["migrate"]).await;
    assert_eq!(code, 0);
    let (code, _, err) = store(&settings, &["migrate", "--to", "99"]).await;
    assert_eq!(code, 2);
    assert!(err.contains("knows the versions 0 to"), "{err}");
}

async fn turns_of_an_earlier_schema_keep_the_fences_of_their_calls(settings: StoreSettings) {
    let (_upstream, one, _) = with_one_turn(&settings).await;
    one.stop().await;
    one.ended().await;
    // The schema without fences, and the one that has them.
    for to in ["5", "4", "3", "4"] {
        let (code, _, err) = store(&settings, &["migrate", "--to", to]).await;
        assert_eq!((code, err.as_str()), (0, ""));
    }
    let fences = "SELECT count(*) FROM turns t JOIN calls c ON c.request_id = t.request_id
                  WHERE t.fence = c.fence AND t.fence > 0";
    assert_eq!(database::number(&settings, fences).await, 1);
}

async fn a_check_shows_schema_latency_size_and_calls(settings: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &settings).await;
    one.conversation().converse(named("a")).await.unwrap();
    one.conversation().converse(named("b")).await.unwrap();
    let (code, shown) = checked(&settings).await;
    assert_eq!((code, &shown["usable"]), (0, &true.into()), "{shown}");
    assert_eq!(shown["schema_version"], shown["gateway_schema_version"]);
    let calls = serde_json::json!({"running": 0, "kept": 2, "expired": 0});
    assert_eq!(shown["calls"], calls);
    assert!(shown["latency_ms"].as_f64().unwrap() > 0.0);
    assert!(shown["size_bytes"].as_i64().unwrap() > 8192);
    let (code, out, err) = store(&settings, &["check"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.contains("calls    0 running, 2 kept, 0 expired\n"),
        "{out}"
    );
    assert!(out.ends_with("result   the store can be used\n"), "{out}");
}

async fn a_schema_that_is_missing_is_a_failure_unless_serve_migrates(settings: StoreSettings) {
    store(&settings, &["migrate"]).await;
    for version in (0..dashgate::store::migrations::LATEST).rev() {
        store(&settings, &["migrate", "--to", &version.to_string()]).await;
    }
    let manual = ["--set", "store.migrate=false"];
    let (code, out, _) = store(&settings, &[&["check"], &manual[..]].concat()).await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("run `dashgate store migrate`"), "{out}");
    let (code, out, _) = store(&settings, &["check"]).await;
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("version 0; `serve` will migrate it"), "{out}");
    let serve = [&["serve", "--listen", "127.0.0.1:0"], &manual[..]].concat();
    let output = dashgate(settings.url.expose(), &serve).await;
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(err.contains("the store has no tables yet"), "{err}");
}

async fn a_schema_of_the_next_version_is_used_and_later_ones_are_refused(settings: StoreSettings) {
    store(&settings, &["migrate"]).await;
    let one_more = "INSERT INTO _sqlx_migrations
        (version, description, success, checksum, execution_time)
        SELECT max(version) + 1, 'later', true, max(checksum), 0 FROM _sqlx_migrations";
    // PostgreSQL has no maximum of bytes.
    let one_more = match settings.url.expose().starts_with("postgres") {
        true => {
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             SELECT max(version) + 1, 'later', true, '', 0 FROM _sqlx_migrations"
        }
        false => one_more,
    };
    database::execute(&settings, one_more).await;
    let (code, shown) = checked(&settings).await;
    assert_eq!((code, &shown["usable"]), (0, &true.into()), "{shown}");
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &settings).await;
    one.conversation().converse(named("a")).await.unwrap();
    let (code, _, err) = store(&settings, &["migrate"]).await;
    assert_eq!(code, 2);
    assert!(
        err.contains("use a newer `dashgate store migrate`"),
        "{err}"
    );

    database::execute(&settings, one_more).await;
    let (code, shown) = checked(&settings).await;
    assert_eq!((code, &shown["usable"]), (1, &false.into()), "{shown}");
    let output = dashgate(settings.url.expose(), &["serve", "--listen", "127.0.0.1:0"]).await;
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(err.contains("run a newer version of the gateway"), "{err}");
}

async fn processes_that_start_together_create_the_tables_once(settings: StoreSettings) {
    let starts = (0..6).map(|_| {
        let settings = settings.clone();
        tokio::spawn(async move { store(&settings, &["migrate"]).await })
    });
    let starts: Vec<_> = starts.collect();
    let mut created = 0;
    for start in starts {
        let (code, out, err) = start.await.unwrap();
        assert_eq!(code, 0, "{err}");
        created += usize::from(out.contains("was version 0"));
    }
    assert!(created > 0);
    let (code, _) = checked(&settings).await;
    assert_eq!(code, 0);
}

async fn a_check_without_a_store_url_is_a_usage_error(mut settings: StoreSettings) {
    settings.url = dashgate::secret::Secret::new("");
    let (code, out, err) = store(&settings, &["check"]).await;
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("store.url is empty"), "{err}");
    assert!(err.contains("DASHGATE_STORE_URL"), "{err}");
    settings.url = dashgate::secret::Secret::new("mysql://canary");
    let (code, shown) = checked(&settings).await;
    assert_eq!(code, 2);
    assert!(!shown.to_string().contains("canary"), "{shown}");
}

async fn a_store_that_does_not_answer_is_unreachable(mut settings: StoreSettings) {
    for url in [
        "postgres://user:canary@127.0.0.1:1/database".to_owned(),
        "postgres://user:canary@localhost/database?host=/nowhere".to_owned(),
        format!("{}.missing", settings.url.expose()),
    ] {
        settings.url = dashgate::secret::Secret::new(&url);
        let begun = tokio::time::Instant::now();
        let (code, out, err) = store(&settings, &["check"]).await;
        assert!(matches!(code, 2 | 3), "{url}: {code} {out} {err}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{url}");
        assert!(!err.contains("canary"), "{err}");
        assert!(err.contains("store.url"), "{err}");
    }
    // It was not created.
    let path = settings
        .url
        .expose()
        .trim_start_matches("sqlite:")
        .to_owned();
    assert!(!std::path::Path::new(&path).exists());
}

async fn an_export_has_the_turns_of_all_pages(settings: StoreSettings) {
    let (_upstream, one, _client) = with_one_turn(&settings).await;
    let more = "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 250)
      INSERT INTO turns (tenant, conversation, number, request_id, fence, state, system, model,
        reason, tokens, bytes, media_bytes, created, ended, usage, messages, answer)
      SELECT tenant, conversation, i, '', 0, state, system, model, reason, tokens, bytes,
        media_bytes, created, ended, usage, messages, answer FROM turns, n WHERE number = 1";
    database::execute(&settings, more).await;
    let server = one.address.to_string();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dashgate"));
    command
        .args(["conversations", "export", "c", "--server", &server])
        .env_clear()
        .env("DASHGATE_API_KEY", "k")
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let export: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(export["conversation"]["name"], crate::kept::NAME);
    let turns = export["turns"].as_array().unwrap();
    let numbers: Vec<_> = turns.iter().map(|turn| turn["number"].as_i64()).collect();
    assert_eq!(numbers, (1..=250).map(Some).collect::<Vec<_>>());
}
