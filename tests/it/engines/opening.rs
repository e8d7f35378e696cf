//! What is refused or warned of when a shared log is opened, and the ways to prove who one is.

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use presently::engine::address::ClusterName;
use presently::engine::open::open;
use presently::engine::options::Options;
use presently::engine::secret::Secret;
use tempfile::TempDir;

use super::servers::{Program, Server, free_port};

/// A server with more arguments.
fn server(program: Program, more: &str) -> Server {
    let more: Vec<_> = more.split_whitespace().map(str::to_owned).collect();
    let mut servers = (0..5).filter_map(|_| Server::start_at(program, free_port(), &more));
    servers.next().expect("a server that starts")
}

fn options(scheme: &str, server: &Server) -> Options {
    let address = format!("{scheme}://{}", server.addr()).parse().expect("an address");
    let mut options = Options::new(address, ClusterName::default());
    options.patience = Duration::from_secs(20);
    options
}

/// The sentence about a log that can't be opened.
async fn refused(options: &Options) -> String {
    open(options).await.map(|opened| opened.warnings).expect_err("a refusal").to_string()
}

/// Makes the stream of the log in another way.
fn made(server: &Server, stream: &str, config: &str) {
    let body = format!("{{\"name\":\"{stream}\",{config}}}");
    let what = format!("PUB $JS.API.STREAM.CREATE.{stream} answer {}\r\n{body}\r\n", body.len());
    server.tell(&format!("CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\n{what}"), "MSG answer");
}

