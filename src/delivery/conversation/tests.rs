use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;
use crate::delivery::connection::tests::connected;
use crate::model::moment::Tick;

/// Subscriptions of a stream that reads no room.
struct NoRooms;

impl Subscriptions for NoRooms {
    fn add(&mut self, _: &Arc<Room>, _: bool) {}

    fn remove(&mut self, _: RoomKey) {}

    fn add_counts(&mut self) {}

    fn remove_counts(&mut self) {}
}

/// Answers all received bytes with as many messages of this size.
#[derive(Default)]
struct Echo {
    answer: usize,
    /// The most bytes of answers that waited when bytes were received.
    waited: usize,
    heard: Vec<u8>,
}

impl Peer for &mut Echo {
    fn begin(&mut self, _: &mut Talk<'_>) -> Flow {
        Flow::Continue
    }

    fn receive(&mut self, input: &[u8], talk: &mut Talk<'_>) -> Flow {
        self.waited = self.waited.max(talk.connection.queue(|outbox| outbox.answers()));
        self.heard.extend(input);
        for _ in input {
            talk.write(vec![b'a'; self.answer]);
        }
        Flow::Continue
    }

    fn gone(&mut self, _: Option<Code>) {}

    fn farewell(&mut self, _: Farewell, _: Framing) -> Bytes {
        Bytes::new()
    }
}

/// A past bug: answers were counted since none waited, so a client that read all the time was ended.
#[tokio::test]
async fn while_answers_wait_nothing_is_read_and_a_client_that_reads_gets_them_all() {
    const INPUT: usize = 256 * 1024;
    let (connection, client) = connected().await;
    let (mut reading, mut writing) = client.into_split();
    let mut echo = Echo { answer: 100, ..Echo::default() };
    let talk = converse(connection, &mut echo, NoRooms);
    let write = async {
        writing.write_all(&vec![0; INPUT]).await.unwrap();
        drop(writing);
    };
    let read = async {
        let mut all = vec![0; "HEAD".len() + 100 * INPUT];
        reading.read_exact(&mut all).await.unwrap();
    };
    let all = async { tokio::join!(talk, write, read) };
    timeout(Duration::from_secs(30), all).await.expect("all answers arrive");
    // What may wait when reading goes on, and the answers to one read more.
    assert!(echo.waited <= 256 * 1024, "{} bytes waited", echo.waited);
}

/// A past bug: the failed write was judged first, and the client's close was not heard.
#[tokio::test]
async fn what_the_client_sent_is_heard_although_a_write_has_failed() {
    let (connection, mut client) = connected().await;
    client.write_all(b"bye").await.unwrap();
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    connection.catch_up();
    let mut echo = Echo::default();
    let talk = converse(connection, &mut echo, NoRooms);
    timeout(Duration::from_secs(30), talk).await.expect("the connection is lost");
    assert_eq!(echo.heard, b"bye");
}

/// Is too fast after each read, for two pauses.
struct Hasty {
    connection: Arc<Connection>,
    pauses_left: usize,
    seen: Vec<String>,
}

impl Peer for &mut Hasty {
    fn begin(&mut self, _: &mut Talk<'_>) -> Flow {
        Flow::Continue
    }

    fn receive(&mut self, input: &[u8], _: &mut Talk<'_>) -> Flow {
        self.seen.push(format!("{} bytes", input.len()));
        self.pauses_left = 2;
        Flow::Continue
    }

    fn pause(&mut self) -> Option<Duration> {
        self.pauses_left = self.pauses_left.checked_sub(1)?;
        self.seen.push("a pause".into());
        if self.pauses_left == 0 {
            // During the first pause, a ping is sent, and its time is over.
            self.connection.keep_alive();
            self.connection.check_answers(Tick(u64::MAX), Duration::ZERO);
        }
        Some(Duration::from_millis(1))
    }

    fn gone(&mut self, _: Option<Code>) {
        self.seen.push("the end".into());
    }

    fn farewell(&mut self, _: Farewell, _: Framing) -> Bytes {
        Bytes::new()
    }
}

#[tokio::test]
async fn a_client_that_is_too_fast_is_read_later_and_not_lost_for_a_pong_that_was_not_read() {
    let (connection, mut client) = connected().await;
    client.write_all(&[0; 2 * READ]).await.unwrap();
    client.shutdown().await.unwrap();
    let mut hasty = Hasty { connection: connection.clone(), pauses_left: 0, seen: Vec::new() };
    let talk = converse(connection, &mut hasty, NoRooms);
    timeout(Duration::from_secs(30), talk).await.expect("the client's end");
    let read = ["4096 bytes", "a pause", "a pause"];
    assert_eq!(hasty.seen, [&read[..], &read[..], &["the end"]].concat());
}

/// Waits after each read, as for a change that the log has to take.
struct Waiting {
    connection: Arc<Connection>,
    busy: bool,
    seen: Vec<String>,
}

impl Peer for &mut Waiting {
    fn begin(&mut self, _: &mut Talk<'_>) -> Flow {
        Flow::Continue
    }

    fn receive(&mut self, input: &[u8], _: &mut Talk<'_>) -> Flow {
        self.seen.push(format!("{} bytes", input.len()));
        self.busy = true;
        Flow::Continue
    }

    fn poll_posted(&mut self, _: &mut Context<'_>) -> Poll<()> {
        if !self.busy {
            return Poll::Pending;
        }
        // During the wait, a ping is sent, and its time is over.
        self.connection.keep_alive();
        self.connection.check_answers(Tick(u64::MAX), Duration::ZERO);
        Poll::Ready(())
    }

    fn take_posted(&mut self, _: &mut Talk<'_>) -> Flow {
        if std::mem::take(&mut self.busy) {
            self.seen.push("went on".into());
        }
        Flow::Continue
    }

    fn is_busy(&self) -> bool {
        self.busy
    }

    fn gone(&mut self, _: Option<Code>) {
        self.seen.push("the end".into());
    }

    fn farewell(&mut self, _: Farewell, _: Framing) -> Bytes {
        Bytes::new()
    }
}

/// A past bug: a client whose change waited for the log of a cluster was taken for silent.
#[tokio::test]
async fn a_client_whose_message_waits_is_not_lost_for_a_pong_that_was_not_read() {
    let (connection, mut client) = connected().await;
    client.write_all(&[0; 2 * READ]).await.unwrap();
    client.shutdown().await.unwrap();
    let mut waiting = Waiting { connection: connection.clone(), busy: false, seen: Vec::new() };
    let talk = converse(connection, &mut waiting, NoRooms);
    timeout(Duration::from_secs(30), talk).await.expect("the client's end");
    let read = ["4096 bytes", "went on"];
    assert_eq!(waiting.seen, [&read[..], &read[..], &["the end"]].concat());
}
