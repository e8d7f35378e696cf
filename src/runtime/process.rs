//! The process: the limit on open files, and the memory in use.

use std::fs;

use rustix::process::{Resource, getrlimit, setrlimit};

/// The most files that the process may open. Raises the soft limit to the hard one.
pub fn max_open_files() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum;
    limit.current = hard;
    if setrlimit(Resource::Nofile, limit).is_err() {
        return getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    }
    hard.unwrap_or(u64::MAX)
}

/// The resident memory in bytes: `VmRSS` of `/proc/self/status` (proc(5)), in KiB despite the unit `kB`. `None` on
/// systems without `/proc`.
pub fn resident_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
