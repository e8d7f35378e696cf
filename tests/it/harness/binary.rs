//! The program as a child process.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{Client, within};

const LISTENING: &str = "listening on http://";

/// A running gateway, killed when dropped.
pub struct Binary {
    child: Child,
    client: Client,
    log: Arc<Mutex<Vec<String>>>,
    /// Ends with the log, unless the test reads the log itself.
    collecting: Option<JoinHandle<()>>,
}

/// The log of a running gateway.
pub type LogLines = Lines<BufReader<ChildStderr>>;

/// The result of a finished run.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Binary {
    /// Starts the gateway with these arguments, on a free port. Large batches are allowed, because they fill large rooms fast. The
    /// time after the start is over at once.
    pub async fn start(args: &[&str]) -> Self {
        Self::start_with(
            &[&["--listen", "127.0.0.1:0", "--max-batch", "10000", "--fresh-for", "0s"], args].concat(),
            &[],
        )
        .await
    }

    /// Starts the gateway with only these arguments and variables.
    pub async fn start_with(args: &[&str], vars: &[(&str, &str)]) -> Self {
        let (mut binary, lines) = Self::start_unread(args, vars).await;
        binary.collecting = Some(tokio::spawn(collect(lines, Arc::clone(&binary.log))));
        binary
    }

    /// Starts the gateway with `sockets`, passed as a service manager passes them.
    pub async fn inherit(sockets: Vec<OwnedFd>, args: &[&str], vars: &[(&str, &str)]) -> Self {
        let (mut binary, lines) = Self::logging(inheriting(sockets, args, vars)).await;
        binary.collecting = Some(tokio::spawn(collect(lines, Arc::clone(&binary.log))));
        binary
    }

    /// Starts the gateway, and leaves its log to the caller from the line with the address on.
    pub async fn start_unread(args: &[&str], vars: &[(&str, &str)]) -> (Self, LogLines) {
        let mut command = command(args, vars);
        command.stdout(Stdio::null());
        Self::logging(command).await
    }

    async fn logging(mut command: Command) -> (Self, LogLines) {
        let mut child = command.spawn().expect("the program starts");
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
        (Self { child, client: Client::of(addr), log, collecting: None }, lines)
    }

    /// Starts the gateway on a free port of loopback, with its log into `stderr`. The port is found among the process's
    /// sockets.
    pub async fn start_into(stderr: File, args: &[&str]) -> Self {
        let args = [&["--listen", "127.0.0.1:0"], args].concat();
        let child = command(&args, &[]).stdout(Stdio::null()).stderr(stderr).spawn().expect("the program starts");
        let pid = child.id().expect("it runs");
        let looks = async {
            loop {
                if let Some(port) = listening_port(pid) {
                    return port;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let addr = SocketAddr::from(([127, 0, 0, 1], within("a listening socket", looks).await));
        Self { child, client: Client::of(addr), log: Arc::default(), collecting: None }
    }

    /// Runs the program to its end.
    pub async fn run(args: &[&str], vars: &[(&str, &str)]) -> Finished {
        Self::run_into(Stdio::piped(), args, vars).await
    }

    /// Runs the program to its end with `sockets`, passed as a service manager passes them.
    pub async fn run_inheriting(sockets: Vec<OwnedFd>, args: &[&str]) -> Finished {
        Self::finish(inheriting(sockets, args, &[])).await
    }

    /// Runs the program to its end, with `stderr`.
    pub async fn run_into(stderr: Stdio, args: &[&str], vars: &[(&str, &str)]) -> Finished {
        let mut command = command(args, vars);
        command.stderr(stderr);
        Self::finish(command).await
    }

    async fn finish(mut command: Command) -> Finished {
        let child = command.spawn().expect("the program starts");
        let output = within("the program's end", child.wait_with_output()).await.expect("its output");
        let text = |bytes| String::from_utf8(bytes).expect("output in UTF-8");
        Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs the program to its end, with `input` on standard input.
    pub async fn run_with_input(args: &[&str], input: &str) -> Finished {
        let mut child = command(args, &[]).stdin(Stdio::piped()).spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("piped");
        within("the input", stdin.write_all(input.as_bytes())).await.expect("the program reads");
        drop(stdin);
        let output = within("the program's end", child.wait_with_output()).await.expect("its output");
        let text = |bytes| String::from_utf8(bytes).expect("output in UTF-8");
        Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
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

    /// Lets each write to a file fail (EFBIG, setrlimit(2)), or no longer.
    pub async fn fail_writes(&self, fails: bool) {
        let pid = self.child.id().expect("it runs").to_string();
        let limit = if fails { "--fsize=0:" } else { "--fsize=unlimited:" };
        let limited = Command::new("prlimit").args(["--pid", &pid, limit]).status().await;
        assert!(limited.expect("prlimit").success(), "{limit} for {pid}");
    }

    /// Waits for the end of the program and of its log.
    pub async fn exit(&mut self) -> ExitStatus {
        let status = within("the program's end", self.child.wait()).await.expect("its status");
        if let Some(collecting) = self.collecting.take() {
            within("the end of the log", collecting).await.expect("a log that was read");
        }
        status
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

/// Moves its standard input and output to the files 3 and 4, and becomes the program. `$$` stays the process's number.
const PASS: &str = r#"exec 3<&0 4<&1 </dev/null >/dev/null; export LISTEN_PID=$$; exec "$0" "$@""#;

/// The program with at most two `sockets` (sd_listen_fds(3)), without the variables of the environment.
fn inheriting(sockets: Vec<OwnedFd>, args: &[&str], vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", PASS, env!("CARGO_BIN_EXE_presently")]).args(args);
    command.env_clear().envs(vars.iter().copied()).env("LISTEN_FDS", sockets.len().to_string());
    let mut sockets = sockets.into_iter();
    let mut next = || sockets.next().map_or_else(Stdio::null, Stdio::from);
    command.stdin(next()).stdout(next()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn address(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(LISTENING)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// The port of IPv4 on which the process listens (proc(5), /proc/net/tcp).
fn listening_port(pid: u32) -> Option<u16> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    let links: Vec<_> = files.filter_map(|file| fs::read_link(file.path()).ok()).collect();
    let sockets = fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    sockets.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_mine = links.contains(&format!("socket:[{}]", fields[9]).into());
        let (_, port) = fields[1].split_once(':')?;
        (fields[3] == "0A" && is_mine).then(|| u16::from_str_radix(port, 16).expect("a port"))
    })
}

/// Reads all lines: a full pipe would block the program.
async fn collect(mut lines: LogLines, log: Arc<Mutex<Vec<String>>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        log.lock().expect("unpoisoned").push(line);
    }
}
