//! Convergence: after any interruptions, every reader's set equals the server's set, at the end and at every cursor
//! before.
//!
//! `PRESENTLY_SEED` repeats the choices of a failed run; the interleaving of tasks depends on the machine.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::harness::{Client, Held, Mirror, Reader, Set, TestServer, Transport, member_path, quoted, within};

const ROOMS: [&str; 2] = ["lobby", "a/b"];
const WRITERS: usize = 4;
const READERS: usize = 16;
/// Commands of each writer.
const COMMANDS: usize = 500;

/// The seed of a run, printed if the run fails.
pub struct Seed(u64);

impl Seed {
    pub fn choose() -> Self {
        let given = std::env::var("PRESENTLY_SEED").ok();
        Self(given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("PRESENTLY_SEED is a number")))
    }

    /// A separate sequence of choices for each task.
    pub fn rng(&self, task: usize) -> Rng {
        Rng::with_seed(self.0.wrapping_add(task as u64))
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to repeat: PRESENTLY_SEED={}", self.0);
        }
    }
}

/// The set seen at each cursor: all readers at one cursor must see the same set.
#[derive(Default)]
struct Truth(Mutex<HashMap<String, Set>>);

impl Truth {
    fn check(&self, cursor: &str, users: &Set) {
        let mut seen = self.0.lock().expect("unpoisoned");
        match seen.get(cursor) {
            Some(known) => assert_eq!(known, users, "two sets at {cursor}"),
            None => drop(seen.insert(cursor.to_owned(), users.clone())),
        }
    }

    fn check_mirror(&self, mirror: &Mirror) {
        if let Some(cursor) = mirror.cursor.as_deref().filter(|_| mirror.is_set()) {
            self.check(cursor, &mirror.users);
        }
    }
}

/// State shared by all tasks of a run.
struct Run {
    client: Client,
    truth: Truth,
    /// Commands so far, of all writers.
    done: watch::Sender<usize>,
    /// The number of streams with a cursor that began with events, and with a snapshot or changes.
    resumed: AtomicUsize,
    replaced: AtomicUsize,
}

impl Run {
    /// Waits for so many further commands, or for the last.
    async fn pass(&self, commands: usize) {
        let mut done = self.done.subscribe();
        let until = (*done.borrow() + commands).min(WRITERS * COMMANDS);
        within("the writers", done.wait_for(|done| *done >= until)).await.expect("the run goes on");
    }

    fn is_over(&self) -> bool {
        *self.done.borrow() >= WRITERS * COMMANDS
    }
}

/// A writer: changes rooms at random, and keeps a model of the users that no other writer changes.
struct Writer {
    run: Arc<Run>,
    rng: Rng,
    number: usize,
    /// Each own user that is present.
    own: BTreeMap<(&'static str, String), Own>,
}

/// What a writer knows of a user of its own.
#[derive(Default)]
struct Own {
    /// The `meta` that the sign-in said.
    said: Option<Value>,
    /// The `meta` and the `info` that readers see.
    meta: Value,
    info: Value,
}

impl Own {
    fn absent() -> Self {
        Self { said: None, meta: json!({}), info: json!({}) }
    }

    /// The sign-in says `meta`, which is nothing new if it says so already.
    fn say(&mut self, meta: &Value) {
        if self.said.as_ref() != Some(meta) {
            (self.said, self.meta) = (Some(meta.clone()), meta.clone());
        }
    }
}

impl Writer {
    async fn write(mut self) -> BTreeMap<(&'static str, String), Own> {
        for _ in 0..COMMANDS {
            let room = ROOMS[self.rng.usize(..ROOMS.len())];
            match self.rng.u8(..10) {
                0 => self.batch(room).await,
                1 => self.shared(room).await,
                2 => self.look(room).await,
                _ => self.single(room).await,
            }
            self.run.done.send_modify(|done| *done += 1);
        }
        self.own
    }

    fn name(&mut self) -> String {
        format!("{}'s {}", self.number, self.rng.u8(..5))
    }

    /// Large, so that the socket of a reader that does not read is soon full.
    fn meta(&mut self) -> Value {
        if self.rng.bool() { json!({}) } else { json!({"n": self.rng.u8(..3), "filling": "x".repeat(900)}) }
    }

