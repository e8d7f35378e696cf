//! Three nodes on a log in memory, on a clock that passes as they wait.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use tokio::time::Instant;

use super::*;
use crate::journal::cluster::Rules;
use crate::journal::cluster::batch::{Batch, Seen};
use crate::journal::cluster::node::Faults;
use crate::journal::engine::memory::Memory as Log;
use crate::model::command::Command;
use crate::model::history::Bound;
use crate::model::id::ConnectionId;
use crate::model::moment::{Tick, Timestamp};
use crate::model::name::Name;
use crate::model::roster::Mark;

const MEMORY: Memory = Memory { history: Bound { events: 100, bytes: usize::MAX }, bytes: usize::MAX };

mod away;

async fn node(log: &Log) -> Participant {
    begin(log, None, Arc::default()).await.unwrap()
}

/// A node with `keeper`, on a log that nobody reaches while it `is_away`.
async fn begin(log: &Log, keeper: Option<Arc<Keeper>>, is_away: Arc<AtomicBool>) -> Result<Participant, String> {
    let (log, start) = (log.clone(), Instant::now());
    let opening: Opening = Box::new(move || {
        let (log, is_away) = (log.clone(), is_away.clone());
        Box::pin(async move {
            while is_away.load(SeqCst) {
                sleep(EVERY).await;
            }
            Ok(Arc::new(log.open()) as Arc<dyn Engine>)
        })
    });
    let now = move || {
        let tick = 1_000 + u64::try_from(start.elapsed().as_millis()).unwrap();
        Moment { tick: Tick(tick), time: Timestamp(1_700_000_000_000 + tick) }
    };
    Ok(Joining::read(opening, keeper, options(), MEMORY, Box::new(now)).await?.begin(Box::new(())))
}

fn options() -> Options {
    let rules = Rules { members: 0, grace: Duration::from_secs(5), max_named: 100 };
    Options { version: "1".into(), rules, snapshot_every: 3_000, faults: Faults::default() }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

async fn signed_in(node: &Participant, user: &str) {
    let (_, answer) = node.ask(signs_in(user)).await;
    assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
}

fn signs_in(user: &str) -> Record {
    Record::Change { room: name("lobby"), commands: vec![Command::sign_in(name(user))] }
}

/// The members of the lobby, and its place.
fn lobby(node: &Participant) -> (Vec<String>, String) {
    node.with(|node, _| match node.shared().room(&name("lobby")) {
        Some(room) => {
            let members = room.roster().iter_from(Mark::default()).map(|member| member.user.to_string());
            (members.collect(), room.head().to_string())
        }
        None => Default::default(),
    })
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        sleep(EVERY).await;
    }
}

async fn until_all_have(nodes: &[Participant], users: &[&str]) {
    let same = |node: &Participant| lobby(node).0 == users && lobby(node) == lobby(&nodes[0]);
    until(&format!("{users:?}, and not {:?}", nodes.iter().map(lobby).collect::<Vec<_>>()), || nodes.iter().all(same))
        .await;
}

