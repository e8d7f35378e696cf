//! The process and its system: open files and their limit, the memory in use, the memory there is, and the time of processors.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::param::page_size;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::runtime::memory::Resident;

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

/// The most files that the process may open now.
pub fn open_files_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// The number of files that the process has open, where the system tells. Since Linux 6.2 one system call tells; before, each
/// file costs about a microsecond.
pub fn open_files() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    match fs::metadata(FOLDER).ok()?.len() {
        // Less the folder itself.
        0 => Some(fs::read_dir(FOLDER).ok()?.count() as u64 - 1),
        files => Some(files),
    }
}

/// The time that processors have spent on this process.
pub fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The resident set of this process: the second field of `/proc/self/statm` (proc(5)), in pages. The file stays open,
/// because a reading then takes one system call and 1 us, also when no further file can be opened.
#[derive(Debug)]
pub struct Statm(Option<File>);

impl Statm {
    /// Opens the file; systems without `/proc` have none.
    pub fn open() -> Self {
        Statm(File::open("/proc/self/statm").ok())
    }
}

impl Resident for Statm {
    fn bytes(&self) -> Option<u64> {
        let mut text = [0; 128];
        let read = self.0.as_ref()?.read_at(&mut text, 0).ok()?;
        let pages = str::from_utf8(&text[..read]).ok()?.split(' ').nth(1)?;
        Some(pages.parse::<u64>().ok()? * page_size() as u64)
    }
}

/// The memory that this process may take, in bytes: the least limit of its control groups and their parents, version 2 or
/// 1, or else the machine's memory. Without `/proc`, there is no limit.
pub fn memory_limit() -> u64 {
    memory_limit_below(Path::new("/"))
}

fn memory_limit_below(root: &Path) -> u64 {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let meminfo = read("proc/meminfo");
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    // In KiB despite the unit `kB`.
    let total = total.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map(|kib| kib * 1024);
    let (groups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let limits = groups.lines().filter_map(|group| group_limit(root, group, &mounts));
    limits.chain(total).min().unwrap_or(u64::MAX)
}

/// The least limit of a group, a line of `/proc/self/cgroup` such as `0::/a/b` or `4:memory:/a/b` (cgroups(7)), and of its
/// parents as far as they are mounted.
fn group_limit(root: &Path, group: &str, mounts: &str) -> Option<u64> {
    let mut fields = group.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let (kind, file) = match controllers {
        "" => ("cgroup2", "memory.max"),
        _ if controllers.split(',').any(|controller| controller == "memory") => ("cgroup", "memory.limit_in_bytes"),
        _ => return None,
    };
    let mut limit = None;
    for line in mounts.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
        let (mount, filesystem): (Vec<_>, Vec<_>) = (mount.split(' ').collect(), filesystem.split(' ').collect());
        let (&[_, _, _, top, at, ..], &[mounted, _, options, ..]) = (&mount[..], &filesystem[..]) else { continue };
        if mounted != kind || (kind == "cgroup" && !options.split(',').any(|option| option == "memory")) {
            continue;
        }
        let at = root.join(at.trim_start_matches('/'));
        // In a container, the mount may begin at the group itself.
        let below = Path::new(path).strip_prefix(top).unwrap_or(Path::new(""));
        let folders: Vec<PathBuf> = below.ancestors().map(|below| at.join(below)).collect();
        let limits =
            folders.iter().filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok());
        limit = limits.chain(limit).min();
    }
    limit
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";

    /// The limit on a system with these files below its root, and 8 GiB.
    fn limit(files: &[(&str, &str)]) -> u64 {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files.iter().chain(&[("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n")]) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        memory_limit_below(root.path()) >> 20
    }

    #[test]
    fn the_limit_is_the_least_of_the_group_and_its_parents() {
        let own = ("proc/self/cgroup", "0::/pod/service\n");
        let mounts = ("proc/self/mountinfo", V2);
        let service = ("sys/fs/cgroup/pod/service/memory.max", "max\n");
        assert_eq!(limit(&[]), 8_192);
        assert_eq!(limit(&[own, mounts, service]), 8_192);
        assert_eq!(limit(&[own, mounts, service, ("sys/fs/cgroup/pod/memory.max", "536870912\n")]), 512);
        let v1 = ("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/docker/1\n0::/\n");
        let mounts = format!("{V1}{}", V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"));
        let mounts = ("proc/self/mountinfo", &*mounts);
        let unlimited = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        let limited = ("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "134217728\n");
        assert_eq!(limit(&[v1, mounts, unlimited]), 8_192);
        assert_eq!(limit(&[v1, mounts, unlimited, limited]), 128);
    }

    #[test]
    fn in_a_container_the_mount_may_begin_at_the_group() {
        let own = ("proc/self/cgroup", "0::/docker/1\n");
        let mounts = V2.replace(" / ", " /docker/1 ");
        let (mounts, max) = (("proc/self/mountinfo", &*mounts), ("sys/fs/cgroup/memory.max", "1073741824\n"));
        assert_eq!(limit(&[own, mounts, max]), 1_024);
        assert_eq!(limit(&[("proc/self/cgroup", "0::/../elsewhere\n"), mounts, max]), 1_024);
    }

    #[test]
    fn the_resident_set_is_read_while_it_changes() {
        let statm = Statm::open();
        let before = statm.bytes().unwrap();
        let pages = vec![1u8; 64 << 20];
        let after = statm.bytes().unwrap();
        assert!(before > 1 << 20 && after > before + (32 << 20), "{before} {after} {}", pages.len());
    }
}