    /// A command on one of the writer's own users; the answer must agree with the model.
    async fn single(&mut self, room: &'static str) {
        let (user, meta, info) = (self.name(), self.meta(), json!({"role": self.rng.u8(..2)}));
        let path = member_path(room, &user);
        let key = (room, user);
        let present = self.own.contains_key(&key);
        match self.rng.u8(..4) {
            0 => {
                let answer = self.run.client.send_json("PUT", &path, &json!({ "meta": meta, "info": info })).await;
                assert_eq!(answer.status, if present { 200 } else { 201 });
                let own = self.own.entry(key).or_insert_with(Own::absent);
                own.say(&meta);
                own.info = info;
            }
            1 => {
                let answer = self.run.client.send("PUT", &path, &[], "").await;
                assert_eq!(answer.status, if present { 200 } else { 201 });
                self.own.entry(key).or_insert_with(Own::absent);
            }
            2 => {
                let answer = self.run.client.send_json("PATCH", &path, &json!({ "meta": meta })).await;
                assert_eq!(answer.status, if present { 200 } else { 404 });
                self.own.entry(key).and_modify(|own| own.meta = meta);
            }
            _ => {
                self.run.client.send("DELETE", &path, &[], "").await.expect(204);
                self.own.remove(&key);
            }
        }
    }

    async fn batch(&mut self, room: &'static str) {
        let mut names: Vec<_> = (0..5).map(|n| format!("{}'s {n}", self.number)).collect();
        self.rng.shuffle(&mut names);
        let gone = names.split_off(3);
        let meta = self.meta();
        let add: Vec<_> = names.iter().map(|user| json!({"user": user, "meta": meta})).collect();
        let path = format!("/api/rooms/{}/users", quoted(room));
        let changes = json!({"add": add, "del": gone});
        let answer = self.run.client.send_json("POST", &path, &changes).await.expect(200).json();
        let mut came = 0;
        for user in names {
            came += usize::from(!self.own.contains_key(&(room, user.clone())));
            self.own.entry((room, user)).or_insert_with(Own::absent).say(&meta);
        }
        assert_eq!(answer["added"], came);
        let went = gone.into_iter().filter(|user| self.own.remove(&(room, user.clone())).is_some());
        assert_eq!(answer["removed"], went.count());
    }

    /// A command on a user that all writers change.
    async fn shared(&mut self, room: &str) {
        let path = member_path(room, &format!("shared {}", self.rng.u8(..2)));
        let method = if self.rng.bool() { "PUT" } else { "DELETE" };
        let answer = self.run.client.send(method, &path, &[], "").await;
        assert!(matches!(answer.status, 200 | 201 | 204), "{answer:?}");
    }

    /// A page of a small room is the whole set at a cursor, and must equal the readers' sets at the cursor.
    async fn look(&mut self, room: &str) {
        let (held, count) = self.run.client.page(room, "").await;
        assert_eq!(held.users.len(), count);
        self.run.truth.check(&held.cursor, &held.users);
    }
}

/// A reader of a room, with interruptions.
struct Follower {
    run: Arc<Run>,
    rng: Rng,
    mirror: Mirror,
}

impl Follower {
    async fn follow(mut self) -> Mirror {
        while !self.run.is_over() {
            if self.rng.u8(..8) == 0 {
                self.mirror = Mirror::of(&self.mirror.room);
            }
            self.connect_for_a_while().await;
            let away = [0, 1, 5, 200][self.rng.usize(..4)];
            self.run.pass(away).await;
        }
        self.mirror
    }

    async fn connect_for_a_while(&mut self) {
        let transport = Transport::ALL[self.rng.usize(..3)];
        let mirror = self.mirror.clone();
        let brought = (mirror.cursor.is_some(), mirror.seen("resumed"));
        let mut reader = if self.rng.u8(..4) == 0 {
            let reader = Reader::narrow(self.run.client.addr, transport, mirror).await;
            self.run.pass(self.rng.usize(..150)).await;
            reader
        } else {
            Reader::resume(self.run.client.addr, transport, mirror).await
        };
        self.read(&mut reader).await;
        if let (true, resumed) = brought
            && reader.mirror.is_set()
        {
            let how = if reader.mirror.seen("resumed") > resumed { &self.run.resumed } else { &self.run.replaced };
            how.fetch_add(1, Relaxed);
        }
        self.mirror = reader.mirror;
    }

