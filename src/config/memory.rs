//! The limit of the memory that calls may hold: a setting, or a share of the available memory.

use std::path::Path;

use super::environment::Environment;
use super::setting_reader::SettingReader;

/// The limit of the memory that calls may hold.
#[derive(Clone, Debug)]
pub struct Memory {
    /// `memory.limit`, in bytes.
    pub limit: usize,
    /// What the default was derived from.
    pub source: &'static str,
}

/// The default is the available memory divided by this. The rest is for the program, its
/// connections, what is not accounted for, and free memory kept by the allocator.
const DIVISOR: usize = 2;

/// The lowest default, at which a small container still accepts requests of the largest size.
const LEAST: usize = 64 << 20;

/// The default if the system reports no memory size.
const UNKNOWN: usize = 512 << 20;

/// Mount point of cgroup v2.
const CGROUP_V2: &str = "/sys/fs/cgroup";

/// Mount point of the memory controller of cgroup v1.
const CGROUP_V1: &str = "/sys/fs/cgroup/memory";

/// Reads the section.
pub(crate) fn memory(reader: &mut SettingReader<'_>, environment: &dyn Environment) -> Memory {
    match reader.size_if_set("memory.limit") {
        Some(limit) => Memory { limit, source: "" },
        None => default(environment),
    }
}

fn default(environment: &dyn Environment) -> Memory {
    let sources = [
        (cgroup(environment), "half of the control group's memory"),
        (address_space(environment), "half of the address space"),
        (machine(environment), "half of the machine's memory"),
    ];
    let known = sources
        .into_iter()
        .filter_map(|(bytes, source)| Some((bytes?, source)));
    match known.min_by_key(|(bytes, _)| *bytes) {
        Some((bytes, source)) => Memory {
            // Whole mebibytes, for readability.
            limit: (bytes / DIVISOR).max(LEAST) >> 20 << 20,
            source,
        },
        None => Memory {
            limit: UNKNOWN,
            source: "default: the system reports no memory limit",
        },
    }
}

/// The lowest limit of the control groups of this process.
fn cgroup(environment: &dyn Environment) -> Option<usize> {
    let own = environment.system(Path::new("/proc/self/cgroup")).ok()?;
    let groups = own.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        match controllers {
            "" => Some((CGROUP_V2, path, "memory.max")),
            _ => controllers
                .split(',')
                .any(|name| name == "memory")
                .then_some((CGROUP_V1, path, "memory.limit_in_bytes")),
        }
    });
    groups
        .flat_map(|(mount, path, file)| {
            // Every parent group has a limit too. In a container the path may be that of the host
            // and not exist; then the mount point is the container's own group.
            let mut path = path.trim_matches('/');
            let mut limits = Vec::new();
            loop {
                let file = Path::new(mount).join(path).join(file);
                limits.extend(
                    environment
                        .system(&file)
                        .ok()
                        .and_then(|text| number(&text)),
                );
                if path.is_empty() {
                    return limits;
                }
                path = path.rsplit_once('/').map_or("", |(above, _)| above);
            }
        })
        .min()
}

/// The limit of the address space.
fn address_space(environment: &dyn Environment) -> Option<usize> {
    let limits = environment.system(Path::new("/proc/self/limits")).ok()?;
    let mut lines = limits.lines();
    number(lines.find_map(|line| line.strip_prefix("Max address space"))?)
}

/// The physical memory.
fn machine(environment: &dyn Environment) -> Option<usize> {
    let text = environment.system(Path::new("/proc/meminfo")).ok()?;
    let kibibytes = number(
        text.lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?,
    )?;
    kibibytes.checked_mul(1024)
}

/// The leading number of a text. `None` for `max` or `unlimited`.
fn number(text: &str) -> Option<usize> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use crate::config::environment::fake::FakeEnvironment;
    use crate::config::layers::Flags;
    use crate::config::load;

    fn limit(environment: &FakeEnvironment) -> (usize, &'static str) {
        let memory = load(&Flags::default(), environment).unwrap().memory;
        (memory.limit >> 20, memory.source)
    }

    #[test]
    fn the_default_is_half_of_the_lowest_memory_limit() {
        let machine =
            || FakeEnvironment::default().file("/proc/meminfo", "MemTotal:  2097152 kB\nx: 1\n");
        let group = |path: &str| machine().file("/proc/self/cgroup", path);
        let (control, whole) = (
            "half of the control group's memory",
            "half of the machine's memory",
        );
        assert_eq!(limit(&FakeEnvironment::default()).0, 512);
        assert_eq!(limit(&machine()), (1024, whole));
        let inside = group("0::/\n").file("/sys/fs/cgroup/memory.max", "536870912\n");
        assert_eq!(limit(&inside), (256, control));
        let none = group("0::/\n").file("/sys/fs/cgroup/memory.max", "max\n");
        assert_eq!(limit(&none), (1024, whole));
        let above = group("0::/a/b\n")
            .file("/sys/fs/cgroup/a/b/memory.max", "max\n")
            .file("/sys/fs/cgroup/a/memory.max", "1073741824\n");
        assert_eq!(limit(&above), (512, control));
        let first = group("3:cpu:/\n4:memory:/c/d\n")
            .file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456");
        assert_eq!(limit(&first), (128, control));
        let unlimited = group("4:memory:/\n").file(
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712",
        );
        assert_eq!(limit(&unlimited), (1024, whole));
        let tiny = group("0::/\n").file("/sys/fs/cgroup/memory.max", "33554432\n");
        assert_eq!(limit(&tiny), (64, control));
        let space = machine().file(
            "/proc/self/limits",
            "Max address space         1073741824           1073741824           bytes\n",
        );
        assert_eq!(limit(&space), (512, "half of the address space"));
    }

    #[test]
    fn a_configured_limit_applies() {
        let flags = Flags::default().with("--set", "memory.limit", Some("96MiB"));
        let settings = load(&flags, &FakeEnvironment::default()).unwrap();
        assert_eq!(settings.memory.limit, 96 << 20);
        assert!(
            settings
                .effective
                .contains("memory.limit = 96MiB  # flag --set")
        );
        let settings = load(&Flags::default(), &FakeEnvironment::default()).unwrap();
        let shown = "memory.limit = 512MiB  # default: the system reports no memory limit";
        assert!(settings.effective.contains(shown), "{}", settings.effective);
        let small = Flags::default().with("--set", "memory.limit", Some("1MiB"));
        assert!(load(&small, &FakeEnvironment::default()).is_err());
    }
}
