//! The real program, whose log and limits are looked at from outside.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The program, until it is dropped.
pub struct Program {
    child: Child,
    /// Where it takes calls.
    pub address: String,
    /// Where its admin port is.
    pub admin: String,
    log: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Program {
    /// Starts it with an admin port and these arguments, in a shell that first runs `before`.
    pub fn start(before: &str, arguments: &[&str]) -> Self {
        let script = format!("{before} exec \"$0\" \"$@\"");
        let mut child = Command::new("/bin/sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_dashgate")])
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(arguments)
            .env_clear()
            .env("DASHSCOPE_API_KEY", "sk-operators-canary")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = |prefix: &str| {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line.trim().strip_prefix(prefix).unwrap().to_owned()
        };
        let (address, admin) = (line("listening on "), line("admin on http://"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&log);
        let mut stderr = child.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 64 * 1024];
            while let Ok(count) = stderr.read(&mut buffer) {
                if count == 0 {
                    return;
                }
                written.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self {
            child,
            address,
            admin,
            log,
            reader: Some(reader),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it ever had resident, in bytes.
    #[cfg(target_os = "linux")]
    pub fn peak(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
        kibibytes.parse::<usize>().unwrap() * 1024
    }

    /// Stops it in order, and gives its whole log.
    pub fn stop(mut self) -> String {
        let id = self.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(sent.success() && self.child.wait().unwrap().success());
        self.reader.take().unwrap().join().unwrap();
        self.log()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().unwrap()).into_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // That it has ended on its own is the one way in which these fail.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
