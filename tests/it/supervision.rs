//! Supervision: after a panic in one part the set survives, and all other readers still get every event.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use presently::Faults;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::harness::{Conn, FIN, Mirror, RawWs, Reader, TEXT, TestServer, Transport, frame, upgrade, within};

/// Causes one panic at a chosen point.
#[derive(Clone)]
struct Saboteur {
    armed: Arc<Mutex<Option<&'static str>>>,
    /// A message for each sweep.
    sweeps: UnboundedSender<()>,
}

impl Saboteur {
    fn new() -> (Self, UnboundedReceiver<()>) {
        let (sweeps, seen) = unbounded_channel();
        (Self { armed: Arc::default(), sweeps }, seen)
    }

    fn arm(&self, point: &'static str) {
        *self.armed.lock().expect("unpoisoned") = Some(point);
    }

    fn is_armed(&self) -> bool {
        self.armed.lock().expect("unpoisoned").is_some()
    }

    /// Releases the lock before the panic, which would poison the lock.
    fn goes_off(&self, point: &'static str) -> bool {
        self.armed.lock().expect("unpoisoned").take_if(|armed| *armed == point).is_some()
    }

    fn faults(&self) -> Faults {
        let saboteur = self.clone();
        Faults::new(move |point| {
            if point == "sweep" {
                // Fails only when the test has ended.
                let _ = saboteur.sweeps.send(());
            }
            assert!(!saboteur.goes_off(point), "sabotage of {point}");
        })
    }
}

/// A gateway with a saboteur, and readers of the lobby over both transports.
struct Stage {
    server: TestServer,
    saboteur: Saboteur,
    readers: Vec<Reader>,
    sweeps: UnboundedReceiver<()>,
}

impl Stage {
    async fn set() -> Self {
        let (saboteur, sweeps) = Saboteur::new();
        let server = TestServer::with(|config| {
            config.faults = saboteur.faults();
            config.history = 64;
            // Sweeps come every eighth of this.
            config.history_for = Duration::from_secs(4);
        });
        let server = server.await;
        server.sign_in("lobby", "ann").await;
        let mut readers = Vec::new();
        for n in 0..6 {
            readers.push(Reader::open(server.addr, Transport::BOTH[n % 2], "lobby").await.begun().await);
        }
        Self { server, saboteur, readers, sweeps }
    }

    /// Reads until all readers have caught up or lost their stream; returns the mirrors of the lost.
    async fn catch_up(&mut self, cursor: &str) -> Vec<Mirror> {
        let mut lost = Vec::new();
        let mut left = Vec::new();
        for mut reader in self.readers.drain(..) {
            match within(cursor, reaches(&mut reader, cursor)).await {
                true => left.push(reader),
                false => lost.push(reader.mirror),
            }
        }
        self.readers = left;
        lost
    }

    /// Checks that the panic happened, that no other reader was affected, and that all others get further events.
    async fn goes_on(&mut self, lost: usize) {
        assert!(!self.saboteur.is_armed(), "no panic happened");
        let cursor = self.server.sign_in("lobby", "bob").await;
        assert!(self.catch_up(&cursor).await.is_empty(), "another stream was lost");
        assert_eq!(self.readers.len(), 6 - lost);
        let held = self.server.held("lobby").await;
        assert!(held.users.contains_key("ann") && held.users.contains_key("bob"), "{held:?}");
        for reader in &self.readers {
            assert_eq!((&reader.mirror.users, reader.mirror.seen("snapshot")), (&held.users, 1));
        }
    }
}

/// Reads up to `cursor`; false when the stream ends before.
async fn reaches(reader: &mut Reader, cursor: &str) -> bool {
    while !reader.mirror.reached(cursor) {
        if !reader.step().await {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_while_a_connection_is_read_ends_only_this_connection() {
    let mut stage = Stage::set().await;
    let mut victim = RawWs::open(stage.server.addr, "lobby").await;
    victim.frame().await;
    stage.saboteur.arm("read");
    victim.send(frame(FIN | TEXT, "{}")).await;
    victim.lost().await;
    stage.goes_on(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_while_a_stream_is_written_ends_only_this_stream_and_the_reader_can_resume() {
    let mut stage = Stage::set().await;
    stage.saboteur.arm("write");
    let cursor = stage.server.sign_in("lobby", "cyd").await;
    let lost = stage.catch_up(&cursor).await;
    assert_eq!(lost.len(), 1, "one write, one stream");
    stage.goes_on(1).await;
    for mirror in lost {
        let mut reader = Reader::resume(stage.server.addr, Transport::Ws, mirror).await;
        reader.caught_up(&cursor).await;
        assert_eq!(reader.mirror.seen("resumed"), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_first_write_of_a_stream_ends_only_this_stream() {
    let mut stage = Stage::set().await;
    for ask in ["GET /user-stream HTTP/1.1\r\nHost: localhost\r\n\r\n", &upgrade("/ws?room=lobby")] {
        stage.saboteur.arm("write");
        let mut victim = Conn::open(stage.server.addr).await;
        victim.send(ask).await;
        victim.lost().await;
        stage.goes_on(0).await;
        stage.server.sign_out("lobby", "bob").await;
        // All are written to before the next fault is armed, or the panic would happen in one of these writes.
        let cursor = stage.server.cursor("lobby").await;
        assert!(stage.catch_up(&cursor).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_while_a_slow_reader_is_written_to_ends_only_this_reader() {
    let mut stage = Stage::set().await;
    let mut victim = Reader::narrow(stage.server.addr, Transport::Sse, Mirror::of("lobby")).await.begun().await;
    let quick = std::mem::take(&mut stage.readers);
    drop(quick);
    let cursor = stage.server.flood("lobby").await;
    stage.saboteur.arm("write");
    assert!(!within("the end", reaches(&mut victim, &cursor)).await, "the victim kept the stream");
    assert!(!stage.saboteur.is_armed());
    let mut reader = Reader::resume(stage.server.addr, Transport::Sse, victim.mirror).await;
    reader.caught_up(&cursor).await;
    assert_eq!(reader.mirror.users, stage.server.held("lobby").await.users);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_panics_is_restarted_and_no_reader_misses_an_event() {
    let mut stage = Stage::set().await;
    for restarts in 1..=3 {
        stage.saboteur.arm("hub");
        let cursor = stage.server.sign_in("lobby", &format!("cyd {restarts}")).await;
        assert!(stage.catch_up(&cursor).await.is_empty(), "a reader lost its stream");
        assert_eq!(stage.server.restarts().await, restarts);
    }
    stage.goes_on(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweeper_that_panics_is_restarted_and_the_set_survives() {
    let mut stage = Stage::set().await;
    stage.saboteur.arm("sweep");
    while stage.saboteur.is_armed() {
        within("a sweep that fails", stage.sweeps.recv()).await.expect("a sweep");
    }
    within("a sweep that does not", stage.sweeps.recv()).await.expect("a sweep");
    assert_eq!(stage.server.restarts().await, 1);
    stage.goes_on(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_still_stops_after_panics() {
    let mut stage = Stage::set().await;
    stage.saboteur.arm("hub");
    let cursor = stage.server.sign_in("lobby", "cyd").await;
    stage.catch_up(&cursor).await;
    stage.server.stop().await;
    for reader in &mut stage.readers {
        assert!(reader.ended().await, "a clean end");
    }
}
