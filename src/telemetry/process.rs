//! Process metrics: memory, file descriptors, CPU time.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};

/// Ticks per second in `/proc`: Linux reports 100 to programs, whatever its own clock rate.
const TICKS: f64 = 100.0;

/// Reads `/proc` at each scrape. Without `/proc`, all metrics stay 0.
pub(super) struct Process {
    /// CPU time.
    pub(super) cpu: Counter,
    /// Open file descriptors.
    pub(super) fds: Gauge,
    /// The limit of file descriptors.
    pub(super) max_fds: Gauge,
    /// Resident memory.
    pub(super) resident: Gauge,
    /// Virtual memory.
    pub(super) virtual_memory: Gauge,
    /// Start time.
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

    fn update(&self) {
        if let Ok(folder) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory that is being read.
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
        self.update_times();
    }

    fn update_times(&self) {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The second field is the name of the program, which may contain anything but ends with the
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
        self.update();
        self.parts()
            .iter()
            .flat_map(|part| part.collect())
            .collect()
    }
}

/// The number that follows a label at the start of a line.
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
