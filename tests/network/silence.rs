//! Hosts that vanish from the network without closing their connections.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::loopback;
use crate::machines::DEADLINE;
use crate::machines::host::{Host, Running};

/// A gateway of its own in the test's namespace.
pub struct Gateway {
    _process: Running,
    pub port: u16,
}

impl Gateway {
    pub fn start(options: &[&str]) -> Self {
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
    let (gateway, host) = (Gateway::start(options), Host::linked(number));
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
    let host = Host::linked(3);
    let mut events = gateway.events();
    let streams = ["sse", "ws"].map(|transport| hold(&host, gateway.seen_from(3), transport, transport));
    host.vanish();
    let here = SocketAddr::from(([127, 0, 0, 1], gateway.port));
    let mut asks = TcpStream::connect(here).expect("a connection");
    asks.write_all(b"PUT /api/rooms/lobby/users/late HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("to ask");
    assert!(events.any(|line| line.contains("\"user\":\"late\"")));
    host.run("ip link set eth0 up");
    for mut stream in streams {
        let (mut read, mut buffer) = (Vec::new(), [0; 4_096]);
        while !String::from_utf8_lossy(&read).contains("\"user\":\"late\"") {
            let n = stream.read(&mut buffer).expect("the event, late");
            assert!(n > 0, "the stream was ended");
            read.extend_from_slice(&buffer[..n]);
        }
    }
}
