//! Another host: a network namespace.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::thread;
use std::time::Instant;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::DEADLINE;

/// Runs a command that must succeed.
pub fn run(command: &str) {
    let mut words = command.split_whitespace();
    let status = Command::new(words.next().expect("a program")).args(words).status();
    assert!(status.expect(command).success(), "{command}");
}

/// A child process, killed when dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A namespace, which ends with its only process.
pub struct Host {
    process: Running,
}

impl Host {
    /// A host without links.
    pub fn new() -> Self {
        let child = Command::new("unshare").args(["--net", "sleep", "infinity"]).spawn().expect("unshare");
        let host = Host { process: Running(child) };
        let own = fs::read_link("/proc/self/ns/net").expect("a namespace");
        let begun = Instant::now();
        while fs::read_link(host.namespace()).is_ok_and(|namespace| namespace == own) {
            assert!(begun.elapsed() < DEADLINE, "no namespace of its own");
            thread::yield_now();
        }
        host
    }

    /// A host with one link to the test's namespace.
    pub fn linked(number: u8) -> Self {
        let host = Host::new();
        let (link, pid) = (format!("host{number}"), host.pid());
        run(&format!("ip link add {link} type veth peer name eth0 netns {pid}"));
        run(&format!("ip addr add 10.90.{number}.1/24 dev {link}"));
        run(&format!("ip link set {link} up"));
        host.run(&format!("ip addr add 10.90.{number}.2/24 dev eth0"));
        host.run("ip link set eth0 up");
        host
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.pid())
    }

    /// A command that runs on this host, as the process that is started.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([&format!("--net={}", self.namespace()), program]);
        command
    }

    /// Runs a command that must succeed on this host.
    pub fn run(&self, command: &str) {
        run(&format!("nsenter --net={} {command}", self.namespace()));
    }

    /// A connection from this host.
    pub fn connect(&self, to: SocketAddr) -> TcpStream {
        let namespace = File::open(self.namespace()).expect("a namespace");
        let connecting = thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("to move");
            TcpStream::connect(to).expect("a connection")
        });
        connecting.join().expect("no panic")
    }

    /// Takes the link down, without a notice to either side.
    pub fn vanish(&self) {
        self.run("ip link set eth0 down");
    }
}
