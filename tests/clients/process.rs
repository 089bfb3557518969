//! Other programs: started, fed, read and ended within a bounded time, with all that they started.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

/// The most that is kept of what a program says: two answers of 5 MB in base64, several times.
pub(crate) const OUTPUT_LIMIT: u64 = 128 * 1024 * 1024;

/// What a program said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Its standard output.
    pub(crate) out: String,
    /// Its standard error.
    pub(crate) err: String,
}

impl Said {
    /// All of it, for the person who has to fix what failed.
    pub(crate) fn told(&self) -> String {
        format!("exit code {:?}\n{}\n{}", self.code, self.out, self.err)
    }
}

/// Runs a program to its end, and ends it if that takes longer than `limit`.
pub(crate) fn ask(command: &mut Command, input: &[u8], limit: Duration) -> Result<Said, String> {
    let shown = shown(command);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command
        .spawn()
        .map_err(|error| format!("{shown}: {error}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        let input = input.to_vec();
        // A program that ends without reading all is judged by what it says.
        thread::spawn(move || pipe.write_all(&input));
    }
    // Both pipes are closed when it ends, so waiting for them needs no clock but this one.
    let (sender, receiver) = mpsc::sync_channel(2);
    read(child.stdout.take(), true, &sender);
    read(child.stderr.take(), false, &sender);
    drop(sender);
    let (mut out, mut err) = (String::new(), String::new());
    loop {
        match receiver.recv_timeout(limit) {
            Ok((true, text)) => out = text,
            Ok((false, text)) => err = text,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                end(&mut child);
                // Their pipes are closed now, so what they said so far comes at once.
                for (is_out, text) in receiver {
                    *(if is_out { &mut out } else { &mut err }) = text;
                }
                return Err(format!("{shown}: not done after {limit:?}\n{out}\n{err}"));
            }
        }
    }
    let status = child.wait().map_err(|error| format!("{shown}: {error}"))?;
    Ok(Said {
        code: status.code(),
        out,
        err,
    })
}

/// Ends a program that leads a process group, and all of that group, and waits until it is gone.
pub(crate) fn end(child: &mut Child) {
    let group = format!("kill -KILL -- -{}", child.id());
    let shell = Command::new("sh")
        .args(["-c", &group])
        .stderr(Stdio::null())
        .status();
    // That it has ended on its own is the one way in which these fail.
    drop(shell);
    let _gone = child.kill();
    let _status = child.wait();
}

fn shown(command: &Command) -> String {
    let words = command.get_args().map(|word| word.to_string_lossy());
    let program = command.get_program().to_string_lossy();
    let words: Vec<_> = std::iter::once(program).chain(words).collect();
    words.join(" ")
}

fn read<R>(pipe: Option<R>, is_out: bool, sender: &SyncSender<(bool, String)>)
where
    R: Read + Send + 'static,
{
    let sender = sender.clone();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What was read before a fault is still worth showing.
            let _ended = pipe.take(OUTPUT_LIMIT).read_to_end(&mut bytes);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // The other end is gone only when the time was up.
        let _heard = sender.send((is_out, text));
    });
}
