//! Hosts that vanish from the network without closing their connections, and hosts with public addresses. `tests/run` runs
//! these tests in a network namespace, because the tests take links down and add addresses.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Longer than any step of a test.
const DEADLINE: Duration = Duration::from_secs(90);

/// Runs a command that must succeed.
fn run(command: &str) {
    let mut words = command.split_whitespace();
    let status = Command::new(words.next().expect("a program")).args(words).status();
    assert!(status.expect(command).success(), "{command}");
}

/// A child process, killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Another host: a namespace with one link to the test's namespace.
struct Host {
    process: Running,
    link: String,
}

impl Host {
    fn new(number: u8) -> Self {
        let child = Command::new("unshare").args(["--net", "sleep", "300"]).spawn().expect("unshare");
        let process = Running(child);
        let host = Host { process, link: format!("host{number}") };
        let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
        let begun = Instant::now();
        while std::fs::read_link(host.namespace()).is_ok_and(|namespace| namespace == own) {
            assert!(begun.elapsed() < DEADLINE, "no namespace of its own");
            thread::yield_now();
        }
        let (link, pid) = (&host.link, host.process.0.id());
        run(&format!("ip link add {link} type veth peer name eth0 netns {pid}"));
        run(&format!("ip addr add 10.90.{number}.1/24 dev {link}"));
        run(&format!("ip link set {link} up"));
        host.ip(&format!("addr add 10.90.{number}.2/24 dev eth0"));
        host.ip("link set eth0 up");
        host
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.process.0.id())
    }

    fn ip(&self, arguments: &str) {
        run(&format!("nsenter --net={} ip {arguments}", self.namespace()));
    }

    /// A connection from this host.
    fn connect(&self, to: SocketAddr) -> TcpStream {
        let namespace = File::open(self.namespace()).expect("a namespace");
        let connecting = thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("to move");
            TcpStream::connect(to).expect("a connection")
        });
        connecting.join().expect("no panic")
    }

    /// Takes the link down, without a notice to either side.
    fn vanish(&self) {
        self.ip("link set eth0 down");
    }
}

struct Gateway {
    _process: Running,
    port: u16,
}

impl Gateway {
    fn start(options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_presently"));
        command.args(["--listen", "0.0.0.0:0", "--open"]).args(options).env_clear().stderr(Stdio::piped());
        let mut process = Running(command.spawn().expect("the program starts"));
        let mut log = BufReader::new(process.0.stderr.take().expect("piped"));
        let mut line = String::new();
        let port = loop {
            line.clear();
            assert!(log.read_line(&mut line).expect("a log") > 0, "the gateway ended");
            if let Some((_, rest)) = line.split_once("listening on http://0.0.0.0:") {
                break rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a port");
            }
        };
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Gateway { _process: process, port }
    }

    fn seen_from(&self, number: u8) -> SocketAddr {
        SocketAddr::from(([10, 90, number, 1], self.port))
    }

    /// The lines of the lobby's stream, read from the test's namespace.
    fn events(&self) -> impl Iterator<Item = String> {
        let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port))).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        (&stream).write_all(b"GET /api/rooms/lobby/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("to ask");
        let begun = Instant::now();
        let mut lines = BufReader::new(stream).lines().map(move |line| {
            assert!(begun.elapsed() < DEADLINE, "waited in vain");
            line.expect("a line in time")
        });
        assert!(lines.any(|line| line.contains("\"action\":\"snapshot\"")));
        lines
    }
}

