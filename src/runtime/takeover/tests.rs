use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use tempfile::{TempDir, tempdir};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::predecessor::Predecessor;
use super::successor::{Succession, Successor};
use super::wire::Wire;
use super::*;
use crate::runtime::inherited::Passed;

const LIMIT: Duration = Duration::from_secs(20);

async fn asked() -> (TempDir, Succession, Successor, Predecessor) {
    let folder = tempdir().unwrap();
    let succession = Succession::open(folder.path()).unwrap();
    let (predecessor, successor) = tokio::join!(Predecessor::ask(folder.path()), succession.asked());
    (folder, succession, successor, predecessor.unwrap().unwrap())
}

#[tokio::test]
async fn sockets_are_handed_over_with_the_connections_that_wait() {
    let (folder, _succession, mut successor, mut predecessor) = asked().await;
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let waiting: Vec<_> = (0..40).map(|_| TcpStream::connect(tcp.local_addr().unwrap()).unwrap()).collect();
    let path = folder.path().join("admin.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let gifts = [
        Gift { socket: tcp.into(), entrance: Entrance::Public, owns_file: false },
        Gift { socket: unix.into(), entrance: Entrance::Operators, owns_file: true },
    ];
    let (given, estate) = tokio::join!(successor.give(&gifts), predecessor.sockets());
    given.unwrap();
    drop(gifts);
    let estate = estate.unwrap();
    let (mut public, mut operators) = (estate.public.sockets(), estate.operators.sockets());
    let (Some(Passed::Tcp(listener, _)), None) = (public.pop(), public.pop()) else { panic!("one of IP") };
    for client in &waiting {
        // In the order in which they came.
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
    }
    let Some(Passed::Unix { path: given, owns_file: true, .. }) = operators.pop() else { panic!("one with its file") };
    assert_eq!(given, path);
}

#[tokio::test]
async fn what_ends_in_the_old_process_is_told_to_the_new_one_until_the_old_one_ends() {
    let (_folder, _succession, mut successor, mut predecessor) = asked().await;
    let (serving, told) = tokio::join!(successor.serving(LIMIT), predecessor.serve());
    serving.and(told).unwrap();
    let ended = |n: u128| Ended {
        room: "caf\u{e9} \"\u{1f600}".parse().unwrap(),
        user: "x".repeat(128).parse().unwrap(),
        connection: ConnectionId(Uuid::from_u128(n)),
    };
    let telling = tokio::spawn(async move {
        for n in 0..1_000 {
            successor.tell(&ended(n)).await.unwrap();
        }
    });
    for n in 0..1_000 {
        assert_eq!(predecessor.ended().await, Some(ended(n)));
    }
    telling.await.unwrap();
    assert_eq!(predecessor.ended().await, None);
}

#[tokio::test]
async fn a_refusal_says_why() {
    let (_folder, _succession, successor, mut predecessor) = asked().await;
    let (refused, ()) = tokio::join!(predecessor.sockets(), successor.refuse("it stops already"));
    assert_eq!(refused.unwrap_err(), "--takeover: it stops already");
}

#[tokio::test]
async fn a_new_process_that_fails_before_it_serves_is_noticed() {
    let (_folder, _succession, mut successor, predecessor) = asked().await;
    drop(predecessor);
    assert_eq!(successor.serving(LIMIT).await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    let (_folder, _succession, mut successor, _predecessor) = asked().await;
    assert_eq!(successor.serving(Duration::ZERO).await.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn an_old_process_that_ends_before_it_gives_is_one_sentence() {
    let (_folder, succession, successor, mut predecessor) = asked().await;
    drop((succession, successor));
    assert!(predecessor.sockets().await.unwrap_err().starts_with("--takeover: the running gateway gives nothing: "));
}

#[tokio::test]
async fn who_says_something_else_is_passed_over() {
    let folder = tempdir().unwrap();
    let succession = Succession::open(folder.path()).unwrap();
    let frame = |json: &str| [&u32::try_from(json.len()).unwrap().to_be_bytes(), json.as_bytes()].concat();
    let mut others = Vec::new();
    for bytes in [
        Vec::new(),
        vec![0xff; 4],
        frame("{}"),
        frame(r#"{"say":"serving"}"#),
        frame(r#"{"say":"take","protocol":99}"#),
    ] {
        let mut other = UnixStream::connect(place(folder.path())).await.unwrap();
        other.write_all(&bytes).await.unwrap();
        // Who says nothing would be waited for.
        other.shutdown().await.unwrap();
        others.push(other);
    }
    let mut newer = Wire::new(others.pop().unwrap()).unwrap();
    let (predecessor, _) = tokio::join!(Predecessor::ask(folder.path()), succession.asked());
    assert!(predecessor.unwrap().is_some());
    let (word, _) = newer.hear(LIMIT).await.unwrap();
    assert!(matches!(word, Word::No { why } if why.contains("version 1 of the takeover, and not 99")));
}

#[tokio::test]
async fn only_processes_of_the_same_user_are_talked_to() {
    let user = rustix::process::geteuid().as_raw();
    let (one, other) = UnixStream::pair().unwrap();
    assert!(Wire::of_user(one, user).is_ok());
    let refused = Wire::of_user(other, user + 1).unwrap_err();
    assert_eq!(
        (refused.kind(), refused.to_string()),
        (std::io::ErrorKind::PermissionDenied, format!("a process of user {user} is there"))
    );
}

#[tokio::test]
async fn the_socket_is_the_users_own_and_goes_with_its_gateway() {
    let folder = tempdir().unwrap();
    assert!(Predecessor::ask(folder.path()).await.unwrap().is_none(), "nobody is there");
    let path = place(folder.path());
    // Left behind by a killed gateway.
    drop(UnixListener::bind(&path).unwrap());
    assert!(Predecessor::ask(folder.path()).await.unwrap().is_none(), "nobody answers");
    let old = Succession::open(folder.path()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let new = Succession::open(folder.path()).unwrap();
    drop(old);
    assert!(path.exists(), "it is the new one's");
    drop(new);
    assert!(!path.exists());
    let long = folder.path().join("x".repeat(100));
    fs::create_dir(&long).unwrap();
    assert_eq!(Succession::open(&long).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}
