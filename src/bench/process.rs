//! Processor time and memory of the gateway, read from `/proc` if it runs on this machine; and limits of
//! the machine that concern a bench.

use std::fs;
use std::net::SocketAddr;

/// Clock ticks per second in `/proc/PID/stat`: always 100 for programs, whatever the kernel uses.
const TICKS_PER_S: f64 = 100.0;

/// A process on this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    pid: u32,
}

/// The resources that a process has used, at one time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// Processor time since the start, in seconds, in user and kernel mode.
    cpu_s: f64,
    /// Proportional set size, in KiB: the process's own memory, and a share of the shared memory.
    pub(super) pss_kib: f64,
}

impl Usage {
    /// Processor time used since `before`, in seconds.
    pub(super) fn cpu_s_since(self, before: Usage) -> f64 {
        self.cpu_s - before.cpu_s
    }

    /// Processor time used since `before`, in microseconds.
    pub(super) fn cpu_us_since(self, before: Usage) -> f64 {
        self.cpu_s_since(before) * 1e6
    }

    /// Growth of memory since `before`, in KiB; negative if it shrank.
    pub(super) fn pss_kib_since(self, before: Usage) -> f64 {
        self.pss_kib - before.pss_kib
    }

    /// Growth of memory since `before`, in bytes; negative if it shrank.
    pub(super) fn pss_bytes_since(self, before: Usage) -> f64 {
        self.pss_kib_since(before) * 1_024.0
    }
}

impl Process {
    /// Finds the process that listens on `address`.
    ///
    /// # Errors
    ///
    /// A clause with the reason why the process cannot be found or measured.
    pub(super) fn listening_on(address: SocketAddr) -> Result<Self, String> {
        let inodes = listening_sockets(address.port());
        if inodes.is_empty() {
            return Err("nothing on this machine listens there; perhaps it runs in a container".into());
        }
        let pids = fs::read_dir("/proc").map_err(|error| format!("cannot read /proc: {error}"))?;
        let mut pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let pid = pids.find(|pid| has_open(*pid, &inodes)).ok_or("its process belongs to another user")?;
        let process = Process { pid };
        process.usage().map(|_| process).ok_or_else(|| format!("process {pid} does not show its memory"))
    }

    /// Reads the usage; `None` after the end of the process.
    pub(super) fn usage(self) -> Option<Usage> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The process's name is in parentheses, and may itself contain spaces and parentheses.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<f64>().ok();
        let cpu_s = (ticks()? + ticks()?) / TICKS_PER_S;
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).ok()?;
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        Some(Usage { cpu_s, pss_kib: pss.split_whitespace().next()?.parse().ok()? })
    }
}

/// The sockets that listen on a port, as links in `/proc/PID/fd` name them.
fn listening_sockets(port: u16) -> Vec<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let (port, listens) = (format!(":{port:04X}"), "0A");
    let socket = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else {
            return None;
        };
        (local.ends_with(&port) && state == listens).then(|| format!("socket:[{inode}]"))
    };
    tables.iter().flat_map(|table| table.lines().filter_map(socket)).collect()
}

fn has_open(pid: u32, inodes: &[String]) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut names = files.filter_map(|file| fs::read_link(file.path()).ok());
    names.any(|name| inodes.iter().any(|inode| name.as_os_str() == inode.as_str()))
}

/// The number of files that this process may have open: `ulimit -n`.
pub(super) fn max_open_files() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The number of connections dropped by the listening sockets of this machine because of a full queue (`TcpExt`
/// `ListenOverflows`).
pub(super) fn listen_overflows() -> Option<u64> {
    let table = fs::read_to_string("/proc/net/netstat").ok()?;
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let at = lines.next()?.split_whitespace().position(|name| name == "ListenOverflows")?;
    lines.next()?.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listening_process_is_found_and_measured() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let process = Process::listening_on(listener.local_addr().unwrap()).unwrap();
        assert_eq!(process.pid, std::process::id());
        assert!(process.usage().unwrap().pss_kib > 0.0);
        assert!(max_open_files().unwrap() > 0 && listen_overflows().is_some());
    }
}
