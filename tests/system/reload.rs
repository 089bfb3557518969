//! Other settings while the gateway runs: what comes next uses them, what runs is not disturbed.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dashgate::app;
use dashgate::config::environment::NotUnicode;
use dashgate::config::{Environment, Flags, Source};
use dashgate::grpc::pb::content;
use tokio::sync::Notify;
use tokio_stream::StreamExt as _;

use crate::callers::Folder;
use crate::metrics::page;
use crate::support::*;

/// The real files, and no environment variables.
pub struct Files;

impl Environment for Files {
    fn variable(&self, _: &str) -> Result<Option<String>, NotUnicode> {
        Ok(None)
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// A folder with a file of settings, and a gateway that follows it.
pub struct House {
    pub folder: Folder,
    upstream: Upstream,
    pub again: Arc<Notify>,
    pub gateway: Running,
}

impl House {
    /// A gateway with these sections in its file, one of which must name the upstream.
    pub async fn open(upstream: Upstream, folder: Folder, sections: &str) -> Self {
        write(&folder, sections);
        let flags = Flags {
            config: Some(folder.path("d.toml")),
            ..Flags::default()
        };
        let flags = flags
            .with("--listen", "server.listen", Some("127.0.0.1:0"))
            .with("--admin", "admin.listen", Some("127.0.0.1:0"));
        let mut source = Source::new(flags, Files);
        let settings = source.load().unwrap().settings;
        let mut gateway = app::bind(&settings).await.unwrap();
        let again = Arc::new(Notify::new());
        gateway.follow(app::Changes {
            source,
            now: Arc::clone(&again),
            log: None,
        });
        Self {
            folder,
            upstream,
            again,
            gateway: running(gateway),
        }
    }

    /// Asks once, and says what DashScope was asked for: the model and the key.
    async fn ask(&self) -> (String, String) {
        let request = ask_whole(question());
        self.gateway.conversation().converse(request).await.unwrap();
        let seen = self.upstream.seen();
        let last = seen.last().unwrap();
        let model = last.json()["model"].as_str().unwrap().to_owned();
        (model, last.header("authorization").unwrap().to_owned())
    }

    /// Asks until DashScope is asked so; the clock is paused, so this takes no time.
    async fn until(&self, expected: impl Fn(&(String, String)) -> bool) {
        for _ in 0..100 {
            if expected(&self.ask().await) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the settings were not read again");
    }
}

pub fn write(folder: &Folder, sections: &str) {
    std::fs::write(folder.path("d.toml"), sections).unwrap();
}

fn with_alias(upstream: &Upstream, model: &str) -> String {
    format!(
        "[upstream]\nurl = \"{}\"\napi_key = \"sk-canary\"\n\
         [models.aliases]\nqwen-audio-turbo = \"{model}\"\n",
        upstream.base_url()
    )
}

async fn playing() -> Upstream {
    Upstream::start(|_, seen| match seen.json()["model"] == "slow" {
        true => vec![
            sse(),
            piece(frame(1, "一", "null")),
            Step::Pause(Duration::from_secs(20)),
            piece(frame(2, "二", "stop")),
            end(),
        ],
        false => json(200, &whole("x")),
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn the_next_call_has_other_settings_and_a_stream_goes_on() {
    for asked in [true, false] {
        let upstream = playing().await;
        let sections = with_alias(&upstream, "slow");
        let house = House::open(upstream, Folder::new(), &sections).await;
        let mut client = house.gateway.conversation();
        let stream = client.converse_stream(ask_stream(question())).await;
        let mut stream = stream.unwrap().into_inner();
        let mut events = vec![stream.next().await.unwrap()];

        write(&house.folder, &with_alias(&house.upstream, "quick"));
        if asked {
            house.again.notify_one();
        } else {
            // A look, and one more to see that the file is still.
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        house.until(|(model, _)| model == "quick").await;
        let shown = page(&house.gateway, "/config").await;
        assert!(shown.contains("qwen-audio-turbo=quick  # file"), "{shown}");

        while let Some(event) = stream.next().await {
            events.push(event);
        }
        assert_eq!(texts(&events).concat(), "一二");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_wrong_changes_nothing_and_is_read_when_it_is_right() {
    let upstream = playing().await;
    let sections = with_alias(&upstream, "first");
    let house = House::open(upstream, Folder::new(), &sections).await;
    let second = with_alias(&house.upstream, "second");
    for wrong in [
        format!("{second}[retry]\nmax_attempts = 99\n"),
        format!("{second}[server]\nlissen = \"127.0.0.1:1\"\n"),
        format!("{second}["),
    ] {
        write(&house.folder, &wrong);
        house.again.notify_one();
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(house.ask().await.0, "first", "{wrong}");
        }
    }
    write(&house.folder, &second);
    house.until(|(model, _)| model == "second").await;
}

#[tokio::test(start_paused = true)]
async fn an_account_has_another_key_when_its_file_changes_and_another_account_comes() {
    let upstream = playing().await;
    let folder = Folder::new();
    let account = |name: &str| {
        format!(
            "[[account]]\nname = \"{name}\"\nurl = \"{}\"\napi_key_file = \"{name}\"\n",
            upstream.base_url()
        )
    };
    let (a, b) = (account("a"), account("b"));
    let file = folder.path("accounts.toml");
    std::fs::write(folder.path("a"), "sk-canary-1").unwrap();
    std::fs::write(&file, &a).unwrap();
    let sections = format!("[upstream]\naccounts_file = {:?}\n", file.to_str().unwrap());
    let house = House::open(upstream, folder, &sections).await;
    assert_eq!(house.ask().await.1, "Bearer sk-canary-1");

    std::fs::write(house.folder.path("a"), "sk-canary-2\n").unwrap();
    house.until(|(_, key)| key == "Bearer sk-canary-2").await;

    std::fs::write(house.folder.path("b"), "sk-canary-3").unwrap();
    std::fs::write(&file, format!("{a}{b}")).unwrap();
    house.until(|(_, key)| key == "Bearer sk-canary-3").await;
    house.until(|(_, key)| key == "Bearer sk-canary-2").await;
}

#[tokio::test(start_paused = true)]
async fn the_front_door_and_the_bound_of_calls_change_too() {
    let upstream = playing().await;
    let sections = with_alias(&upstream, "first");
    let house = House::open(upstream, Folder::new(), &sections).await;
    house.ask().await;
    for (section, reason) in [
        ("max_in_flight = 1", "OVERLOADED"),
        ("max_request_bytes = \"64KiB\"", "MESSAGE_TOO_LARGE"),
    ] {
        let mut client = house.gateway.conversation();
        // It holds the only place, once there is but one.
        let slow = with_alias(&house.upstream, "slow");
        write(&house.folder, &slow);
        house.again.notify_one();
        house.until(|(model, _)| model == "slow").await;
        let stream = client.converse_stream(ask_stream(question())).await;
        let mut stream = stream.unwrap().into_inner();
        stream.next().await.unwrap().unwrap();

        write(&house.folder, &format!("{slow}[server]\n{section}\n"));
        house.again.notify_one();
        let large = conversation("m", vec![content::Kind::Text("x".repeat(100_000))]);
        let mut refused = None;
        for _ in 0..100 {
            if let Err(status) = client.converse(ask_whole(large.clone())).await {
                refused = Some(status);
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let status = refused.expect(section);
        assert_fault(&status, status.code(), reason);
    }
}

/// The real program, because signals and the log are of a whole process.
#[cfg(unix)]
#[test]
fn sighup_reloads_the_settings_and_the_log_has_the_result() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    use std::sync::mpsc;

    let folder = Folder::new();
    let good = "[upstream]\nurl = \"embedded\"\n";
    write(&folder, good);
    let mut program = Command::new(env!("CARGO_BIN_EXE_dashgate"))
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(folder.path("d.toml"))
        .env("DASHGATE_RETRY_MAX_ATTEMPT", "canary")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (send, lines) = mpsc::sync_channel(1024);
    let log = BufReader::new(program.stderr.take().unwrap());
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    let until = |words: &str| loop {
        let line = lines.recv_timeout(Duration::from_secs(30)).expect(words);
        assert!(!line.contains("canary"), "{line}");
        if line.contains(words) {
            return line;
        }
    };
    let mut first = String::new();
    let mut stdout = BufReader::new(program.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    assert!(first.starts_with("listening on "), "{first}");
    until("did you mean DASHGATE_RETRY_MAX_ATTEMPTS");
    let hang_up = || {
        let pid = program.id().to_string();
        let kill = Command::new("kill").args(["-HUP", &pid]).status();
        assert!(kill.unwrap().success());
    };
    // Nothing has changed, so nobody but the signal asks.
    hang_up();
    until("config reloaded");

    let key = "api_key = \"sk-canary \u{e9}\"\n";
    write(
        &folder,
        &format!("[upstream]\n{key}[retry]\nmax_attempts = 99\n"),
    );
    hang_up();
    let line = until("keeping current config");
    assert!(line.contains("\"level\":\"ERROR\""), "{line}");
    assert!(
        line.contains("2 errors") && line.contains("upstream.api_key"),
        "{line}"
    );
    assert!(line.contains("retry.max_attempts (file "), "{line}");

    write(
        &folder,
        &format!("{good}[idempotency]\nkeep = \"1m\"\n[log]\nlevel = \"warn\"\n"),
    );
    hang_up();
    let line = until("need a restart");
    assert!(line.contains("\"keys\":\"idempotency.keep\""), "{line}");

    program.kill().unwrap();
    program.wait().unwrap();
    // By then only warnings were logged.
    let rest: Vec<_> = lines.iter().collect();
    assert!(!rest.iter().any(|line| line.contains("INFO")), "{rest:?}");
}
