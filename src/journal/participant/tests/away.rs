//! Nodes with snapshots of their own, which may begin where the log is away.

use std::path::Path;

use super::*;
use crate::access::pass::Pass;
use crate::access::passbook::SecretId;
use crate::access::revocations::Revoked;
use crate::journal::cluster::node::survey::Recency;
use crate::journal::disk::names::Listing;
use crate::journal::disk::own::Own;
use crate::journal::store::Store;
use crate::journal::store::pretended::Pretended;

/// The directory of a node.
#[derive(Clone, Default)]
struct Folder(Pretended);

impl Folder {
    fn keeper(&self) -> Option<Arc<Keeper>> {
        let own = Own::new(Arc::new(self.0.clone()), None).unwrap();
        Some(Arc::new(Keeper::new(own, Path::new("d"))))
    }

    /// A node with this directory, on a log that nobody reaches while it `is_away`.
    async fn start(&self, log: &Log, is_away: &Arc<AtomicBool>) -> Participant {
        begin(log, self.keeper(), is_away.clone()).await.unwrap()
    }

    /// A node with this directory, on a log that is there.
    async fn node(&self, log: &Log) -> Participant {
        self.start(log, &Arc::default()).await
    }

    /// A node with this directory signs ann and bob in, and stops. Gives the last entry before bob's, and the epoch.
    async fn ann_and_bob(&self, log: &Log) -> (u64, String) {
        let node = self.node(log).await;
        signed_in(&node, "ann").await;
        let kept = log.extent().await.unwrap().last;
        signed_in(&node, "bob").await;
        let before = epoch(&node);
        stop(node).await;
        (kept, before)
    }

    fn listing(&self) -> Listing {
        Listing::of(&self.0.list().unwrap())
    }

    fn names(&self) -> Vec<String> {
        self.0.list().unwrap().into_iter().map(|(name, _)| name).collect()
    }

    fn has_lost(&self) -> bool {
        self.names().iter().any(|name| name.ends_with(".lost"))
    }
}

async fn stop(node: Participant) {
    node.stop(Duration::from_secs(4)).await;
}

fn recency(node: &Participant) -> Recency {
    node.with(|node, now| node.recency(now))
}

fn away() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

