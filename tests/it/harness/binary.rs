//! The program as a child process.

use std::ops::Deref;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use super::{Client, within};

const LISTENING: &str = "listening on http://";

/// A running gateway, killed when dropped.
pub struct Binary {
    child: Child,
    client: Client,
    log: Arc<Mutex<Vec<String>>>,
}

/// The result of a finished run.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Binary {
    /// Starts the gateway with these arguments, on a free port. Large batches are allowed, because they fill large rooms fast.
    pub async fn start(args: &[&str]) -> Self {
        Self::start_with(&[&["--listen", "127.0.0.1:0", "--max-batch", "10000"], args].concat(), &[]).await
    }

    /// Starts the gateway with only these arguments and variables.
    pub async fn start_with(args: &[&str], vars: &[(&str, &str)]) -> Self {
        let mut child = command(args, vars).stdout(Stdio::null()).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let addr = loop {
            let line = within("the address in the log", lines.next_line()).await.expect("a log in UTF-8");
            let line = line.unwrap_or_else(|| panic!("the gateway ended: {log:?}"));
            let addr = address(&line).map(|addr| addr.parse().expect("an address"));
            log.lock().expect("unpoisoned").push(line);
            if let Some(addr) = addr {
                break addr;
            }
        };
        tokio::spawn(collect(lines, Arc::clone(&log)));
        Self { child, client: Client::of(addr), log }
    }

    /// Runs the program to its end.
    pub async fn run(args: &[&str], vars: &[(&str, &str)]) -> Finished {
        let child = command(args, vars).spawn().expect("the program starts");
        let output = within("the program's end", child.wait_with_output()).await.expect("its output");
        let text = |bytes| String::from_utf8(bytes).expect("output in UTF-8");
        Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Another client of the gateway.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Sends a signal, such as `TERM` of `docker stop` or `INT` of Ctrl-C.
    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().await;
        assert!(sent.expect("kill").success(), "{name} to {pid}");
    }

    /// Limits the open files of the gateway.
    pub async fn limit_files(&self, files: usize) {
        let pid = self.child.id().expect("it runs").to_string();
        let limited =
            Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={files}:{files}")]).status().await;
        assert!(limited.expect("prlimit").success(), "{files} files for {pid}");
    }

    pub async fn exit(&mut self) -> ExitStatus {
        within("the program's end", self.child.wait()).await.expect("its status")
    }

    /// The lines logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("unpoisoned").clone()
    }
}

impl Deref for Binary {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// The program without the variables of the environment, which could be options.
fn command(args: &[&str], vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_presently"));
    command.args(args).env_clear().envs(vars.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn address(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(LISTENING)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// Reads all lines: a full pipe would block the program.
async fn collect(mut lines: Lines<BufReader<ChildStderr>>, log: Arc<Mutex<Vec<String>>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        log.lock().expect("unpoisoned").push(line);
    }
}
