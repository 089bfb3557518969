//! Other programs: started, read and ended within a bounded time.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

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

/// Runs a program to its end, and ends it if that takes longer than `limit`.
pub(crate) fn ask(command: &mut Command, limit: Duration) -> Result<Said, String> {
    let shown = format!("{command:?}");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|error| format!("{shown}: {error}"))?;
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

/// Ends a program and waits until it is gone.
pub(crate) fn end(child: &mut Child) {
    // That it has ended on its own is the one way in which these fail.
    let _gone = child.kill();
    let _status = child.wait();
}

fn read<R>(pipe: Option<R>, is_out: bool, sender: &SyncSender<(bool, String)>)
where
    R: Read + Send + 'static,
{
    let sender = sender.clone();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before a fault is still worth showing.
            let _ended = pipe.read_to_end(&mut bytes);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // The other end is gone only when the time was up.
        let _heard = sender.send((is_out, text));
    });
}