fn holds(node: &Participant, user: &str, number: u128) {
    let key = (name("lobby"), name(user));
    node.with(|node, _| node.join(&key, ConnectionId(Uuid::from_u128(number)), None, None, None));
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_on_one_node_is_on_all_with_the_same_cursor() {
    let log = Log::default();
    let nodes = [node(&log).await, node(&log).await, node(&log).await];
    for (node, user) in nodes.iter().zip(["ann", "bob", "cyd"]) {
        let (_, answer) = node.ask(signs_in(user)).await;
        let Answer::Done(outcome) = answer else { panic!("{answer:?}") };
        assert_eq!((outcome.added, outcome.cursor.to_string()), (1, lobby(node).1), "answered when it is folded here");
    }
    until_all_have(&nodes, &["ann", "bob", "cyd"]).await;
    holds(&nodes[1], "dan", 1);
    until_all_have(&nodes, &["ann", "bob", "cyd", "dan"]).await;
    let late = node(&log).await;
    assert_eq!(lobby(&late), lobby(&nodes[0]), "a node that starts has read all");
}

#[tokio::test(start_paused = true)]
async fn a_killed_node_is_lost_and_a_stopped_one_too_and_sign_ins_stay() {
    let log = Log::default();
    let mut nodes = vec![node(&log).await, node(&log).await, node(&log).await];
    for (number, user) in ["ann", "bob", "cyd"].into_iter().enumerate() {
        holds(&nodes[number], user, number as u128);
    }
    let (_, answer) = nodes[2].ask(signs_in("zoe")).await;
    assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
    until_all_have(&nodes, &["ann", "bob", "cyd", "zoe"]).await;
    let killed = Instant::now();
    drop(nodes.pop());
    until_all_have(&nodes, &["ann", "bob", "zoe"]).await;
    assert!(killed.elapsed() < Duration::from_millis(8_500), "{:?}", killed.elapsed());
    nodes.pop().unwrap().stop(Duration::from_secs(1)).await;
    until_all_have(&nodes, &["ann", "zoe"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_forgets_its_end_or_all_gets_what_was_answered_again() {
    let log = Log::default();
    let nodes = [node(&log).await, node(&log).await];
    holds(&nodes[0], "ann", 1);
    let (position, _) = nodes[1].ask(signs_in("bob")).await;
    until_all_have(&nodes, &["ann", "bob"]).await;
    let before = lobby(&nodes[0]).1;
    log.forget(position - 1);
    until("a new generation", || lobby(&nodes[0]).1.split('.').next() != before.split('.').next()).await;
    until_all_have(&nodes, &["ann", "bob"]).await;
    let before = lobby(&nodes[0]).1;
    log.replace();
    until("another log", || lobby(&nodes[0]).1.split('.').next() != before.split('.').next()).await;
    until_all_have(&nodes, &["ann", "bob"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_starts_from_a_snapshot_and_the_entries_since() {
    let log = Log::default();
    let nodes = [node(&log).await];
    for n in 0..20 {
        nodes[0].ask(signs_in(&format!("user{n:02}"))).await;
        sleep(Duration::from_secs(1)).await;
    }
    let first = async || log.extent().await.unwrap().first;
    assert!(first().await > 1, "the log was trimmed below a snapshot");
    let late = node(&log).await;
    assert_eq!(lobby(&late), lobby(&nodes[0]));
    assert_eq!(lobby(&late).0.len(), 20);
}

/// A snapshot whose last entry is just the one that the log forgot.
#[tokio::test(start_paused = true)]
async fn a_start_does_not_wait_for_an_entry_that_the_log_forgot() {
    let log = Log::default();
    let first = node(&log).await;
    signed_in(&first, "ann").await;
    let at = loop {
        match log.snapshot().await.unwrap() {
            Some(snapshot) => break snapshot.at,
            None => sleep(EVERY).await,
        }
    };
    drop(first);
    log.forget(at - 1);
    let late = timeout(Duration::from_secs(60), node(&log)).await.expect("a start");
    assert_eq!(lobby(&late).0, ["ann"]);
}

/// A node of which nothing is there but its batches.
struct Ghost {
    log: Log,
    incarnation: Incarnation,
    number: u64,
}

impl Ghost {
    /// Begins a life. `seen` is what it pretends to have read.
    fn begin(log: &Log, seen: Seen) -> Ghost {
        let mut ghost = Ghost { log: log.open(), incarnation: incarnation(), number: 0 };
        let rules = Rules { members: 0, grace: Duration::from_secs(5), max_named: 100 };
        ghost.append(seen, Record::Up { version: "1".into(), rules, replaces: None });
        ghost
    }

    /// Nobody reads the batch before the test waits.
    fn append(&mut self, seen: Seen, record: Record) {
        self.number += 1;
        let moment = Moment { tick: Tick(self.number), time: Timestamp(1_700_000_000_000) };
        let Ghost { incarnation, number, .. } = *self;
        let batch = Batch { incarnation, number, moment, seen, full: false, records: vec![record] };
        drop(self.log.append(batch.encode().into()));
    }
}

fn seen(node: &Participant) -> Seen {
    node.with(|node, _| node.shared().roll.seen)
}

/// The node has read all that the log has.
async fn until_read(log: &Log, node: &Participant) {
    let last = log.extent().await.unwrap().last;
    until("all is read", || seen(node).position >= last).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_taken_for_lost_misses_no_entry() {
    let log = Log::default();
    let nodes = [node(&log).await, node(&log).await];
    nodes[0].ask(signs_in("ann")).await;
    until_all_have(&nodes, &["ann"]).await;
    until_read(&log, &nodes[0]).await;
    let (who, next) = nodes[0].with(|node, _| (node.id(), node.shared().roll.lives[&node.id()].next));
    let mut ghost = Ghost::begin(&log, Seen::default());
    ghost.append(Seen::default(), Record::Suspect { who, next });
    let since = log.extent().await.unwrap().last;
    ghost.append(Seen::default(), Record::Reap { who, since });
    ghost.append(Seen::default(), signs_in("bob"));
    for node in &nodes {
        until_read(&log, node).await;
        assert_eq!(lobby(node).0, ["ann", "bob"]);
    }
    assert_ne!(nodes[0].with(|node, _| node.id()), who, "another life");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_right_misses_no_entry() {
    let log = Log::default();
    let nodes = [node(&log).await, node(&log).await];
    nodes[0].ask(signs_in("ann")).await;
    until_all_have(&nodes, &["ann"]).await;
    until_read(&log, &nodes[0]).await;
    let right = seen(&nodes[0]);
    let mut ghost = Ghost::begin(&log, Seen { hash: right.hash + 1, ..right });
    ghost.append(right, signs_in("bob"));
    for node in &nodes {
        until_read(&log, node).await;
        assert_eq!(lobby(node).0, ["ann", "bob"]);
    }
}
