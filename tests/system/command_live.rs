//! `dashgate live` as it is run: the real program, with a gateway and the emulator inside.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The header of a WAVE file.
pub const HEADER: usize = 44;

/// The path of an example.
pub fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name);
    path.to_str().unwrap().to_owned()
}

/// A path in a folder of this test.
pub fn path(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("dashgate-live-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    let _ = std::fs::remove_file(&path);
    path
}

/// `dashgate` with nothing of the settings of this machine.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dashgate"));
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs `dashgate` with this on stdin. Returns the exit code, stdout and stderr.
pub fn dashgate(arguments: &[&str], stdin: &[u8]) -> (Option<i32>, Vec<u8>, String) {
    let mut child = command(arguments).spawn().unwrap();
    // It may end before it has read all.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    (status.code(), stdout, String::from_utf8(stderr).unwrap())
}

/// Output as text.
pub fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// A number in a WAVE header.
pub fn number(file: &[u8], at: usize) -> usize {
    u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize
}

/// The events of `--json`.
fn events(out: &str) -> Vec<Value> {
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The bytes of audio in these events.
fn audio_bytes(events: &[Value]) -> u64 {
    let bytes = |event: &Value| event["response_delta"]["audio_bytes"].as_u64();
    events.iter().filter_map(bytes).sum()
}

#[test]
fn a_file_is_answered_with_transcripts_and_a_wave_file() {
    let sentence = example("sentence-en.wav");
    let file = path("answer.wav");
    let name = file.to_str().unwrap();
    let (code, out, err) = dashgate(&["live", "--audio", &sentence, "--save", name], b"");
    assert_eq!(code, Some(0), "{err}");
    let out = text(out);
    let lines: Vec<_> = out.lines().collect();
    let [user, model] = lines[..] else {
        panic!("{out}");
    };
    assert!(
        // Of 3.79 seconds; the silence that the gateway adds is no speech.
        user.starts_with("You: 3.4 seconds of speech"),
        "{out}"
    );
    assert!(model.starts_with("Model: I heard"), "{out}");
    let written = std::fs::read(&file).unwrap();
    assert_eq!(&written[..4], b"RIFF");
    assert_eq!(number(&written, 24), 24_000);
    assert_eq!(number(&written, 40), written.len() - HEADER);
    assert_eq!(number(&written, 4), written.len() - 8);
    let line = format!("{} bytes of audio in {name}", written.len() - HEADER);
    assert!(err.contains(&line), "{line} in {err}");
    let seconds = (written.len() - HEADER) as f64 / 48_000.0;
    assert!(
        err.contains(&format!("{seconds:.2} s of audio out")),
        "{err}"
    );
    assert!(err.contains("[qwen3-omni-flash-realtime]"), "{err}");
    assert!(err.contains("1 response; 3.79 s of audio in"), "{err}");
    assert!(err.contains("embedded emulator"), "{err}");
}

#[test]
fn events_are_one_json_object_per_line() {
    let sentence = example("sentence-en.wav");
    let (code, out, err) = dashgate(&["live", "--audio", &sentence, "--json"], b"");
    assert_eq!(code, Some(0), "{err}");
    let out = text(out);
    let list = events(&out);
    for (at, event) in list.iter().enumerate() {
        assert_eq!(event["sequence"], at + 1, "{event}");
    }
    let started = &list[0]["session_started"];
    assert_eq!(started["model"], "qwen3-omni-flash-realtime");
    assert!(!out.contains("resume_token"));
    assert!(audio_bytes(&list) > 48_000);
    assert!(
        list.iter()
            .all(|event| event["response_delta"].get("audio").is_none())
    );
    let transcript = |event: &&Value| event["input_transcript"]["final"] == true;
    assert!(list.iter().any(|event| transcript(&event)), "{out}");
    let ended = &list.last().unwrap()["session_ended"];
    assert_eq!(ended["responses"], 1, "{ended}");
    let arguments = ["live", "--audio", &sentence, "--json", "--json-audio"];
    let (code, out, _) = dashgate(&arguments, b"");
    assert_eq!(code, Some(0));
    let list = events(&text(out));
    let encoded = |event: &Value| event["response_delta"]["audio"].as_str().map(str::len);
    let encoded: usize = list.iter().filter_map(encoded).sum();
    assert!(encoded as u64 > audio_bytes(&list), "{encoded}");
}

#[test]
fn a_pipe_is_sent_as_it_comes_and_stdout_has_the_audio() {
    let wave = std::fs::read(example("sentence-en.wav")).unwrap();
    for (flags, stdin) in [
        (&[][..], &wave[..]),
        (&["--rate", "16000"], &wave[HEADER..]),
    ] {
        let arguments = [&["live", "--audio", "-", "--output", "-"], flags].concat();
        let (code, out, err) = dashgate(&arguments, stdin);
        assert_eq!(code, Some(0), "{err}");
        assert!(out.len() > 48_000 && out.len() % 2 == 0, "{}", out.len());
        assert!(!out.starts_with(b"RIFF"));
        assert!(
            err.contains("\nYou: ") && err.contains("\nModel: I heard"),
            "{err}"
        );
    }
    let file = path("answer.pcm");
    let name = file.to_str().unwrap();
    let arguments = ["live", "--audio", "-", "--output", name, "--no-transcript"];
    let (code, out, err) = dashgate(&arguments, &wave);
    assert_eq!(code, Some(0), "{err}");
    assert!(!text(out).contains("You: "));
    assert!(std::fs::read(&file).unwrap().len() > 48_000);
}

#[test]
fn a_manual_turn_ends_with_the_audio_and_is_answered_with_text() {
    let sentence = example("sentence-en.wav");
    let arguments = ["live", "--audio", &sentence, "--manual", "--text"];
    let (code, out, err) = dashgate(&arguments, b"");
    assert_eq!(code, Some(0), "{err}");
    let out = text(out);
    assert!(out.contains("Model: I heard 3.8 seconds"), "{out}");
    assert!(!err.contains("of audio out"), "{err}");
}

#[test]
fn a_closed_stdout_ends_the_session_without_an_error() {
    let sentence = example("sentence-en.wav");
    for flags in [&["--output", "-"][..], &["--json"], &[]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let arguments = [&["live", "--audio", &sentence], flags].concat();
        let output = command(&arguments).stdout(writer).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{flags:?}: {err}");
        assert!(!err.contains("error"), "{flags:?}: {err}");
    }
}

#[test]
fn what_cannot_be_sent_or_written_is_refused_before_the_call() {
    let sentence = example("sentence-en.wav");
    let readme = example("README.md");
    let empty = path("empty.wav");
    std::fs::write(&empty, b"").unwrap();
    let empty = empty.to_str().unwrap();
    let whole_readme = format!("{}/README.zh-CN.md", env!("CARGO_MANIFEST_DIR"));
    let other = path("samples.bin");
    std::fs::write(&other, [1, 0, 255, 200]).unwrap();
    let other = other.to_str().unwrap();
    let folder = std::env::temp_dir();
    let folder = folder.to_str().unwrap();
    for (arguments, words) in [
        (vec!["--audio", "no-such.wav"], "cannot read no-such.wav"),
        (vec!["--audio", empty], "is empty"),
        (vec!["--audio", &readme], "ffmpeg -i FILE"),
        (vec!["--audio", &whole_readme], "is text"),
        (vec!["--audio", &whole_readme, "--rate", "16000"], "is text"),
        (vec!["--audio", other], "--rate 16000"),
        (vec!["--audio", folder], "is a folder"),
        (
            vec!["--audio", &sentence, "--rate", "8000"],
            "--rate is for raw samples",
        ),
        (
            vec!["--audio", &sentence, "--save", "a.mp3"],
            "--save a.wav",
        ),
        (
            vec!["--audio", &sentence, "--save", "no/such/a.wav"],
            "cannot write no/such/a.wav",
        ),
        (
            vec!["--audio", &sentence, "--output", "-", "--json"],
            "both write to stdout",
        ),
        (
            vec!["--audio", &sentence, "--text", "--voice"],
            "a value is required",
        ),
    ] {
        let (code, _, err) = dashgate(&[&["live"], &arguments[..]].concat(), b"");
        assert_eq!(code, Some(2), "{arguments:?}: {err}");
        // With --json, the failure is an object on stdout.
        if !arguments.contains(&"--json") {
            assert!(err.contains(words), "{words} in {err}");
        }
    }
}

#[test]
fn a_gateway_that_is_not_there_is_reported_with_its_code() {
    let sentence = example("sentence-en.wav");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let file = path("none.wav");
    let name = file.to_str().unwrap();
    let live = [
        "live",
        "--audio",
        &sentence,
        "--save",
        name,
        "--gateway",
        &address,
    ];
    let (code, _, err) = dashgate(&live, b"");
    assert_eq!(code, Some(3), "{err}");
    assert!(err.contains(&address), "{err}");
    assert!(
        err.contains("`dashgate live` runs a gateway of its own"),
        "{err}"
    );
    assert!(!file.exists());
    let (code, out, _) = dashgate(&[&live[..], &["--json"]].concat(), b"");
    assert_eq!(code, Some(3));
    let [failure] = &events(&text(out))[..] else {
        panic!("one object");
    };
    assert_eq!(failure["error"]["code"], "UNREACHABLE");
    let speak = ["speak", "-o", name, "--server", &address, "hello"];
    let ask = ["ask", "--server", &address, "hello"];
    let models = ["models", "--server", &address];
    for arguments in [&speak[..], &ask, &models] {
        let (code, _, err) = dashgate(arguments, b"");
        assert_eq!(code, Some(3));
        let own = format!("`dashgate {}` runs a gateway of its own", arguments[0]);
        assert!(err.contains(&own), "{own} in {err}");
    }
    assert!(!file.exists());
    // It has no gateway of its own.
    let (code, _, err) = dashgate(&["health", "--server", &address], b"");
    assert_eq!(code, Some(3));
    assert!(!err.contains("runs a gateway"), "{err}");
}

#[test]
fn a_refusal_of_the_gateway_names_the_field() {
    let sentence = example("sentence-en.wav");
    let arguments = [
        "live",
        "--audio",
        &sentence,
        "-m",
        "qwen3-tts-flash-realtime",
    ];
    let (code, _, err) = dashgate(&arguments, b"");
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("reason: "), "{err}");
}