#[tokio::test]
async fn streams_that_would_lose_entries_are_refused() {
    let server = server(Program::NewNats, "");
    for (name, config, word) in [
        ("young", r#""subjects":["young.log"],"max_age":1000000000"#, "max_age"),
        ("brief", r#""subjects":["brief.log"],"storage":"memory""#, "memory"),
        ("other", r#""subjects":["other.logs"]"#, "subject"),
    ] {
        made(&server, &format!("{name}-log"), config);
        let mut options = options("nats", &server);
        options.name = name.parse().expect("a name");
        let sentence = refused(&options).await;
        assert!(sentence.contains(word) && sentence.contains(&format!("{name}-log")), "{sentence}");
    }
    made(&server, "taken", r#""subjects":["presently.>"]"#);
    let sentence = refused(&options("nats", &server)).await;
    assert!(sentence.contains("subjects overlap"), "{sentence}");
}

#[tokio::test]
async fn a_server_alone_is_warned_of_and_more_copies_than_servers_are_refused() {
    let server = server(Program::OldNats, "");
    let warnings = open(&options("nats", &server)).await.expect("a log").warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("loss"), "{warnings:?}");
    let mut wanted = options("nats", &server);
    (wanted.replicas, wanted.name) = (Some(3), "more".parse().expect("a name"));
    let sentence = refused(&wanted).await;
    assert!(sentence.contains("needs 3 servers"), "{sentence}");
    wanted.name = ClusterName::default();
    let sentence = refused(&wanted).await;
    assert!(sentence.contains("1 of 3 replicas"), "{sentence}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_in_time() {
    let mut elsewhere = options("nats", &server(Program::NewNats, ""));
    elsewhere.patience = Duration::from_millis(300);
    let sentence = refused(&elsewhere).await;
    assert!(sentence.contains("no server answers"), "{sentence}");
    let mut elsewhere = options("redis", &server(Program::Redis, ""));
    elsewhere.patience = Duration::from_millis(300);
    let sentence = refused(&elsewhere).await;
    assert!(sentence.starts_with("redis://127.0.0.1:") && sentence.contains("refused"), "{sentence}");
}

#[tokio::test]
async fn a_redis_that_would_lose_entries_is_refused_or_warned_of() {
    let evicting = server(Program::Redis, "--maxmemory 100mb --maxmemory-policy allkeys-lru");
    let sentence = refused(&options("redis", &evicting)).await;
    assert!(sentence.contains("allkeys-lru") && sentence.contains("noeviction"), "{sentence}");
    let clustered = server(Program::Redis, "--cluster-enabled yes");
    let sentence = refused(&options("redis", &clustered)).await;
    assert!(sentence.contains("Cluster"), "{sentence}");
    let forgetful = server(Program::Redis, "--appendonly no --save 3600 1");
    let warnings = open(&options("redis", &forgetful)).await.expect("a log").warnings;
    assert!(warnings.iter().any(|warning| warning.contains("appendonly")), "{warnings:?}");
    let careless = server(Program::Redis, "--appendfsync everysec");
    let warnings = open(&options("redis", &careless)).await.expect("a log").warnings;
    assert!(warnings.iter().any(|warning| warning.contains("everysec")), "{warnings:?}");
}

#[tokio::test]
async fn a_batch_in_redis_waits_for_a_replica_and_a_replica_is_no_log() {
    let main = server(Program::Redis, "");
    let mut replica = server(Program::Redis, &format!("--replicaof 127.0.0.1 {}", main.addr().port()));
    let connected = async {
        while !main.hears("INFO replication\r\n").contains("state=online") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), connected).await.expect("a replica");
    let opened = open(&options("redis", &main)).await.expect("a log");
    assert!(!opened.warnings.iter().any(|warning| warning.contains("no replica")), "{:?}", opened.warnings);
    assert_eq!(opened.engine.append(Bytes::from_static(b"a")).await, Ok(1));
    let waits = main.hears("INFO commandstats\r\n");
    assert!(waits.contains("cmdstat_wait:calls=1"), "{waits}");
    let sentence = refused(&options("redis", &replica)).await;
    assert!(sentence.contains("is a replica"), "{sentence}");
    // Without it, batches are acknowledged again as soon as the server knows.
    replica.kill();
    let answered = async { while opened.engine.append(Bytes::from_static(b"b")).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), answered).await.expect("an answer");
}

#[tokio::test]
async fn passwords_are_needed_and_never_shown() {
    let server = server(Program::Redis, "--requirepass open-sesame");
    let sentence = refused(&options("redis", &server)).await;
    assert!(sentence.contains("NOAUTH") || sentence.contains("password"), "{sentence}");
    let mut wrong = options("redis", &server);
    wrong.password = Some(Secret::new("close-sesame"));
    let sentence = refused(&wrong).await;
    assert!(sentence.contains("password") && !sentence.contains("sesame"), "{sentence}");
    let mut right = options("redis", &server);
    right.password = Some(Secret::new("open-sesame"));
    let opened = open(&right).await.expect("a log");
    assert_eq!(opened.engine.append(Bytes::from_static(b"a")).await, Ok(1));
    super::calls::answers(&*opened.engine, &"7".repeat(32)).await;
    assert!(!format!("{right:?} {opened:?}").contains("sesame"));
}

/// A certificate for this machine, and its key.
fn certificate(folder: &TempDir) -> [String; 2] {
    let made =
        rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("a certificate");
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path.to_str().expect("a path in UTF-8").to_owned()
    };
    [file("cert", made.cert.pem()), file("key", made.signing_key.serialize_pem())]
}

/// Encrypted, and trusted by the file of authorities alone.
async fn encrypts(mut options: Options, certificate: &str) {
    options.patience = Duration::from_secs(1);
    let sentence = refused(&options).await;
    assert!(sentence.to_lowercase().contains("certificate"), "{sentence}");
    (options.authorities, options.patience) = (Some(certificate.into()), Duration::from_secs(20));
    let engine = open(&options).await.expect("a log").engine;
    let batch = Bytes::from_static(b"a");
    assert_eq!(engine.append(batch.clone()).await, Ok(1));
    assert_eq!(engine.read(0).next().await, Ok((1, batch)));
    super::calls::answers(&*engine, &"7".repeat(32)).await;
}

#[tokio::test]
async fn connections_are_encrypted_where_the_address_says_so() {
    let folder = tempfile::tempdir().expect("a directory");
    let [certificate, key] = certificate(&folder);
    let nats = server(Program::NewNats, &format!("--tls --tlscert {certificate} --tlskey {key}"));
    encrypts(options("tls", &nats), &certificate).await;
    let port = free_port();
    let tls = format!("--tls-port {port} --tls-cert-file {certificate} --tls-key-file {key} --tls-auth-clients no");
    let redis = server(Program::Redis, &format!("{tls} --tls-ca-cert-file {certificate}"));
    let mut options = options("rediss", &redis);
    options.addresses = format!("rediss://127.0.0.1:{port}").parse().expect("an address");
    encrypts(options, &certificate).await;
}

#[tokio::test]
async fn a_nats_that_wants_credentials_says_so() {
    let server = server(Program::NewNats, "--auth open-sesame");
    let sentence = refused(&options("nats", &server)).await;
    assert!(sentence.contains("refuses the credentials"), "{sentence}");
    let mut wrong = options("nats", &server);
    wrong.credentials = Some(Secret::new("no credentials of sesame"));
    let sentence = refused(&wrong).await;
    assert!(sentence.contains("credentials file") && !sentence.contains("sesame"), "{sentence}");
}
