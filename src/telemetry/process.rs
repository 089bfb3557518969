//! What the system says of this process: memory, descriptors, time.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};

/// The ticks of a second in `/proc`. Linux shows programs 100, whatever its own clock does.
const TICKS: f64 = 100.0;

/// Reads `/proc` at each scrape. Where there is none, all stay 0.
pub(super) struct Process {
    /// Processor time.
    pub(super) cpu: Counter,
    /// Open descriptors.
    pub(super) fds: Gauge,
    /// The most of them.
    pub(super) max_fds: Gauge,
    /// Resident memory.
    pub(super) resident: Gauge,
    /// Mapped memory.
    pub(super) virtual_memory: Gauge,
    /// When it began.
    pub(super) start: Gauge,
}

impl Process {
    fn parts(&self) -> [&dyn Collector; 6] {
        [
            &self.cpu,
            &self.fds,
            &self.max_fds,
            &self.resident,
            &self.virtual_memory,
            &self.start,
        ]
    }

    fn look(&self) {
        if let Ok(folder) = fs::read_dir("/proc/self/fd") {
            // One of them is the folder that is being read.
            self.fds.set(number(folder.count().saturating_sub(1)));
        }
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        if let Some(limit) = after(&limits, "Max open files") {
            self.max_fds.set(limit);
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(kibibytes) = after(&status, "VmRSS:") {
            self.resident.set(kibibytes * 1024.0);
        }
        if let Some(kibibytes) = after(&status, "VmSize:") {
            self.virtual_memory.set(kibibytes * 1024.0);
        }
        self.look_at_times();
    }

    fn look_at_times(&self) {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The second field is the name of the program, which may hold anything but ends with the
        // last parenthesis. The field after it is the third.
        let Some((_, rest)) = stat.rsplit_once(") ") else {
            return;
        };
        let field = |at: usize| rest.split(' ').nth(at - 3)?.parse::<f64>().ok();
        if let (Some(user), Some(system)) = (field(14), field(15)) {
            let seconds = (user + system) / TICKS;
            self.cpu.inc_by((seconds - self.cpu.get()).max(0.0));
        }
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        if let (Some(boot), Some(ticks)) = (after(&boot, "btime"), field(22)) {
            self.start.set(boot + ticks / TICKS);
        }
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().iter().flat_map(|part| part.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.look();
        self.parts()
            .iter()
            .flat_map(|part| part.collect())
            .collect()
    }
}

/// The number that follows a word at the start of a line.
fn after(text: &str, word: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(word))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a count of descriptors is far below 2^52"
)]
fn number(count: usize) -> f64 {
    count as f64
}
