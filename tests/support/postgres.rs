//! A PostgreSQL server of a test: Debian's package, in a temporary folder, on a Unix socket.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How long a server may take to accept connections.
const START: Duration = Duration::from_secs(60);

/// Stops the server and removes its folder when the test process ends, however it ends: then the
/// standard input of this shell is closed.
const KEEPER: &str = r#"
trap '' INT TERM
while read -r line; do :; done
[ -f "$1/data/postmaster.pid" ] && kill -QUIT "$(head -n 1 "$1/data/postmaster.pid")"
sleep 1
rm -rf "$1"
"#;

/// A server.
pub struct Postgres {
    bin: PathBuf,
    dir: PathBuf,
    /// The user that runs it: PostgreSQL refuses to run as root.
    user: Option<(u32, u32)>,
    options: &'static str,
    databases: AtomicUsize,
    server: Mutex<Option<Child>>,
    _keeper: Child,
}

/// Where PostgreSQL is installed; `None` if it is not.
pub fn installed() -> Option<PathBuf> {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut folders: Vec<_> = debian
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    folders.sort();
    folders.reverse();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path));
    let programs = ["initdb", "postgres", "psql"];
    let complete = |bin: &PathBuf| programs.iter().all(|program| bin.join(program).exists());
    folders.into_iter().find(complete)
}

/// The server that the tests of this process share. Panics if PostgreSQL is not installed: a test
/// that needs it would pass without having tested anything.
pub fn shared() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start("-c fsync=off"))
}

impl Postgres {
    /// A server of its own, with these options.
    pub fn start(options: &'static str) -> Self {
        let server = Self::folder(options);
        let initdb = server
            .command("initdb")
            .args([
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "-N",
                "-D",
            ])
            .arg(server.dir.join("data"))
            .output()
            .unwrap();
        assert!(
            initdb.status.success(),
            "{}",
            String::from_utf8_lossy(&initdb.stderr)
        );
        server.run();
        server
    }

    /// A server that is not there yet: its folder, and what removes it.
    fn folder(options: &'static str) -> Self {
        let bin = installed().expect("PostgreSQL is missing: apt-get install postgresql");
        // Short, because the path of a socket has at most 107 bytes.
        let name = format!("dgpg-{}", uuid());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).unwrap();
        let user = rustix::process::geteuid().is_root().then(unprivileged);
        if let Some((uid, gid)) = user {
            chown(&dir, Some(uid), Some(gid)).unwrap();
        }
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            bin,
            dir,
            user,
            options,
            databases: AtomicUsize::new(0),
            server: Mutex::new(None),
            _keeper: keeper,
        }
    }

    /// A server that follows this one. It is asynchronous, unless `synchronous_standby_names` of
    /// this one names `standby`.
    pub fn standby(&self) -> Self {
        let standby = Self::folder(self.options);
        let primary = format!(
            "host={} user=postgres application_name=standby",
            self.dir.display()
        );
        let mut copy = standby.command("pg_basebackup");
        copy.args(["-R", "-X", "stream", "-c", "fast", "-d", &primary, "-D"]);
        let copied = copy.arg(standby.dir.join("data")).output().unwrap();
        let errors = String::from_utf8_lossy(&copied.stderr);
        assert!(copied.status.success(), "{errors}");
        standby.run();
        standby
    }

    /// A standby of this server that has each commit before it is acknowledged.
    pub fn synchronous_standby(&self) -> Self {
        let standby = self.standby();
        let set = "ALTER SYSTEM SET synchronous_standby_names = 'standby'";
        self.sql("postgres", set).unwrap();
        self.sql("postgres", "SELECT pg_reload_conf()").unwrap();
        let until = Instant::now() + START;
        let state = "SELECT sync_state FROM pg_stat_replication";
        while self.sql("postgres", state).unwrap().trim() != "sync" {
            assert!(Instant::now() < until, "the standby does not follow");
            std::thread::sleep(Duration::from_millis(20));
        }
        standby
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        self.sql("postgres", "SELECT pg_promote()").unwrap();
    }

    /// Starts the server again after [`Postgres::kill`].
    pub fn run(&self) {
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.dir.join("data"))
            .arg("-k")
            .arg(&self.dir)
            .args(["-c", "listen_addresses=", "-c", "max_connections=200"])
            .args(self.options.split_whitespace())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.dir.join("log")).unwrap());
        *self.server.lock().unwrap() = Some(command.spawn().unwrap());
        let until = Instant::now() + START;
        while self.sql("postgres", "SELECT 1").is_err() {
            assert!(
                Instant::now() < until,
                "PostgreSQL did not start: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills the server, as a crash of its machine would.
    pub fn kill(&self) {
        let mut server = self.server.lock().unwrap();
        let pid = fs::read_to_string(self.dir.join("data/postmaster.pid")).unwrap();
        let pid = rustix::process::Pid::from_raw(pid.lines().next().unwrap().parse().unwrap());
        rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::QUIT).unwrap();
        if let Some(mut server) = server.take() {
            server.wait().unwrap();
        }
    }

    /// The URL of a new, empty database.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"))
            .unwrap();
        self.url(&name)
    }

    /// The URL of a database.
    pub fn url(&self, name: &str) -> String {
        format!(
            "postgres://postgres@localhost/{name}?host={}",
            self.dir.display()
        )
    }

    /// Runs SQL, and returns the rows as text.
    pub fn sql(&self, database: &str, text: &str) -> Result<String, String> {
        let output = self
            .command("psql")
            .args(["-U", "postgres", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h"])
            .arg(&self.dir)
            .args(["-d", database, "-c", text])
            .output()
            .unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// A program of PostgreSQL, run by its user.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(&self.dir).stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// The folder of the server.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        let mut text = String::new();
        let log = fs::File::open(self.dir.join("log"));
        let _ = log.map(|mut log| log.read_to_string(&mut text));
        text
    }
}

fn uuid() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..12].to_owned()
}

/// The user and group of `postgres`, or the ids that Linux reserves for users without privileges.
fn unprivileged() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let id = |name: &str| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    id("postgres").unwrap_or((65_534, 65_534))
}
