//! HAProxy on a host of its own, with the very configuration of `docker/haproxy`.

use std::fs;
use std::net::SocketAddr;

use tempfile::TempDir;

use super::host::Host;
use super::program::{Program, installed};
use super::switch::Switch;
use super::within;

const CONFIG: &str = include_str!("../../../docker/haproxy/haproxy.cfg");

/// The proxy's place in the network.
const PLACE: u8 = 100;

/// The proxy before the gateways.
pub struct Proxy {
    pub addr: SocketAddr,
    _program: Program,
    _host: Host,
    _folder: TempDir,
}

impl Proxy {
    pub async fn start(front: &Switch, gateways: &[SocketAddr]) -> Self {
        let place = |config: String, (n, gateway): (usize, &SocketAddr)| {
            config.replace(&format!(" gateway-{}:4000", n + 1), &format!(" {gateway}"))
        };
        let config = gateways.iter().enumerate().fold(CONFIG.to_owned(), place);
        assert!(!config.contains(" gateway-1:") && config.contains("bind :8080\n"), "{config}");
        let (host, folder) = (Host::new(), TempDir::new().expect("a folder"));
        front.plug(&host, PLACE);
        let path = folder.path().join("haproxy.cfg");
        fs::write(&path, config).expect("a written configuration");
        let mut command = host.command(&installed(&["proxies/usr/sbin/haproxy"], "haproxy"));
        command.arg("-db").arg("-f").arg(path);
        let program = Program::start("haproxy", command);
        let addr = front.socket(PLACE, 8080);
        let listens = async {
            while tokio::net::TcpStream::connect(addr).await.is_err() {
                super::pause().await;
            }
        };
        within("the proxy", listens).await;
        Proxy { addr, _program: program, _host: host, _folder: folder }
    }
}
