//! A gateway without keys is for this machine, and says so when it is for more.

use std::fs;

use tempfile::{TempDir, tempdir};

use crate::harness::{Binary, Client, Finished};

const LINE: &str = "OPEN TO EVERYBODY";

/// A folder with a file of API keys, and the path of the file.
fn api_key() -> (TempDir, String) {
    let folder = tempdir().expect("a folder");
    let path = folder.path().join("api-key");
    fs::write(&path, "JgfUVmHu9mH8Bvu0oE0RVbE2GeVZ4m6xw2KzF3xOqQk9hT1s\n").expect("a file");
    let path = path.to_str().expect("UTF-8").to_owned();
    (folder, path)
}

fn refuses(finished: &Finished, sentence: &str) {
    let said = format!("presently: {sentence}\n");
    assert_eq!((finished.code, finished.stderr.as_str(), finished.stdout.as_str()), (Some(2), said.as_str(), ""));
}

#[tokio::test]
async fn other_addresses_than_this_machine_s_need_keys_or_open() {
    let needs = "needs --key, --jwks or --api-key, or --open to let everybody in";
    for address in ["0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:4000"] {
        let sentence = format!("listening on {address} {needs}");
        refuses(&Binary::run(&["--listen", address], &[]).await, &sentence);
        refuses(&Binary::run(&["--listen", "127.0.0.1:0", "--admin", address], &[]).await, &sentence);
        refuses(&Binary::run(&[], &[("PRESENTLY_LISTEN", address), ("PRESENTLY_OPEN", "false")]).await, &sentence);
    }
    for vars in [&[("PRESENTLY_OPEN", "true")][..], &[("PRESENTLY_OPEN", "1")]] {
        Binary::start_with(&["--listen", "0.0.0.0:0"], vars).await.get("/api/rooms").await.expect(200);
    }
    let (_folder, path) = api_key();
    let gateway = Binary::start_with(&["--listen", "0.0.0.0:0", "--api-key", &path], &[]).await;
    gateway.get("/healthz").await.expect(200);
    let health = Binary::run(&["health", "--listen", &gateway.addr.to_string()], &[]).await;
    assert_eq!(health.code, Some(0), "{health:?}");
}

#[tokio::test]
async fn open_and_keys_contradict_each_other() {
    let (_folder, path) = api_key();
    let sentence = "--open lets everybody in and does not go with --key, --jwks or --api-key; leave one out";
    refuses(&Binary::run(&["--open", "--api-key", &path], &[]).await, sentence);
    let sentence = "--anyone needs --key, --jwks or --api-key; without keys, everybody may do everything";
    refuses(&Binary::run(&["--anyone", "lobby:watch"], &[]).await, sentence);
}

/// How often a gateway warned that it is open, after `ask`.
async fn warnings(args: &[&str], ask: impl AsyncFnOnce(Client)) -> usize {
    let mut gateway = Binary::start(args).await;
    ask(gateway.client()).await;
    gateway.signal("TERM").await;
    gateway.exit().await;
    let lines = gateway.log().into_iter().filter(|line| line.contains(LINE));
    lines.inspect(|line| assert!(line.contains("WARN") && line.contains("--key"), "{line}")).count()
}

#[tokio::test]
async fn an_open_gateway_says_so_once_at_the_start_or_at_the_first_request_of_a_proxy() {
    let requests = async |gateway: Client| {
        gateway.get("/api/rooms").await.expect(200);
        gateway.send("GET", "/api/rooms", &[("x-real-ip", "192.0.2.7")], "").await.expect(200);
    };
    assert_eq!(warnings(&[], requests).await, 0, "this machine alone");
    for header in ["x-forwarded-for", "x-forwarded-proto", "forwarded", "via", "X-Forwarded-Anything"] {
        let forwarded = async |gateway: Client| {
            for path in ["/healthz", "/api/rooms"] {
                gateway.send("GET", path, &[(header, "x")], "").await.expect(200);
            }
        };
        assert_eq!(warnings(&[], forwarded).await, 1, "{header}");
        assert_eq!(warnings(&["--open"], forwarded).await, 1, "{header} with --open");
    }
    assert_eq!(warnings(&["--open"], requests).await, 1, "--open");
    let (_folder, path) = api_key();
    let forwarded = async |gateway: Client| {
        gateway.send("GET", "/healthz", &[("via", "1.1 proxy")], "").await.expect(200);
    };
    assert_eq!(warnings(&["--api-key", &path], forwarded).await, 0, "with keys");
}

#[tokio::test]
async fn with_keys_any_host_is_answered_if_it_is_one_and_a_host() {
    let (_folder, path) = api_key();
    let gateway = Binary::start(&["--api-key", &path]).await;
    let status = async |hosts: &str| {
        let request = format!("GET /presently.js HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
        crate::harness::raw(gateway.addr, request).await.status
    };
    assert_eq!(status("Host: presently.example\r\n").await, 200);
    for hosts in ["", "Host: a.example\r\nHost: a.example\r\n", "Host: a b\r\n"] {
        assert_eq!(status(hosts).await, 400, "{hosts}");
    }
}