/// Holds `user` from another host, over one transport, up to the first frame.
fn hold(host: &Host, to: SocketAddr, transport: &str, user: &str) -> TcpStream {
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let (path, headers) = match transport {
        "sse" => (format!("/api/rooms/lobby/stream?as={user}"), ""),
        _ => (format!("/ws?room=lobby&as={user}"), upgrade),
    };
    let mut stream = host.connect(to);
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").expect("to ask");
    let (mut read, mut buffer) = (Vec::new(), [0; 4_096]);
    while !read.windows(8).any(|bytes| bytes == b"\"users\":") {
        let n = stream.read(&mut buffer).expect("a snapshot");
        assert!(n > 0, "the stream ended: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&buffer[..n]);
    }
    stream
}

/// Answers pings until the connection ends (RFC 6455, 5.5.3).
fn answer_pings(mut stream: TcpStream) {
    let mut buffer = [0; 4_096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if buffer[..n].windows(2).any(|bytes| bytes == b"\x89\0") {
            let _ = stream.write_all(b"\x8a\x80\0\0\0\0");
        }
    }
}

/// Lets one client of each transport vanish, checks the reason of both `del`s, and prints the times.
fn vanish(number: u8, options: &[&str]) {
    let (gateway, host) = (Gateway::start(options), Host::new(number));
    let mut events = gateway.events();
    let [_sse, ws] = ["sse", "ws"].map(|transport| hold(&host, gateway.seen_from(number), transport, transport));
    thread::spawn(move || answer_pings(ws));
    for user in ["sse", "ws"] {
        let came = format!("\"user\":\"{user}\"");
        assert!(events.any(|line| line.contains("\"action\":\"add\"") && line.contains(&came)));
    }
    // A few pings and comments are answered first.
    assert_eq!(events.by_ref().filter(|line| line == ":").take(3).count(), 3);
    host.vanish();
    let begun = Instant::now();
    for _ in 0..2 {
        let gone = events.find(|line| line.contains("\"action\":\"del\"")).expect("a del");
        println!("{options:?}: after {:.1} s: {gone}", begun.elapsed().as_secs_f64());
        assert!(gone.contains("\"reason\":\"timeout\""), "{gone}");
    }
}

fn loopback() {
    run("ip link set lo up");
}

/// Bugs of others (Sockudo #87, Mercure #645, ably-js #489): members stayed for minutes, or for ever.
#[test]
fn a_vanished_user_is_gone_in_time_with_the_default_options() {
    loopback();
    vanish(1, &[]);
}

#[test]
fn a_vanished_user_is_gone_in_time_with_shorter_options() {
    loopback();
    vanish(2, &["--keep-alive", "1s", "--send-within", "1500ms", "--grace", "500ms"]);
}

/// A link that is down for less than the deadline, with events meanwhile, causes no `del`.
#[test]
fn a_user_who_returns_in_time_was_never_away() {
    loopback();
    let gateway = Gateway::start(&["--keep-alive", "1s", "--send-within", "30s", "--grace", "500ms"]);
    let host = Host::new(3);
    let mut events = gateway.events();
    let streams = ["sse", "ws"].map(|transport| hold(&host, gateway.seen_from(3), transport, transport));
    host.vanish();
    let here = SocketAddr::from(([127, 0, 0, 1], gateway.port));
    let mut asks = TcpStream::connect(here).expect("a connection");
    asks.write_all(b"PUT /api/rooms/lobby/users/late HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("to ask");
    assert!(events.any(|line| line.contains("\"user\":\"late\"")));
    host.ip("link set eth0 up");
    for mut stream in streams {
        let (mut read, mut buffer) = (Vec::new(), [0; 4_096]);
        while !String::from_utf8_lossy(&read).contains("\"user\":\"late\"") {
            let n = stream.read(&mut buffer).expect("the event, late");
            assert!(n > 0, "the stream was ended");
            read.extend_from_slice(&buffer[..n]);
        }
    }
}

/// Whether a request over a connection of its own is answered.
fn is_served(to: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(to).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.starts_with("HTTP/1.1 200 ")
}

#[test]
fn a_public_address_past_its_rate_of_connections_is_refused_at_once_and_this_machine_is_not() {
    loopback();
    run("ip addr add 192.0.2.1/32 dev lo");
    let gateway = Gateway::start(&["--rate-connections", "1/s"]);
    let served = |ip: [u8; 4]| (0..200).filter(|_| is_served(SocketAddr::from((ip, gateway.port)))).count();
    let public = served([192, 0, 2, 1]);
    assert!((60..200).contains(&public), "{public}, a minute's worth");
    assert_eq!(served([127, 0, 0, 1]), 200);
}