fn epoch(node: &Participant) -> String {
    lobby(node).1.split('.').next().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn what_happened_meanwhile_comes_with_the_log() {
    let (log, folder, is_away) = (Log::default(), Folder::default(), away());
    let other = node(&log).await;
    let first = folder.node(&log).await;
    signed_in(&first, "ann").await;
    stop(first).await;
    let began = Instant::now();
    let late = folder.start(&log, &is_away).await;
    assert_eq!(began.elapsed().as_secs(), 5, "so long it waits for the log");
    assert_eq!((lobby(&late).0, recency(&late)), (vec!["ann".to_owned()], Recency::Stale));
    let before = lobby(&late).1;
    signed_in(&other, "bob").await;
    holds(&late, "cyd", 1);
    let asked = late.ask(signs_in("dan"));
    sleep(Duration::from_secs(60)).await;
    assert_eq!((lobby(&late), recency(&late)), ((vec!["ann".to_owned()], before.clone()), Recency::Stale));
    is_away.store(false, SeqCst);
    assert!(matches!(asked.await, (_, Answer::Done(_))), "it was waited for");
    let nodes = [late, other];
    until_all_have(&nodes, &["ann", "bob", "cyd", "dan"]).await;
    assert_eq!(epoch(&nodes[0]), before.split('.').next().unwrap(), "cursors of before go on");
    until("current", || recency(&nodes[0]) == Recency::Current).await;
    // The life of before is gone, and nobody was.
    until("one life each", || nodes[1].look(|node| node.shared().roll.lives.len()) == 2).await;
    assert_eq!(lobby(&nodes[1]).0, ["ann", "bob", "cyd", "dan"]);
    until("a snapshot of this life", || folder.listing().snapshots.first() > Some(&2)).await;
}

/// More entries than a first batch may be late by.
#[tokio::test(start_paused = true)]
async fn a_node_that_was_away_for_long_reads_all_before_it_says_something() {
    let (log, folder, is_away) = (Log::default(), Folder::default(), away());
    let first = folder.node(&log).await;
    signed_in(&first, "ann").await;
    stop(first).await;
    let late = folder.start(&log, &is_away).await;
    let id = late.look(Node::id);
    let other = node(&log).await;
    for _ in 0..2_000 {
        let (_, answer) = other.ask(Record::CookieEnded(SecretId([7; 32]))).await;
        assert!(matches!(answer, Answer::Recorded));
    }
    is_away.store(false, SeqCst);
    until("this very life", || other.look(|node| node.shared().roll.lives.contains_key(&id))).await;
    signed_in(&late, "bob").await;
    until_all_have(&[late, other], &["ann", "bob"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_trimmed_meanwhile_is_read_from_its_own_snapshot() {
    for waits in [true, false] {
        let (log, folder, is_away) = (Log::default(), Folder::default(), away());
        let first = folder.node(&log).await;
        signed_in(&first, "ann").await;
        stop(first).await;
        let other = node(&log).await;
        let trimmed = log.extent().await.unwrap().last + 1;
        while log.extent().await.unwrap().first < trimmed {
            signed_in(&other, "bob").await;
            sleep(Duration::from_secs(1)).await;
        }
        is_away.store(waits, SeqCst);
        let late = folder.start(&log, &is_away).await;
        is_away.store(false, SeqCst);
        signed_in(&late, "cyd").await;
        until_all_have(&[late, other], &["ann", "bob", "cyd"]).await;
        assert!(!folder.has_lost(), "{:?}", folder.names());
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_log_gets_what_a_directory_has() {
    for waits in [true, false] {
        let (log, folder, is_away) = (Log::default(), Folder::default(), away());
        let first = folder.node(&log).await;
        signed_in(&first, "ann").await;
        holds(&first, "zoe", 1);
        until("zoe", || lobby(&first).0 == ["ann", "zoe"]).await;
        let (cookie, sub) = (SecretId([1; 32]), Revoked::Subject(name("bob")));
        let end = Tick(1 << 40);
        first.ask(Record::Cookie { id: cookie, pass: Arc::new(Pass::open()), end }).await;
        first.ask(Record::Revoked { revoked: sub.clone(), before: 5, at: 1_700_000_000 }).await;
        let before = epoch(&first);
        stop(first).await;
        log.replace();
        is_away.store(waits, SeqCst);
        let late = folder.start(&log, &is_away).await;
        assert_eq!((lobby(&late).0, recency(&late)), (vec!["ann".to_owned(), "zoe".to_owned()], Recency::Stale));
        is_away.store(false, SeqCst);
        until("another epoch", || epoch(&late) != before).await;
        until("ann", || lobby(&late).0 == ["ann"]).await;
        let other = node(&log).await;
        let nodes = [late, other];
        until_all_have(&nodes, &["ann"]).await;
        until("current", || recency(&nodes[0]) == Recency::Current).await;
        nodes[1].look(|node| {
            let lists = node.shared().lists();
            assert_eq!(lists.cookies.all().map(|(id, ..)| id).collect::<Vec<_>>(), [cookie]);
            assert_eq!(lists.revocations.all().map(|(revoked, ..)| revoked.clone()).collect::<Vec<_>>(), [sub]);
        });
        assert!(!folder.has_lost(), "{:?}", folder.names());
    }
}

/// All gateways start at the same time, and some of them stopped later than others.
#[tokio::test(start_paused = true)]
async fn what_only_a_later_directory_has_comes_back_as_well() {
    let (log, early, later) = (Log::default(), Folder::default(), Folder::default());
    let (first, second) = (early.node(&log).await, later.node(&log).await);
    signed_in(&first, "ann").await;
    stop(first).await;
    signed_in(&second, "bob").await;
    stop(second).await;
    let older = Folder(Pretended::of(&early.0.files()));
    log.replace();
    let first = early.node(&log).await;
    until("ann", || lobby(&first).0 == ["ann"]).await;
    until("restored", || recency(&first) == Recency::Current).await;
    let second = later.node(&log).await;
    until_all_have(&[first, second], &["ann", "bob"]).await;
    // The older one has nothing to add.
    let third = older.node(&log).await;
    assert_eq!(lobby(&third).0, ["ann", "bob"]);
    assert!(![early, later, older].iter().any(Folder::has_lost));
}

/// Whoever restores first ends before all is there.
#[tokio::test(start_paused = true)]
async fn a_restoration_that_another_gateway_left_is_done_by_the_next() {
    let (log, folder) = (Log::default(), Folder::default());
    let first = folder.node(&log).await;
    signed_in(&first, "ann").await;
    signed_in(&first, "bob").await;
    stop(first).await;
    let keeper = folder.keeper().unwrap();
    let origin = keeper.read(MEMORY).unwrap().unwrap().roll.origin();
    drop(keeper);
    log.replace();
    let commands = vec![Command::sign_in(name("ann"))];
    let records = vec![
        Record::Up { version: "1".into(), rules: options().rules, replaces: None },
        Record::Claim(origin),
        Record::Restore { room: name("lobby"), commands },
    ];
    let moment = Moment { tick: Tick(1), time: Timestamp(1_700_000_000_000) };
    let left = Batch { incarnation: incarnation(), number: 1, moment, seen: Seen::default(), full: false, records };
    log.open().append(Bytes::from(left.encode())).await.unwrap();
    let late = folder.node(&log).await;
    let before = folder.names();
    let is_lost = || {
        late.with(|node, now| {
            let is_whole = node.shared().room(&name("lobby")).is_some_and(|room| room.roster().get("bob").is_some());
            assert!(is_whole || node.picture(now).is_none(), "what is half restored replaces no snapshot");
            node.shared().roll.lives.keys().eq([&node.id()])
        })
    };
    until("the loss of the other", is_lost).await;
    let other = node(&log).await;
    until_all_have(&[late, other], &["ann", "bob"]).await;
    until("a snapshot", || folder.names() != before).await;
    assert!(!folder.has_lost(), "{:?}", folder.names());
}

/// Another cluster, or others who have begun anew: two sets are never mixed.
#[tokio::test(start_paused = true)]
async fn a_log_with_members_of_its_own_is_not_mixed_with_a_directory() {
    for waits in [true, false] {
        let (log, folder, is_away) = (Log::default(), Folder::default(), away());
        let first = folder.node(&log).await;
        signed_in(&first, "ann").await;
        first.ask(Record::Cookie { id: SecretId([1; 32]), pass: Arc::new(Pass::open()), end: Tick(1 << 40) }).await;
        stop(first).await;
        log.replace();
        let other = node(&log).await;
        signed_in(&other, "bob").await;
        is_away.store(waits, SeqCst);
        let late = folder.start(&log, &is_away).await;
        is_away.store(false, SeqCst);
        until("the log's members", || lobby(&late).0 == ["bob"]).await;
        until("current", || recency(&late) == Recency::Current).await;
        signed_in(&late, "cyd").await;
        until_all_have(&[late, other], &["bob", "cyd"]).await;
        assert!(folder.has_lost(), "{:?}", folder.names());
        let again = folder.node(&log).await;
        assert_eq!(lobby(&again).0, ["bob", "cyd"]);
        again.look(|node| assert!(node.shared().lists().cookies.all().next().is_none()));
    }
}

/// Its servers were replaced while it ran.
#[tokio::test(start_paused = true)]
async fn a_running_node_leaves_its_directory_aside_for_another_log_with_members() {
    let (log, folder) = (Log::default(), Folder::default());
    let first = folder.node(&log).await;
    signed_in(&first, "ann").await;
    until("a snapshot", || !folder.names().is_empty()).await;
    // What was answered lately would be said again.
    sleep(Duration::from_secs(30)).await;
    let theirs = Log::default();
    let other = node(&theirs).await;
    signed_in(&other, "bob").await;
    stop(other).await;
    // So old that nothing of an earlier log is restored there.
    for _ in 0..crate::journal::cluster::timing::CLAIM {
        theirs.append(Bytes::from_static(b"a line of text")).await.unwrap();
    }
    log.replace_by(&theirs);
    until("the log's members", || lobby(&first).0 == ["bob"]).await;
    until("left aside", || folder.has_lost()).await;
}

/// The log lost its last entries while no gateway ran: its positions are those of other entries soon.
#[tokio::test(start_paused = true)]
async fn a_directory_shows_that_the_log_forgot_entries_while_nobody_read() {
    for (waits, others_wrote) in [(true, false), (false, false), (true, true), (false, true)] {
        let (log, folder, is_away) = (Log::default(), Folder::default(), away());
        let (kept, before) = folder.ann_and_bob(&log).await;
        log.forget(kept);
        let mut nodes = Vec::new();
        if others_wrote {
            nodes.push(node(&log).await);
            for _ in 0..20 {
                signed_in(&nodes[0], "cyd").await;
            }
        }
        is_away.store(waits, SeqCst);
        let late = folder.start(&log, &is_away).await;
        is_away.store(false, SeqCst);
        until("another epoch", || epoch(&late) != before).await;
        let users: &[&str] = if others_wrote { &["ann", "cyd"] } else { &["ann", "bob"] };
        nodes.push(late);
        until_all_have(&nodes, users).await;
        assert_ne!(epoch(&nodes[0]), before, "{waits} {others_wrote}");
    }
}

/// A server that has just become the leader tells for a moment that the log ends earlier.
#[tokio::test(start_paused = true)]
async fn old_news_of_where_the_log_ends_are_no_loss() {
    for waits in [true, false] {
        let (log, folder, is_away) = (Log::default(), Folder::default(), away());
        let (kept, before) = folder.ann_and_bob(&log).await;
        let end = log.extent().await.unwrap().last;
        let (mut reader, mut entries) = (log.read(kept), Vec::new());
        while kept + (entries.len() as u64) < end {
            entries.push(reader.next().await.unwrap().1);
        }
        log.forget(kept);
        let server = async {
            sleep(Duration::from_millis(300)).await;
            for bytes in entries {
                log.append(bytes).await.unwrap();
            }
        };
        is_away.store(waits, SeqCst);
        let starts = async {
            let late = folder.start(&log, &is_away).await;
            is_away.store(false, SeqCst);
            late
        };
        let late = match waits {
            // The server is there, with old news, when the node is.
            true => {
                let late = starts.await;
                server.await;
                late
            }
            false => tokio::join!(starts, server).0,
        };
        until("current", || recency(&late) == Recency::Current).await;
        assert_eq!((lobby(&late).0, epoch(&late)), (vec!["ann".to_owned(), "bob".to_owned()], before), "{waits}");
    }
}

/// A gateway that goes back to an earlier version says so, and is not one more gateway that serves an old set.
#[tokio::test(start_paused = true)]
async fn a_snapshot_of_a_later_version_ends_the_start_and_is_no_log_that_is_away() {
    let (log, folder, is_away) = (Log::default(), Folder::default(), away());
    let first = folder.node(&log).await;
    signed_in(&first, "ann").await;
    stop(first).await;
    let waits = folder.start(&log, &is_away).await;
    assert_eq!(recency(&waits), Recency::Stale);
    let last = log.extent().await.unwrap().last;
    let mut snapshot = log.put_snapshot(last).await.unwrap();
    snapshot.put(Bytes::from_static(b"\x09what only later versions read")).await.unwrap();
    snapshot.finish().await.unwrap();
    log.trim(last + 1).await.unwrap();
    let other = Folder(Pretended::of(&folder.0.files()));
    for keeper in [other.keeper(), None] {
        let refused = begin(&log, keeper, Arc::default()).await.err().unwrap();
        assert!(refused.contains("a gateway of a later version"), "{refused}");
    }
    is_away.store(false, SeqCst);
    until("not ready", || recency(&waits) == Recency::Rereading).await;
    assert_eq!(lobby(&waits).0, ["ann"]);
}

#[tokio::test(start_paused = true)]
async fn servers_that_refuse_the_gateway_end_the_start_all_the_same() {
    let (log, folder) = (Log::default(), Folder::default());
    let first = folder.node(&log).await;
    signed_in(&first, "ann").await;
    stop(first).await;
    let refuses: Opening = Box::new(|| Box::pin(async { Err("the server refuses the password".to_owned()) }));
    let now = Box::new(|| Moment { tick: Tick(1), time: Timestamp(1) });
    let read = Joining::read(refuses, folder.keeper(), options(), MEMORY, now).await;
    assert_eq!(read.err().as_deref(), Some("the server refuses the password"));
}

#[tokio::test(start_paused = true)]
async fn snapshots_are_written_as_time_passes_by_each_node_and_only_while_it_is_well() {
    let (log, folders) = (Log::default(), [Folder::default(), Folder::default()]);
    let nodes = [folders[0].node(&log).await, folders[1].node(&log).await];
    signed_in(&nodes[0], "ann").await;
    for folder in &folders {
        until("more than two", || folder.listing().highest > 4).await;
        assert!(folder.listing().snapshots.len() <= 3, "two, and perhaps one before the oldest is removed");
    }
    drop(nodes);
    sleep(Duration::from_secs(1)).await;
    // One that begins without the log writes nothing.
    let late = folders[0].start(&log, &away()).await;
    let before = folders[0].names();
    sleep(Duration::from_secs(30)).await;
    stop(late).await;
    assert_eq!(folders[0].names(), before);
}
