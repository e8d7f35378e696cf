//! People come, go, lose connections and return, on both transports: every reader ends with the server's set, no reader
//! sees an impossible event, and every `del` has the right reason.
//!
//! `PRESENTLY_SEED` repeats the choices of a failed run; the interleaving of tasks depends on the machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::json;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::convergence::{Seed, join};
use crate::harness::{Client, Conn, Mirror, Parting, Reader, TestServer, Transport, member_path, within};

const PEOPLE: usize = 24;
const TURNS: usize = 12;
const GRACE: Duration = Duration::from_secs(1);

/// An expected event of one person: `add`, or `del` with a reason.
#[derive(Clone, Debug, PartialEq)]
enum Story {
    Is(&'static str),
    /// Both or neither: the person returned so late that the grace period may have ended.
    Perhaps(&'static str, &'static str),
}

/// A person with a unique name, who comes and goes.
struct Person {
    client: Client,
    rng: Rng,
    name: String,
    id: Uuid,
    mirror: Mirror,
    story: Vec<Story>,
}

impl Person {
    async fn live(mut self) -> (String, Vec<Story>, Mirror) {
        for _ in 0..TURNS {
            self.visit().await;
        }
        (self.name, self.story, self.mirror)
    }

    /// Comes over either transport, perhaps returns and updates `meta`, and goes in one of several ways.
    async fn visit(&mut self) {
        let mut transport = Transport::BOTH[self.rng.usize(..2)];
        let mut reader = self.come(transport).await;
        self.story.push(Story::Is("add"));
        for _ in 0..self.rng.usize(..3) {
            transport = Transport::BOTH[self.rng.usize(..2)];
            reader = self.come_back(reader, transport).await;
        }
        if transport == Transport::Ws && self.rng.bool() {
            let meta = json!({"n": self.rng.u8(..3)});
            reader.does(json!({"action": "update", "room": "lobby", "user": self.name, "meta": meta})).await;
        }
        let reason = self.go(reader, transport).await;
        self.story.push(Story::Is(reason));
    }

    async fn come(&mut self, transport: Transport) -> Reader {
        let query = format!("as={}&client={}", self.name, self.id);
        let narrow = self.rng.u8(..4) == 0;
        let conn = if narrow { Conn::narrow(self.client.addr).await } else { Conn::open(self.client.addr).await };
        let mut reader = Reader::with(conn, transport, self.mirror.clone(), &query).await;
        let name = self.name.clone();
        reader.until("oneself", |mirror| mirror.is_set() && mirror.users.contains_key(&name)).await;
        reader
    }

    /// Returns on a new connection, while the old connection is still open or within the grace period.
    async fn come_back(&mut self, reader: Reader, transport: Transport) -> Reader {
        if self.rng.u8(..3) == 0 {
            self.mirror = reader.mirror.clone();
            let next = self.come(transport).await;
            drop(reader);
            return next;
        }
        let begun = Instant::now();
        let how = [Parting::Close(Some(1001)), Parting::Close(Some(4001)), Parting::Fin, Parting::Reset];
        self.mirror = reader.part(how[self.rng.usize(..how.len())]).await;
        let next = self.come(transport).await;
        if begun.elapsed() > GRACE / 2 {
            self.story.push(Story::Perhaps("timeout", "add"));
        }
        next
    }

    /// Goes for good; returns the reason.
    async fn go(&mut self, reader: Reader, transport: Transport) -> &'static str {
        let path = member_path("lobby", &self.name);
        match self.rng.u8(..5) {
            0 if transport == Transport::Ws => {
                self.mirror = reader.part(Parting::Close([None, Some(1000), Some(3000)][self.rng.usize(..3)])).await;
                "closed"
            }
            0 => {
                self.mirror = reader.mirror.clone();
                self.client.send("DELETE", &format!("{path}?client={}", self.id), &[], "").await.expect(204);
                "closed"
            }
            1 => self.is_signed_out(reader, &path, "signed_out").await,
            2 => self.is_signed_out(reader, &format!("{path}?reason=kicked"), "kicked").await,
            // The lease outlasts the connection and is the last hold to end.
            3 => {
                self.client.send_json("PUT", &path, &json!({"ttl": 2})).await.expect(200);
                self.mirror = reader.part(Parting::Reset).await;
                self.away().await;
                "expired"
            }
            _ => {
                // A WebSocket is silent without pongs; an SSE stream is silent only without a network.
                if transport == Transport::Ws && self.rng.bool() {
                    self.mirror = reader.mirror.clone();
                    self.away().await;
                    drop(reader);
                } else {
                    self.mirror = reader.part(Parting::Reset).await;
                    self.away().await;
                }
                "timeout"
            }
        }
    }

