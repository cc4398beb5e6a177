//! How much memory this process may have: the machine's, or what its control groups leave of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What is taken for the machine's where that can't be read.
const UNKNOWN: u64 = 1 << 30;

/// A quarter of it, in bytes.
pub(super) fn a_quarter() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| total(&text)).unwrap_or(UNKNOWN);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = directories(&groups).into_iter().filter_map(|directory| {
        let limit = fs::read_to_string(directory.join("memory.max")).ok()?;
        limit.trim().parse::<u64>().ok()
    });
    limits.fold(machine, u64::min) / 4
}

/// `MemTotal` of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The control group of version 2 and all that it is in: the narrowest counts.
fn directories(cgroup: &str) -> Vec<PathBuf> {
    let Some(path) = cgroup.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return Vec::new();
    };
    let root = Path::new("/sys/fs/cgroup");
    let own = root.join(path);
    let all = own
        .ancestors()
        .take_while(|directory| directory.starts_with(root));
    all.map(Path::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_read_in_bytes() {
        let text = "MemTotal:        2048 kB\nMemFree:          1 kB\n";
        assert_eq!(total(text), Some(2 << 20));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert!(a_quarter() > 0);
    }

    #[test]
    fn every_group_around_the_process_is_asked() {
        let named = |path: &str| Path::new("/sys/fs/cgroup").join(path);
        assert_eq!(
            directories("1:cpu:/x\n0::/system.slice/pitcrew.service\n"),
            [
                named("system.slice/pitcrew.service"),
                named("system.slice"),
                Path::new("/sys/fs/cgroup").to_owned()
            ]
        );
        assert_eq!(directories("1:cpu:/x\n"), Vec::<PathBuf>::new());
    }
}
