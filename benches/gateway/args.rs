//! The flags.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::row::Row;

/// What `--help` says.
pub(crate) const HELP: &str = "\
How much a call costs: dashgate in front of a DashScope of our own, beside a bare gateway that has
no features, in the same run on the same cores.

  cargo bench --bench gateway                              all rows, half an hour
  cargo bench --bench gateway -- --quick                   does it work? About half a minute
  cargo bench --bench gateway -- --rows sat,sse --rounds 7
  cargo bench --bench gateway -- --gateway old/dashgate    two builds side by side
  cargo bench --bench gateway -- --soak 60                 an hour of mixed load: does memory grow?

Flags:
  --rows NAMES      which rows, separated by commas; `--help` lists them below
  --rounds N        how often each row is measured; the table shows medians       [default: 5]
  --seconds S       how long one measurement takes                                [default: 2]
  --gateway PATH    another dashgate, measured beside the one of this build
  --streams N       how many streams the row `idle` holds   [default: what descriptors allow, at
                    most 9000]
  --file-mib N      how large the file of the row `upload` is                     [default: 256]
  --json PATH       where the numbers go      [default: target/bench/gateway.json]
  --svg PATH        where the picture goes    [default: target/bench/gateway.svg]
  --quick           one round, short, with small files: no number of it is worth quoting
  --soak MINUTES    no rows; streams, calls, sounds and cancels mixed, at half of what it can do

How to read the table:
  bare       the median of the bare gateway, and its least and most over the rounds
  A/A        the same bare gateway a second time, divided by the first: the noise of this run
  dashgate   the median of dashgate, least and most
  ratio      dashgate divided by bare. `~` stands where it is no further from 1 than A/A is, or
             where the rounds of both overlap: there is no difference that this run could see.
Processor time is that of the gateway's process alone, whatever the load and the fake take. Close
what else runs: the rows are right on a busy machine, and their noise is larger.

Rows:
";

/// What was asked for.
pub(crate) struct Options {
    pub(crate) rows: Vec<Row>,
    pub(crate) rounds: usize,
    pub(crate) length: Duration,
    pub(crate) other: Option<PathBuf>,
    pub(crate) streams: Option<usize>,
    pub(crate) file_bytes: u64,
    pub(crate) json: PathBuf,
    pub(crate) svg: PathBuf,
    pub(crate) quick: bool,
    pub(crate) soak: Option<Duration>,
}

/// What is to be done.
pub(crate) enum Todo {
    /// Measure.
    Measure(Options),
    /// Say what there is.
    Help,
    /// Be the bare gateway, the copy, or the fake.
    Be(String, Option<std::net::SocketAddr>),
}

impl Options {
    fn new(folder: &Path) -> Self {
        Self {
            rows: Row::ALL.to_vec(),
            rounds: 5,
            length: Duration::from_secs(2),
            other: None,
            streams: None,
            file_bytes: 256 << 20,
            json: folder.join("gateway.json"),
            svg: folder.join("gateway.svg"),
            quick: false,
            soak: None,
        }
    }

    fn make_quick(&mut self) {
        self.quick = true;
        self.rounds = 1;
        self.length = Duration::from_millis(300);
        self.file_bytes = 16 << 20;
        self.streams = Some(200);
    }

    /// What `cargo test --benches` runs: whether all works, in some seconds.
    fn smoke(folder: &Path) -> Self {
        let mut options = Self::new(folder);
        options.make_quick();
        options.length = Duration::from_millis(50);
        options.file_bytes = 2 << 20;
        options.json = folder.join("smoke.json");
        options.svg = folder.join("smoke.svg");
        options
    }
}

/// Reads the flags. Cargo says `--bench` when numbers are wanted, and nothing when tests run.
pub(crate) fn parse(arguments: impl Iterator<Item = String>, folder: &Path) -> Result<Todo> {
    let all: Vec<String> = arguments.collect();
    if all.is_empty() {
        return Ok(Todo::Measure(Options::smoke(folder)));
    }
    let mut options = Options::new(folder);
    if all.iter().any(|flag| flag == "--quick") {
        options.make_quick();
    }
    let mut rest = all.into_iter();
    while let Some(flag) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--bench" | "--quick" => {}
            "--help" | "-h" => return Ok(Todo::Help),
            "--rows" => {
                let names = value()?;
                let rows = names.split(',').map(Row::named);
                options.rows = rows.collect::<Result<_>>()?;
            }
            "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
            "--seconds" => options.length = Duration::try_from_secs_f64(value()?.parse()?)?,
            "--gateway" => options.other = Some(PathBuf::from(value()?)),
            "--streams" => options.streams = Some(value()?.parse()?),
            "--file-mib" => options.file_bytes = value()?.parse::<u64>()? << 20,
            "--json" => options.json = value()?.into(),
            "--svg" => options.svg = value()?.into(),
            "--soak" => {
                let minutes: f64 = value()?.parse()?;
                options.soak = Some(Duration::try_from_secs_f64(minutes * 60.0)?);
            }
            hidden if hidden.starts_with("__") => {
                let address = rest.next().map(|address| address.parse());
                return Ok(Todo::Be(flag, address.transpose()?));
            }
            _ => return Err(format!("there is no flag {flag}; --help tells which are").into()),
        }
    }
    Ok(Todo::Measure(options))
}
