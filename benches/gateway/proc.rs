//! What the kernel tells about a process: its time on a core, its memory, its descriptors. On
//! Linux; elsewhere nothing is told, and the table says that it was not measured.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// What `/proc/PID/stat` counts in: the same on all Linux systems that are in use.
const TICKS_PER_SECOND: u64 = 100;

/// By how much the ticks may differ before the exact count is held to be short: both kinds of time
/// are coarse at the edges.
const TICKS_OF_DOUBT: u64 = 5;

/// How long each thread of a process has been on a core.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cpu {
    /// Nanoseconds by thread, from its `schedstat`.
    threads: BTreeMap<u32, u64>,
    /// The ticks of all threads, of those that ended too.
    ticks: u64,
}

impl Cpu {
    /// As it stands now.
    pub(crate) fn of(process: u32) -> Option<Self> {
        let mut threads = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{process}/task")).ok()? {
            let thread = thread.ok()?;
            let name = thread.file_name().to_str()?.parse().ok()?;
            // A thread may end between the two reads.
            let Ok(stat) = fs::read_to_string(thread.path().join("schedstat")) else {
                continue;
            };
            threads.insert(name, stat.split_whitespace().next()?.parse().ok()?);
        }
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name of the program is in brackets and may hold spaces; user and system time are the
        // 12th and 13th field after it.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace().skip(11);
        let mut tick = || fields.next()?.parse::<u64>().ok();
        Some(Self {
            threads,
            ticks: tick()? + tick()?,
        })
    }

    /// The time on a core since an earlier look. A thread that ended meanwhile takes its exact
    /// count with it: then the ticks hold, which are exact to a hundredth of a second.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let ticks = self.ticks.saturating_sub(before.ticks);
        let by_ticks = Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND);
        let exact = self.threads.iter().map(|(thread, now)| {
            let then = before.threads.get(thread).copied().unwrap_or_default();
            now.saturating_sub(then)
        });
        let exact = Duration::from_nanos(exact.sum());
        let doubt = Duration::from_millis(TICKS_OF_DOUBT * 1000 / TICKS_PER_SECOND);
        let lost = before
            .threads
            .keys()
            .any(|thread| !self.threads.contains_key(thread));
        if lost && by_ticks > exact + doubt {
            by_ticks
        } else {
            exact
        }
    }
}

/// The memory of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// What it has now, in bytes.
    pub(crate) resident: u64,
    /// The most that it had.
    pub(crate) peak: u64,
}

impl Memory {
    /// As it stands now.
    pub(crate) fn of(process: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        Some(Self {
            resident: kilobytes("VmRSS:")? * 1024,
            peak: kilobytes("VmHWM:")? * 1024,
        })
    }
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(process: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{process}/fd")).ok()?.count())
}

/// How many descriptors this process may have.
pub(crate) fn descriptor_limit() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The cores that this process may run on.
pub(crate) fn cores() -> Vec<usize> {
    let listed = || {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        let mut cores = Vec::new();
        for range in list.trim().split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            cores.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
        }
        Some(cores)
    };
    listed().unwrap_or_default()
}

/// What this machine is, in one line.
pub(crate) fn machine() -> String {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = text("/proc/cpuinfo");
    let processor = info.lines().find(|line| line.starts_with("model name"));
    let processor = processor.and_then(|line| Some(line.split_once(':')?.1.trim()));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = text("/proc/sys/kernel/osrelease");
    format!(
        "{}, {cores} cores, {} {} {}",
        processor.unwrap_or("a processor without a name"),
        std::env::consts::OS,
        kernel.trim(),
        std::env::consts::ARCH,
    )
}
