//! `dashgate ask` as a person runs it: the real program, with the gateway and the embedded
//! DashScope inside.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name);
    path.to_str().unwrap().to_owned()
}

/// A folder of this test, which is also the person's own.
fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("dashgate-command-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs `dashgate` with this on stdin, and nothing of this machine's settings.
fn dashgate(arguments: &[&str], stdin: &[u8]) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dashgate"))
        .args(arguments)
        .env_clear()
        .env("HOME", folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it has read all.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn options_of_the_schema_are_sent() {
    let (code, out, _) = dashgate(&["ask", "--option", "max_tokens=3", "--json", "hello"], b"");
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("\"finish_reason\":\"length\""), "{out}");
    let (code, _, err) = dashgate(&["ask", "--option", "temperatur=1", "hello"], b"");
    assert_eq!(code, Some(2));
    assert!(err.contains("did you mean temperature"), "{err}");
}

#[test]
fn speech_is_written_to_a_file() {
    let path = folder().join("hi.wav");
    let file = path.to_str().unwrap();
    for (model, text) in [("qwen3-tts-flash", "hello"), ("qwen3-omni-flash", "hello")] {
        let voice = ["-m", model, "--voice", "Cherry", "-o", file, text];
        let (code, _, err) = dashgate(&[&["ask"], &voice[..]].concat(), b"");
        assert_eq!(code, Some(0), "{model}: {err}");
        assert!(err.contains("bytes of audio in"), "{model}: {err}");
        let written = std::fs::read(&path).unwrap();
        assert!(
            written.starts_with(b"RIFF") && written.len() > 10_000,
            "{model}"
        );
        // It is heard again as what it is.
        let (code, out, err) = dashgate(&["ask", "--audio", file, "What?"], b"");
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains("24000 Hz, 1 channel"), "{out}");
    }
}

#[test]
fn audio_comes_from_stdin_a_url_and_the_persons_own_folder() {
    let tone = std::fs::read(example("tone.wav")).unwrap();
    let (code, out, err) = dashgate(&["ask", "--audio", "-", "What?"], &tone);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("Audio: wave (pcm_s16le)"), "{out}");
    let (code, _, err) = dashgate(&["ask", "--audio", "-", "What?"], b"<html>not found</html>");
    assert_eq!(code, Some(2));
    assert!(err.contains("stdin is text/html, not audio"), "{err}");
    let url = "HTTPS://dashscope.oss-cn-beijing.aliyuncs.com/audios/2channel_16K.wav";
    let (code, out, err) = dashgate(&["ask", "--audio", url, "How long?"], b"");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("16000 Hz, 2 channels"), "{out}");
    std::fs::write(folder().join("at home.wav"), &tone).unwrap();
    let (code, out, err) = dashgate(&["ask", "--audio", "~/at home.wav", "What?"], b"");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("Audio: wave"), "{out}");
}

#[test]
fn a_mistake_on_the_command_line_gets_a_suggestion() {
    let (tone, sentence) = (example("tone.wav"), example("sentence-en.wav"));
    for (arguments, code, words) in [
        (vec!["aks", "hello"], 2, "'ask'".to_owned()),
        (
            vec!["ask", "--timeout", "0s", "hello"],
            2,
            "longer than 0s".to_owned(),
        ),
        (
            vec!["ask", "--audio", &tone, &sentence, "What?"],
            2,
            format!("dashgate ask --audio {tone} --audio {sentence} \"What?\""),
        ),
        (
            vec!["ask", "-m", "qwen-plus", "hello"],
            1,
            "`-m qwen3.6-plus`".to_owned(),
        ),
        (
            vec!["ask", "-m", "qwen-plus", "--audio", &tone, "hello"],
            1,
            "`-m qwen-audio-turbo`".to_owned(),
        ),
    ] {
        let (found, out, err) = dashgate(&arguments, b"");
        assert_eq!(found, Some(code), "{arguments:?}: {out} {err}");
        assert!(err.contains(&words), "{words} in {err}");
    }
}

#[test]
fn the_default_models_are_settings_and_are_served() {
    let tone = example("tone.wav");
    for (arguments, model) in [
        (vec!["ask", "hello"], "[qwen3.6-plus]"),
        (vec!["ask", "--audio", &tone, "What?"], "[qwen-audio-turbo]"),
        (
            vec![
                "ask",
                "--set",
                "client.default_models.text=kimi-k2.6",
                "hello",
            ],
            "[kimi-k2.6]",
        ),
    ] {
        let (code, _, err) = dashgate(&arguments, b"");
        assert_eq!(code, Some(0), "{arguments:?}: {err}");
        assert!(err.contains(model), "{model} in {err}");
    }
    let (code, _, err) = dashgate(&["ask", "--audio", &tone], b"");
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("[qwen3-asr-flash]"), "{err}");
}

#[test]
fn audio_comes_from_a_named_pipe_too() {
    let line = r#"exec "$0" ask --no-stream --audio <(cat "$1") hello"#;
    let output = Command::new("bash")
        .args(["-c", line, env!("CARGO_BIN_EXE_dashgate")])
        .arg(example("sentence-en.wav"))
        .env("HOME", folder())
        .env_remove("DASHSCOPE_API_KEY")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{problem}");
    assert!(text.contains("3.79 s, 16000 Hz"), "{text}");
}