    /// Reads some frames, or fewer when the writers have finished.
    async fn read(&mut self, reader: &mut Reader) {
        let mut done = self.run.done.subscribe();
        for _ in 0..self.rng.usize(..60) {
            tokio::select! {
                more = reader.step() => assert!(more, "the stream ended: {:?}", reader.mirror),
                _ = done.wait_for(|done| *done >= WRITERS * COMMANDS) => return,
            }
            self.run.truth.check_mirror(&reader.mirror);
        }
    }
}

pub async fn join<T>(tasks: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut results = Vec::new();
    for task in tasks {
        results.push(within("a task of the run", task).await.expect("no panic"));
    }
    results
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_ends_with_the_servers_set_and_agrees_at_every_cursor() {
    let seed = Seed::choose();
    let server = TestServer::with(|config| config.history = 64).await;
    let run = Arc::new(Run {
        client: server.clone(),
        truth: Truth::default(),
        done: watch::Sender::new(0),
        resumed: AtomicUsize::new(0),
        replaced: AtomicUsize::new(0),
    });
    let followers = (0..READERS).map(|n| {
        let mirror = Mirror::of(ROOMS[n % ROOMS.len()]);
        tokio::spawn(Follower { run: Arc::clone(&run), rng: seed.rng(n), mirror }.follow())
    });
    let followers = followers.collect();
    let writers = (0..WRITERS).map(|number| {
        let rng = seed.rng(READERS + number);
        tokio::spawn(Writer { run: Arc::clone(&run), rng, number, own: BTreeMap::new() }.write())
    });
    let owned = join(writers.collect()).await;
    let mirrors = join(followers).await;
    let mut held = HashMap::new();
    for room in ROOMS {
        let all = server.held(room).await;
        written(room, &all, &owned);
        held.insert(room.to_owned(), all);
    }
    for (n, mirror) in mirrors.into_iter().enumerate() {
        let held = &held[&mirror.room];
        let mut reader = Reader::resume(server.addr, Transport::ALL[n / 2 % 3], mirror).await;
        reader.caught_up(&held.cursor).await;
        assert_eq!(reader.mirror.users, held.users, "reader {n}");
        assert_eq!(reader.mirror.cursor.as_ref(), Some(&held.cursor), "reader {n}");
    }
    let (resumed, replaced) = (run.resumed.load(Relaxed), run.replaced.load(Relaxed));
    assert!(resumed > 10 && replaced > 10, "too tame a run: {resumed} resumed, {replaced} replaced");
    server.stop().await;
}

/// Checks that the room's members equal the models of all writers.
fn written(room: &str, held: &Held, owned: &[BTreeMap<(&'static str, String), Own>]) {
    let own = held.users.iter().filter(|(user, _)| !user.starts_with("shared"));
    let have: BTreeMap<_, _> = own.map(|(user, member)| (user, (&member.meta, &member.info))).collect();
    let all = owned.iter().flatten().filter(|((of, _), _)| *of == room);
    let expected: BTreeMap<_, _> = all.map(|((_, user), own)| (user, (&own.meta, &own.info))).collect();
    assert_eq!(have, expected, "{room}");
}

#[tokio::test]
async fn a_snapshot_with_the_events_after_it_is_any_later_snapshot() {
    let seed = Seed::choose();
    let mut rng = seed.rng(0);
    let server = TestServer::start().await;
    let mut readers: Vec<Reader> = Vec::new();
    for n in 0..40 {
        let transport = Transport::ALL[n % 3];
        readers.push(Reader::open(server.addr, transport, "lobby").await.begun().await);
        for _ in 0..rng.usize(1..6) {
            let user = format!("u{}", rng.u8(..8));
            match rng.u8(..3) {
                0 => server.sign_in("lobby", &user).await,
                1 => server.sign_in_as("lobby", &user, &json!({"n": rng.u8(..3)})).await,
                _ => server.sign_out("lobby", &user).await,
            };
        }
    }
    let now = Reader::open(server.addr, Transport::Sse, "lobby").await.begun().await.mirror;
    for reader in &mut readers {
        reader.caught_up(now.cursor.as_ref().expect("a snapshot has one")).await;
        assert_eq!((reader.mirror.seen("snapshot"), &reader.mirror.users), (1, &now.users));
    }
}
