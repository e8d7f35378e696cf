//! A server of NATS on a host of its own.

use std::net::SocketAddr;

use tempfile::TempDir;

use super::host::Host;
use super::program::{Program, installed};
use super::switch::Switch;

/// The first server's place in the network.
const FIRST: u8 = 20;

/// One of the servers that keep the log.
pub struct Nats {
    pub name: String,
    pub host: Host,
    pub addr: SocketAddr,
    arguments: Vec<String>,
    program: Option<Program>,
    _data: TempDir,
}

impl Nats {
    /// Starts one of `count` servers.
    pub async fn start(back: &Switch, number: u8, count: u8) -> Self {
        let (host, data) = (Host::new(), TempDir::new().expect("a folder"));
        back.plug(&host, FIRST + number);
        let (name, address) = (format!("n{number}"), back.address(FIRST + number));
        let folder = data.path().to_str().expect("a path in UTF-8");
        let mut arguments = format!("-a {address} -p 4222 -n {name} -js -sd {folder}");
        if count > 1 {
            let route = |number: u8| format!("nats://{}:6222", back.address(FIRST + number));
            let routes = (0..count).map(route).collect::<Vec<_>>().join(",");
            arguments += &format!(" --cluster_name c --cluster nats://{address}:6222 --routes {routes}");
        }
        let arguments = arguments.split(' ').map(str::to_owned).collect();
        let addr = back.socket(FIRST + number, 4222);
        let mut nats = Nats { name, host, addr, arguments, program: None, _data: data };
        nats.restart().await;
        nats
    }

    /// Starts the server again, with what it kept.
    pub async fn restart(&mut self) {
        let path = installed(&["nats/bin/nats-server", "engines/usr/sbin/nats-server"], "nats-server");
        let mut command = self.host.command(&path);
        command.args(&self.arguments);
        let program = self.program.insert(Program::start(&self.name, command));
        program.says("Server is ready").await;
    }

    /// Ends the server as `kill -9` does.
    pub async fn kill(&mut self) {
        self.program.take().expect("it runs").kill().await;
    }
}
