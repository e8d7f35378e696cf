//! The drain: after SIGTERM balancers are told, streams end one after the other, and their clients are told when to return.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::harness::{Answer, Binary, Conn, Dialogue, Session, Sse, Talker, Transport, within};

const STREAM: &str = "/api/rooms/lobby/stream";

/// How a stream ended.
struct Told {
    transport: Transport,
    /// Since the signal.
    after: Duration,
    /// When the client had better return.
    wait: Duration,
}

/// Reads an event stream to its clean end; returns the last events.
async fn read_out(stream: &mut Sse) -> Option<String> {
    let mut refused = None;
    while let Some(event) = within("the end", stream.next()).await {
        refused = event.event.filter(|kind| kind == "refused").map(|_| event.data);
    }
    assert!(stream.ended_cleanly(), "its last chunk");
    refused
}

/// When a stopping gateway said to return, in milliseconds, at the end of a stream.
async fn told(addr: std::net::SocketAddr, transport: Transport) -> impl Future<Output = u64> + Send {
    enum Open {
        Sse(Sse),
        Ws(Talker),
        Session(Session),
    }
    let open = match transport {
        Transport::Sse => {
            let mut stream = Sse::open(addr, STREAM, &[]).await;
            within("retry", stream.until(|stream| stream.retry.is_some())).await;
            Open::Sse(stream)
        }
        Transport::Ws => Open::Ws(Talker::open(addr, "room=lobby").await),
        Transport::Session => Open::Session(Session::open(addr).await),
    };
    async move {
        match open {
            Open::Sse(mut stream) => {
                assert_eq!(read_out(&mut stream).await, None, "an EventSource knows no refusal with retry");
                stream.retry.expect("a time")
            }
            Open::Ws(talker) => {
                let (code, reason) = talker.closed().await;
                assert_eq!(code, 1012, "{reason}");
                reason.strip_prefix("stopping ").expect(&reason).parse().expect("milliseconds")
            }
            Open::Session(mut session) => {
                let refused = read_out(&mut session.stream).await.expect("a reason");
                let refused: Value = serde_json::from_str(&refused).expect("a JSON text");
                assert_eq!((&refused["code"], &refused["retry"]), (&json!("stopping"), &json!(true)));
                session.stream.retry.expect("a time")
            }
        }
    }
}

/// Opens `many` streams, a third over each transport. Their ends come through the channel, in order.
async fn crowd(gateway: &Binary, many: usize) -> (mpsc::Sender<Instant>, mpsc::UnboundedReceiver<Told>) {
    let (ends, receiver) = mpsc::unbounded_channel();
    let (start, mut started) = mpsc::channel::<Instant>(1);
    let (begun, signal) = tokio::sync::watch::channel(None);
    tokio::spawn(async move { begun.send(started.recv().await) });
    for n in 0..many {
        let transport = Transport::ALL[n % 3];
        let (end, ends, signal) = (told(gateway.addr, transport).await, ends.clone(), signal.clone());
        tokio::spawn(async move {
            let wait = Duration::from_millis(end.await);
            let after = signal.borrow().expect("ended before the signal").elapsed();
            let _ = ends.send(Told { transport, after, wait });
        });
    }
    (start, receiver)
}

/// The status of a request over the socket at `path`.
async fn status(path: &Path, target: &str) -> String {
    let mut socket = within("a connection", UnixStream::connect(path)).await.expect("somebody listens");
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("an open connection");
    let mut answer = String::new();
    within("an answer", socket.read_to_string(&mut answer)).await.expect("text");
    answer.split(' ').nth(1).expect("a status").to_owned()
}

async fn ask(conn: &mut Conn, target: &str) -> Answer {
    conn.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
    conn.answer().await
}

async fn exits(mut gateway: Binary) {
    assert_eq!(gateway.exit().await.code(), Some(0), "{:#?}", gateway.log());
}

#[tokio::test]
async fn every_stream_ends_and_its_client_returns_after_the_drain_and_within_as_much_time() {
    let drain = Duration::from_millis(900);
    let gateway = Binary::start(&["--drain", "900ms"]).await;
    let (start, mut ends) = crowd(&gateway, 200).await;
    start.send(Instant::now()).await.expect("a test");
    gateway.signal("TERM").await;
    let mut over = Vec::new();
    while let Some(end) = within("the end of each stream", ends.recv()).await {
        over.push(end);
    }
    assert_eq!(over.len(), 200);
    for Told { transport, after, wait } in over {
        assert!(after + wait >= drain, "{transport:?} before the drain is over: {after:?}, then {wait:?}");
        assert!(wait <= 2 * drain, "{transport:?} after more than that: {wait:?}");
    }
    exits(gateway).await;
}

