//! `dashgate speak` as it is run: the real program, with a gateway and the emulator inside.

use std::io::{Read as _, Write as _};

use super::command_live::{HEADER, command, dashgate, number, path};

#[test]
fn text_is_spoken_in_the_format_of_the_file_name() {
    let wave = path("hi.wav");
    let (code, out, err) = dashgate(
        &["speak", "-o", wave.to_str().unwrap(), "hello", "there"],
        b"",
    );
    assert_eq!((code, out.len()), (Some(0), 0), "{err}");
    let written = std::fs::read(&wave).unwrap();
    assert_eq!(number(&written, 40), written.len() - HEADER);
    assert!(
        err.contains("[qwen3-tts-flash-realtime] 11 characters"),
        "{err}"
    );
    let raw = path("hi.pcm");
    let (code, _, err) = dashgate(&["speak", "-o", raw.to_str().unwrap(), "hello there"], b"");
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(std::fs::read(&raw).unwrap().len(), written.len() - HEADER);
    let mp3 = path("hi.mp3");
    let (code, _, err) = dashgate(&["speak", "-o", mp3.to_str().unwrap(), "hello"], b"");
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.contains("the emulator encodes pcm and wav only"),
        "{err}"
    );
    assert!(!mp3.exists());
    let (code, _, err) = dashgate(&["speak", "-o", "hi.doc", "hello"], b"");
    assert_eq!(code, Some(2));
    assert!(err.contains("--format wav"), "{err}");
    let (code, _, err) = dashgate(&["speak", "-o", raw.to_str().unwrap(), "-"], b"\n");
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("there is no text"), "{err}");
}

#[test]
fn lines_on_stdin_are_spoken_while_they_are_written() {
    let mut child = command(&["speak", "-o", "-", "-"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdin.write_all("Hello. ".repeat(20).as_bytes()).unwrap();
    // The header and the first audio come before the text has ended.
    let mut head = [0; HEADER + 4_800];
    stdout.read_exact(&mut head).unwrap();
    assert_eq!(
        (&head[..4], number(&head, 40)),
        (&b"RIFF"[..], u32::MAX as usize)
    );
    stdin.write_all(b"And more.\n").unwrap();
    drop(stdin);
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    assert!(rest.len() > 4_800);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
