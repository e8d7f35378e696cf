//! nginx and HAProxy as child processes, with the very configuration that OPERATING gives.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::within;

const OPERATING: &str = include_str!("../../../src/OPERATING.md");
const COMPOSED: &str = include_str!("../../../docker/haproxy/haproxy.cfg");

/// How often another port is tried when something else takes the chosen one.
const TRIES: usize = 5;

/// A proxy in front of a gateway; it is killed when dropped.
pub struct DocumentedProxy {
    pub addr: SocketAddr,
    _child: Child,
    _folder: TempDir,
}

impl DocumentedProxy {
    pub async fn nginx(gateway: SocketAddr) -> Self {
        Self::start(gateway, "nginx", |addr, folder| {
            let site = documented("nginx", "listen 80;", &format!("listen {addr};"));
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
                .concat();
            let config = format!(
                "daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n\
                 http {{\naccess_log off;\n{temporary}{site}\n}}\n"
            );
            (config, vec!["-e", "stderr", "-c"])
        })
        .await
    }

    pub async fn haproxy(gateway: SocketAddr) -> Self {
        Self::start(gateway, "haproxy", |addr, _| {
            (documented("haproxy", "bind :80\n", &format!("bind {addr}\n")), vec!["-db", "-f"])
        })
        .await
    }

    /// The proxy of the profile `cluster` in `docker/compose.yaml`.
    pub async fn composed(gateways: [SocketAddr; 3]) -> Self {
        let place = |config: String, (n, gateway): (usize, &SocketAddr)| {
            config.replace(&format!(" gateway-{}:4000", n + 1), &format!(" {gateway}"))
        };
        let config = gateways.iter().enumerate().fold(COMPOSED.to_owned(), place);
        assert!(!config.contains(":4000") && config.contains("bind :8080\n"), "{config}");
        Self::start(gateways[0], "haproxy", |addr, _| {
            (config.replace("bind :8080\n", &format!("bind {addr}\n")), vec!["-db", "-f"])
        })
        .await
    }

    /// `make` gives the configuration for an address to listen on and a folder, and the arguments before its path.
    async fn start(
        gateway: SocketAddr,
        program: &str,
        make: impl Fn(SocketAddr, &str) -> (String, Vec<&'static str>),
    ) -> Self {
        for _ in 0..TRIES {
            let folder = TempDir::new().expect("a folder");
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let addr = free.local_addr().expect("an address");
            drop(free);
            let path = folder.path().join("config");
            let (config, arguments) = make(addr, folder.path().to_str().expect("a path in UTF-8"));
            let config = config.replace("127.0.0.1:4000", &gateway.to_string());
            std::fs::write(&path, config).expect("a written configuration");
            let mut command = Command::new(program);
            command.args(arguments).arg(&path).stdin(Stdio::null()).kill_on_drop(true);
            let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; tests/run installs it"));
            let listens = async {
                loop {
                    tokio::select! {
                        _ = child.wait() => return false,
                        connected = TcpStream::connect(addr) => if connected.is_ok() { return true },
                    }
                }
            };
            if within("the proxy", listens).await {
                return Self { addr, _child: child, _folder: folder };
            }
        }
        panic!("{program} does not start; its standard error says why")
    }
}

/// OPERATING's configuration in `language`, with `with` instead of its address.
fn documented(language: &str, address: &str, with: &str) -> String {
    let (_, after) = OPERATING.split_once(&format!("```{language}\n")).expect("a configuration in OPERATING");
    let (block, _) = after.split_once("```\n").expect("its end");
    assert!(block.contains(address), "{language}: {address} is missing");
    block.replace(address, with)
}