/// The streams of a long drain end one after the other, sessions first; whatever is open is served; a second signal ends all.
#[tokio::test]
async fn streams_end_one_after_the_other_while_the_others_are_served() {
    let folder = tempdir().expect("a folder");
    let admin = folder.path().join("admin.sock");
    let gateway = Binary::start(&["--drain", "200s", "--admin", &format!("unix:{}", admin.display())]).await;
    let mut kept = [Conn::open(gateway.addr).await, Conn::open(gateway.addr).await, Conn::open(gateway.addr).await];
    for conn in &mut kept {
        assert_eq!(ask(conn, "/api/rooms").await.expect(200).header("connection"), None);
    }
    let (start, mut ends) = crowd(&gateway, 200).await;
    let mut ann = Talker::open(gateway.addr, "").await;
    start.send(Instant::now()).await.expect("a test");
    gateway.signal("TERM").await;
    for _ in 0..3 {
        let Told { transport, after, wait } = within("an end", ends.recv()).await.expect("an end");
        assert_eq!(transport, Transport::Session, "sessions first");
        assert!(after + wait >= Duration::from_secs(200) && wait <= Duration::from_secs(200), "{after:?}, {wait:?}");
    }
    ann.join("lobby", "ann").await;
    assert_eq!([status(&admin, "/readyz").await, status(&admin, "/healthz").await], ["503", "200"]);
    let [mut first, second, mut third] = kept;
    assert_eq!(ask(&mut first, "/api/rooms/lobby").await.expect(200).json()["count"], 1);
    first.ended().await;
    let mut late = Sse::over(second, STREAM, &[]).await;
    assert_eq!(late.head.header("connection"), Some("close"));
    assert_eq!(read_out(&mut late).await, None);
    assert!((190_000..=400_000).contains(&late.retry.expect("a time")), "{:?}", late.text);
    assert_eq!(ask(&mut third, "/nothing").await.expect(404).header("connection"), Some("close"));
    gateway.signal("TERM").await;
    let mut waits = Vec::new();
    while let Some(end) = within("the end of each stream", ends.recv()).await {
        waits.push(end.wait.as_secs());
    }
    waits.sort_unstable();
    assert!((190..=197).contains(&waits.len()), "{waits:?}");
    let (least, most) = (waits[0], waits[waits.len() - 1]);
    assert!(least < 10 && (190..=200).contains(&most), "all return in the time of a drain from then on: {waits:?}");
    let (_, reason) = ann.closed().await;
    assert!(reason.starts_with("stopping "), "{reason}");
    exits(gateway).await;
}

#[tokio::test]
async fn during_the_delay_balancers_are_told_and_newcomers_are_served() {
    let gateway = Binary::start(&["--drain-delay", "1day"]).await;
    let mut kept = Conn::open(gateway.addr).await;
    assert_eq!(ask(&mut kept, "/readyz").await.expect(200).header("connection"), None);
    let mut before = Talker::open(gateway.addr, "room=lobby").await;
    before.hear().await;
    gateway.signal("TERM").await;
    let told = async {
        while gateway.get("/readyz").await.status == 200 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    within("503", told).await;
    let refused = ask(&mut kept, "/readyz").await.expect(503);
    assert_eq!((&refused.json()["code"], refused.header("connection")), (&json!("stopping"), Some("close")));
    kept.ended().await;
    let mut stream = Sse::open(gateway.addr, STREAM, &[]).await;
    assert_eq!(stream.head.header("connection"), Some("close"));
    within("a snapshot", stream.next()).await.expect("a snapshot");
    let mut bob = Talker::open(gateway.addr, "").await;
    bob.join("lobby", "bob").await;
    assert_eq!(before.hear().await["user"], "bob");
    assert_eq!(within("an event", stream.next()).await.map(|event| event.data.contains("bob")), Some(true));
    bob.part(crate::harness::Parting::Close(None)).await;
    assert_eq!(before.hear().await["action"], "del", "who leaves has left");
    gateway.signal("INT").await;
    assert_eq!(before.closed().await.0, 1012);
    exits(gateway).await;
}

#[tokio::test]
async fn an_interrupt_does_not_delay() {
    let gateway = Binary::start(&["--drain-delay", "1day"]).await;
    let mut stream = Sse::open(gateway.addr, STREAM, &[]).await;
    within("a snapshot", stream.next()).await.expect("a snapshot");
    gateway.signal("INT").await;
    assert_eq!(read_out(&mut stream).await, None);
    exits(gateway).await;
}
