//! The gateway's process, where it runs on this machine: found, and weighed, through `/proc`.

use std::fs;
use std::net::SocketAddr;

/// Clock ticks a second in `/proc/PID/stat`: Linux shows 100 to programs, whatever the kernel uses.
const TICKS: f64 = 100.0;

/// A process on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// Its number.
    pub pid: u32,
}

/// What a process has taken so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time, its own and the kernel's for it, in seconds.
    pub cpu: f64,
    /// Its proportional set: its memory, and its share of what it shares. In KiB.
    pub pss: u64,
}

impl Process {
    /// Who listens on `address`, or why nobody knows.
    pub fn listening_on(address: SocketAddr) -> Result<Self, String> {
        let inodes = listeners(address.port());
        if inodes.is_empty() {
            return Err("nothing on this machine listens there; perhaps it runs in a container".into());
        }
        let pids = fs::read_dir("/proc").map_err(|error| format!("cannot read /proc: {error}"))?;
        let mut pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let pid = pids.find(|pid| holds(*pid, &inodes)).ok_or("its process belongs to somebody else")?;
        let process = Process { pid };
        process.usage().map(|_| process).ok_or_else(|| format!("process {pid} does not show its memory"))
    }

    /// What it has taken so far.
    pub fn usage(self) -> Option<Usage> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The name, in parentheses, may hold anything.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<f64>().ok();
        let cpu = (ticks()? + ticks()?) / TICKS;
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).ok()?;
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        Some(Usage { cpu, pss: pss.split_whitespace().next()?.parse().ok()? })
    }
}

/// The inodes of sockets that listen on a port.
fn listeners(port: u16) -> Vec<String> {
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

fn holds(pid: u32, inodes: &[String]) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut names = files.filter_map(|file| fs::read_link(file.path()).ok());
    names.any(|name| inodes.iter().any(|inode| name.as_os_str() == inode.as_str()))
}

/// How many files this process may have open.
pub fn open_files() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How often a listening socket of this machine had no room for one more connection (`TcpExt`
/// `ListenOverflows`).
pub fn listen_overflows() -> Option<u64> {
    let table = fs::read_to_string("/proc/net/netstat").ok()?;
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let at = lines.next()?.split_whitespace().position(|name| name == "ListenOverflows")?;
    lines.next()?.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_that_listens_is_found_and_weighed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let process = Process::listening_on(listener.local_addr().unwrap()).unwrap();
        assert_eq!(process.pid, std::process::id());
        assert!(process.usage().unwrap().pss > 0);
        assert!(open_files().unwrap() > 0 && listen_overflows().is_some());
    }
}
