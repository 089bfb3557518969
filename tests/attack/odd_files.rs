//! Files of the operator that are replaced by what is no file: pipes, devices, directories, files
//! without end. A reload neither hangs nor fills the memory, and the gateway runs on as it was.
#![cfg(target_os = "linux")]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::program::Program;
use crate::support::keys::Folder;
use crate::support::*;

/// How long something outside may take, at most.
const PATIENCE: Duration = Duration::from_secs(20);

/// What makes an odd file, and what is said of it.
type Odd = (fn(&Path), &'static str);

/// What a file may be replaced by.
const ODD: [Odd; 4] = [
    (pipe, "it is a named pipe, not a regular file"),
    (zeros, "it is a device, not a regular file"),
    (directory, "it is a directory, not a regular file"),
    (huge, "is larger than"),
];

fn pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

fn zeros(path: &Path) {
    symlink("/dev/zero", path).unwrap();
}

fn directory(path: &Path) {
    std::fs::create_dir(path).unwrap();
}

fn huge(path: &Path) {
    // Without blocks on the disk.
    let file = std::fs::File::create(path).unwrap();
    file.set_len(8 << 30).unwrap();
}

fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
    let _ = std::fs::remove_dir(path);
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("{what}"));
}

async fn client(program: &Program) -> ConversationServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", program.address)).unwrap();
    ConversationServiceClient::new(endpoint.connect().await.unwrap())
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn settings_and_keys_that_become_no_files_change_nothing() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let folder = Folder::new();
    let (_, key) = folder.key("team", |_| {});
    let keys = folder.keys();
    let keys_text = std::fs::read_to_string(&keys).unwrap();
    let settings = folder.path("dashgate.toml");
    let aliases = |to: &str| format!("[models]\naliases = {{ m = \"{to}\" }}\n");
    std::fs::write(&settings, aliases("first")).unwrap();
    let keys_file = format!("callers.keys_file={}", text(&keys));
    let base_url = upstream.base_url();
    let flags = ["--config", &text(&settings), "--set", &keys_file];
    let program = Program::start("", &[&flags[..], &["--upstream", &base_url]].concat());
    let mut client = client(&program).await;
    let mut answers = async |model: &str| {
        let mut request = tonic::Request::new(ask_whole(conversation("m", Vec::new())));
        let conversation = request.get_mut().conversation.as_mut().unwrap();
        conversation.messages = question().messages;
        let value = format!("Bearer {key}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        client.converse(request).await.unwrap();
        assert_eq!(upstream.seen().last().unwrap().json()["model"], model);
    };
    answers("first").await;
    let before = program.peak();
    for (path, right, words) in [
        (&settings, aliases("first"), "config reloaded"),
        (&keys, keys_text, "key file reloaded"),
    ] {
        // Those of which a reader would wait for ever, and read for ever.
        for (replace, said) in [ODD[0], ODD[3]] {
            let from = program.log().len();
            remove(path);
            replace(path);
            let name = text(path);
            until(&format!("{name}: {said}"), || {
                let log = program.log();
                let new = log.get(from..).unwrap_or_default();
                let mut lines = new.lines();
                lines.any(|line| line.contains(&name) && line.contains(said))
            })
            .await;
            answers("first").await;
            remove(path);
            std::fs::write(path, &right).unwrap();
            until("it is read again", || {
                let log = program.log();
                log.get(from..).is_some_and(|log| log.contains(words))
            })
            .await;
        }
    }
    // What comes in the right form is read again.
    let from = program.log().len();
    std::fs::write(&settings, aliases("second")).unwrap();
    until("the settings are read again", || {
        let log = program.log();
        let new = log.get(from..).unwrap_or_default();
        new.contains("config reloaded")
    })
    .await;
    answers("second").await;
    let grown = program.peak().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes");
}

#[tokio::test]
async fn certificates_that_become_no_files_are_kept() {
    let folder = Folder::new();
    let pair = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    let (certificate, key) = (folder.path("tls.crt"), folder.path("tls.key"));
    let write = |(chain, secret): (String, String)| {
        std::fs::write(&certificate, chain).unwrap();
        std::fs::write(&key, secret).unwrap();
    };
    write(pair());
    let at = format!("server.tls.certificate={}", text(&certificate));
    let of = format!("server.tls.key={}", text(&key));
    let often = "server.tls.reload_interval=100ms";
    let program = Program::start("", &["--set", &at, "--set", &of, "--set", often]);
    for path in [&certificate, &key] {
        for (replace, said) in ODD {
            let from = program.log().len();
            remove(path);
            // Another fault in between, so that this one is told.
            std::fs::write(path, "no PEM").unwrap();
            let name = text(path);
            let told = |words: &str| {
                let log = program.log();
                let new = log.get(from..).unwrap_or_default();
                let mut lines = new.lines();
                lines.any(|line| line.contains(&name) && line.contains(words))
            };
            until("the fault in between", || told("PEM")).await;
            remove(path);
            replace(path);
            until(&format!("{name}: {said}"), || told(said)).await;
        }
        remove(path);
        write(pair());
        until("new certificates", || {
            program.log().contains("TLS certificate reloaded")
        })
        .await;
    }
}

#[test]
fn a_start_with_what_is_no_file_fails_at_once_and_names_it() {
    let folder = Folder::new();
    let odd: PathBuf = folder.path("odd");
    for (replace, said) in ODD {
        remove(&odd);
        replace(&odd);
        let path = text(&odd);
        for flags in [
            vec!["--config".to_owned(), path.clone()],
            vec!["--set".to_owned(), format!("callers.keys_file={path}")],
            vec![
                "--set".to_owned(),
                format!("server.tls.certificate={path}"),
                "--set".to_owned(),
                format!("server.tls.key={path}"),
            ],
        ] {
            let mut command = Command::new("timeout");
            command
                .args(["10", env!("CARGO_BIN_EXE_dashgate"), "serve"])
                .args(["--listen", "127.0.0.1:0"])
                .args(&flags)
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let output = command.output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            let code = output.status.code();
            assert!(matches!(code, Some(2 | 3)), "{code:?} {flags:?}: {told}");
            assert!(told.contains(&path), "{flags:?}: {told}");
            assert!(told.contains(said), "{flags:?}: {told}");
        }
    }
}