    async fn is_signed_out(&mut self, reader: Reader, path: &str, reason: &'static str) -> &'static str {
        self.client.send("DELETE", path, &[], "").await.expect(204);
        self.mirror = reader.part(Parting::Fin).await;
        // A signed-out client may only watch, so the person takes a new id to return.
        self.id = Uuid::new_v4();
        reason
    }

    async fn away(&self) {
        within("one's own end", async { while self.client.is_present("lobby", &self.name).await {} }).await;
    }
}

/// Reads every event from the beginning to the end; returns the actions and reasons of each user.
async fn witness(mut reader: Reader, over: Arc<Notify>, end: String) -> BTreeMap<String, Vec<String>> {
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while reader.last["user"] != end {
        assert!(reader.step().await, "the witness lost its stream");
        let (action, user) = (&reader.last["action"], &reader.last["user"]);
        let told = if action == "del" { &reader.last["reason"] } else { action };
        if action != "update" && user.is_string() {
            seen.entry(user.as_str().expect("a name").into()).or_default().push(told.as_str().expect("text").into());
        }
    }
    over.notify_one();
    assert_eq!((reader.mirror.seen("snapshot"), reader.mirror.seen("changes")), (1, 0), "a witness is never behind");
    seen
}

/// Whether `seen` agrees with `story`.
fn agrees(story: &[Story], seen: &[String]) -> bool {
    match (story, seen) {
        ([], []) => true,
        ([Story::Is(told), story @ ..], [first, seen @ ..]) => told == first && agrees(story, seen),
        ([Story::Perhaps(a, b), story @ ..], [first, second, rest @ ..]) if a == first && b == second => {
            agrees(story, rest) || agrees(story, seen)
        }
        ([Story::Perhaps(..), story @ ..], seen) => agrees(story, seen),
        ([], _) | ([Story::Is(_), ..], []) => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_coming_and_going_is_reported_with_the_right_reason() {
    let seed = Seed::choose();
    let server = TestServer::with(|config| {
        config.grace = GRACE;
        config.keep_alive = Duration::from_millis(200);
        config.send_within = Duration::from_millis(800);
        config.history = 200;
    })
    .await;
    let over = Arc::new(Notify::new());
    let witness_reader = Reader::open(server.addr, Transport::Ws, "lobby").await.begun().await;
    let witness = tokio::spawn(witness(witness_reader, Arc::clone(&over), "the end".into()));
    let people = (0..PEOPLE).map(|n| {
        let person = Person {
            client: (*server).clone(),
            rng: seed.rng(n),
            name: format!("person{n}"),
            id: Uuid::new_v4(),
            mirror: Mirror::of("lobby"),
            story: Vec::new(),
        };
        tokio::spawn(person.live())
    });
    let mut lives = Vec::new();
    for person in people.collect::<Vec<_>>() {
        lives
            .push(tokio::time::timeout(6 * crate::harness::DEADLINE, person).await.expect("a life").expect("no panic"));
    }
    let cursor = server.sign_in("lobby", "the end").await;
    over.notified().await;
    let seen = join(vec![witness]).await.remove(0);
    let held = server.held("lobby").await;
    assert_eq!(held.users.keys().collect::<Vec<_>>(), ["the end"]);
    for (n, (name, story, mirror)) in lives.into_iter().enumerate() {
        assert!(agrees(&story, &seen[&name]), "{name}: {:?} instead of {story:?}", seen[&name]);
        let mut reader = Reader::resume(server.addr, Transport::BOTH[n % 2], mirror).await;
        reader.caught_up(&cursor).await;
        assert_eq!(reader.mirror.users, held.users, "{name}");
    }
}
