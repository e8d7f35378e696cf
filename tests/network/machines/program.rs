//! A program as a child process, with what it says.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::sync::watch;

use super::within;

/// The lines that a failed test shows.
const LAST: usize = 60;

/// A running program; it is killed when dropped.
pub struct Program {
    name: String,
    child: Child,
    said: watch::Sender<Vec<String>>,
}

impl Program {
    pub fn start(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        let mut child = command.kill_on_drop(true).spawn().expect("nsenter");
        let said = watch::Sender::new(Vec::new());
        tokio::spawn(collect(child.stdout.take().expect("piped"), said.clone()));
        tokio::spawn(collect(child.stderr.take().expect("piped"), said.clone()));
        Program { name: name.to_owned(), child, said }
    }

    /// Waits for a line with this text.
    pub async fn says(&mut self, text: &str) {
        let mut said = self.said.subscribe();
        let waiting = async {
            tokio::select! {
                _ = said.wait_for(|said| said.iter().any(|line| line.contains(text))) => {}
                ended = self.child.wait() => panic!("{} ended: {ended:?}", self.name),
            }
        };
        within(&format!("{text:?} from {}", self.name), waiting).await;
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)).expect("it runs");
        kill_process(pid, signal).expect("a signal");
    }

    /// Waits for the end.
    pub async fn ended(mut self) -> ExitStatus {
        within(&format!("the end of {}", self.name), self.child.wait()).await.expect("its status")
    }

    /// Ends the program as `kill -9` does.
    pub async fn kill(self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.said.borrow();
            eprintln!("{}:\n  {}", self.name, said[said.len().saturating_sub(LAST)..].join("\n  "));
        }
    }
}

async fn collect(output: impl AsyncRead + Unpin, said: watch::Sender<Vec<String>>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if std::env::var_os("LOG").is_some() {
            eprintln!("{line}");
        }
        said.send_modify(|said| said.push(line));
    }
}

/// Where `tests/run` puts a program, or its name for the path.
pub fn installed(unpacked: &[&str], name: &str) -> String {
    let here = |place: &&str| -> Option<PathBuf> {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(place);
        path.exists().then_some(path)
    };
    let found = unpacked.iter().find_map(here).unwrap_or_else(|| on_path(name));
    found.into_os_string().into_string().expect("a path in UTF-8")
}

fn on_path(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not here; tests/run installs it"))
}
