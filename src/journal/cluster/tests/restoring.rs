//! Logs that were empty, and what they are told by nodes that have an older state.

use super::*;

fn origin(journal: u128, entries: u64) -> Origin {
    Origin { journal: Uuid::from_u128(journal), entries }
}

/// A log of this number in which these batches are.
pub(super) fn log(journal: u128, batches: &[Batch]) -> Shared {
    let mut shared = Shared::new(Identity { journal: Uuid::from_u128(journal), generation: 0 }, MEMORY);
    (1..).zip(batches).for_each(|(position, batch)| drop(shared.fold(position, &batch.encode())));
    shared
}

#[test]
fn what_a_log_is_to_a_state_that_a_node_kept() {
    let kept = log(7, &[batch(1, 1, vec![up()]), batch(1, 2, vec![change("ann", Action::SignIn(SignIn::default()))])]);
    let turn = |log: &Shared| Turn::of(log, &kept, false);
    assert_eq!((turn(&kept), Turn::of(&kept, &kept, true)), (Turn::GoesOn, Turn::Forgot));
    let generation = Record::Generation { from: 0, to: 5 };
    let found = log(7, &[batch(1, 1, vec![up(), generation])]);
    assert_eq!(Turn::of(&found, &kept, true), Turn::GoesOn, "others have found the loss");

    let of = |records: Vec<Record>| turn(&log(8, &[batch(2, 1, [vec![up()], records].concat())]));
    let claims = |journal, entries| Record::Claim(origin(journal, entries));
    let signs_in = || change("bob", Action::SignIn(SignIn::default()));
    let mut rng = Rng::with_seed(8);
    let cookie = Record::Cookie { id: SecretId([1; 32]), pass: made_up::pass(&mut rng), end: Tick(1 << 40) };
    for (what, records, wanted) in [
        ("nothing", vec![], Turn::Emptied),
        ("a connection", vec![change("bob", join(2))], Turn::Emptied),
        ("a sign-in", vec![signs_in()], Turn::Other),
        ("a cookie", vec![cookie], Turn::Other),
        ("a revocation", vec![Record::Revoked { revoked: Revoked::Token("a".into()), before: 5, at: 9 }], Turn::Other),
        ("an older state", vec![claims(7, 1), signs_in(), Record::Restored], Turn::Emptied),
        ("the same state", vec![claims(7, 2), signs_in(), Record::Restored], Turn::Restored),
        ("the same, so far", vec![claims(7, 2), signs_in()], Turn::Emptied),
        ("a newer state, so far", vec![claims(7, 3), signs_in()], Turn::Restored),
        ("another log's", vec![claims(6, 1), signs_in(), Record::Restored], Turn::Other),
        ("an older gateway's", vec![claims(0, 1), signs_in(), Record::Restored], Turn::Emptied),
    ] {
        assert_eq!(of(records), wanted, "{what}");
    }
}

#[test]
fn whoever_restores_and_leaves_is_followed_by_another_with_the_same_log() {
    let first = batch(1, 1, vec![up(), Record::Claim(origin(7, 9))]);
    let leaves = batch(2, 1, vec![up(), Record::Suspect { who: Incarnation(Uuid::from_u128(1)), next: 2 }]);
    let reap = batch(2, 2, vec![Record::Reap { who: Incarnation(Uuid::from_u128(1)), since: 2 }]);
    let claims = |journal, entries| batch(3, 1, vec![up(), Record::Claim(origin(journal, entries))]);
    let restorer =
        |batches: &[&Batch]| log(8, &batches.iter().map(|batch| (*batch).clone()).collect::<Vec<_>>()).roll.restorer;
    let (one, three) = (Incarnation(Uuid::from_u128(1)), Incarnation(Uuid::from_u128(3)));
    assert_eq!(restorer(&[&first, &claims(7, 9)]), Restorer::One(one, origin(7, 9)), "the first counts");
    assert_eq!(restorer(&[&first, &claims(7, 10)]), Restorer::One(three, origin(7, 10)), "and whoever has more");
    assert_eq!(restorer(&[&first, &claims(6, 10)]), Restorer::One(one, origin(7, 9)), "of the same log");
    assert_eq!(restorer(&[&first, &leaves, &reap]), Restorer::Left(origin(7, 9)));
    assert_eq!(restorer(&[&first, &leaves, &reap, &claims(7, 5)]), Restorer::One(three, origin(7, 5)));
    assert_eq!(restorer(&[&first, &leaves, &reap, &claims(6, 10)]), Restorer::Left(origin(7, 9)));
    // As version 0.1 has it.
    let first = batch(1, 1, vec![up(), Record::Claim(Origin::unnamed(9))]);
    assert_eq!(restorer(&[&first, &claims(0, 10)]), Restorer::One(three, origin(0, 10)));
    assert_eq!(restorer(&[&first, &leaves, &reap]), Restorer::Nobody);
}

/// Versions of before the name read what has none.
#[test]
fn the_name_of_a_log_that_is_restored_is_told_only_to_those_who_can_read_it() {
    for (journal, format) in [(0, 1), (7, 2)] {
        let claim = batch(1, 1, vec![up(), Record::Claim(origin(journal, 9))]).encode();
        let mut shared = shared();
        shared.fold(1, &claim);
        let first = Snapshot::of(&shared).parts().next().unwrap();
        assert_eq!((claim[0], first[0]), (format, format), "{journal}");
    }
    let options =
        Options { version: "0.2.0".into(), rules: RULES, snapshot_every: u64::MAX, faults: Faults::default() };
    for (version, journal) in [("0.1.9", 0), ("0.2.0", 7)] {
        let up = Record::Up { version: version.into(), rules: RULES, replaces: None };
        let kept = log(7, &[batch(2, 1, vec![up])]);
        let mut node = Node::away(Incarnation(Uuid::from_u128(1)), kept, options.clone(), at(10_000));
        let reread = node.reread(log(8, &[]));
        node.adopt(reread, Fresh { incarnation: Incarnation(Uuid::from_u128(3)), generation: 4 }, at(10_000));
        let first = Batch::decode(&node.tick(at(10_500)).remove(0)).unwrap();
        assert_eq!(first.records.get(1), Some(&Record::Claim(origin(journal, 1))), "beside {version}");
    }
}

/// Nodes of the numbers `1..=count` that had the same state, with so many sign-ins that a restoration takes more batches than may be
/// under way, and see another log, which is empty.
fn adopters(count: u128) -> Vec<Node> {
    let options = Options { version: "1".into(), rules: RULES, snapshot_every: 1, faults: Faults::default() };
    let adopts = |number: u128| {
        let signs_in = (0..SIGN_INS / 100).map(|batch_number| {
            let users = (batch_number * 100..(batch_number + 1) * 100).map(|n| Name::kept(&format!("{n:0120}")));
            Record::Change { room: Name::lobby(), commands: users.map(Command::sign_in).collect() }
        });
        let kept = log(7, &[batch(9, 1, std::iter::once(up()).chain(signs_in).collect())]);
        assert_eq!(members(&kept), SIGN_INS);
        let mut node = Node::away(Incarnation(Uuid::from_u128(number)), kept, options.clone(), at(10_000));
        node.adopt(node.reread(log(8, &[])), fresh(number + 10), at(10_000));
        node
    };
    (1..=count).map(adopts).collect()
}

const SIGN_INS: usize = 12_000;

fn fresh(number: u128) -> Fresh {
    Fresh { incarnation: Incarnation(Uuid::from_u128(number)), generation: 4 }
}

fn members(shared: &Shared) -> usize {
    shared.room(&Name::lobby()).map_or(0, |room| room.roster().len())
}

/// A log by hand, which the nodes read at once.
#[derive(Default)]
struct Entries(Vec<Arc<[u8]>>);

impl Entries {
    /// All nodes say what they have to say before any of them reads it.
    fn turn(&mut self, nodes: &mut [Node], tick: u64) {
        let before = self.0.len();
        nodes.iter_mut().for_each(|node| self.0.extend(node.tick(at(tick))));
        for node in nodes {
            (1..).zip(&self.0).skip(before).for_each(|(position, bytes)| node.entry(position, bytes, at(tick)));
            if node.trouble() == Some(Trouble::Reaped) {
                node.live_again(fresh(77).incarnation, at(tick));
            }
        }
    }

    /// Turns until the first node has all sign-ins, and is taken for one that may keep them.
    fn until_restored(&mut self, nodes: &mut [Node], ticks: std::ops::Range<u64>) {
        for tick in ticks.step_by(100) {
            self.turn(nodes, tick);
            let (is_kept, members) = (nodes[0].picture(at(tick)).is_some(), members(nodes[0].shared()));
            assert!(!is_kept || members == SIGN_INS, "{members} replace the snapshot of all");
            if is_kept {
                return;
            }
        }
        panic!(
            "{} of {SIGN_INS} are there, restored by {:?}",
            members(nodes[0].shared()),
            nodes[0].shared().roll.restorer
        );
    }
}

/// A past fault: the first batches of the others counted for nothing, and were not told again.
#[test]
fn all_is_restored_although_several_nodes_begin_at_once_and_the_first_leaves() {
    let (mut nodes, mut entries) = (adopters(3), Entries::default());
    entries.turn(&mut nodes, 10_500);
    let restorer = nodes[0].shared().roll.restorer;
    assert!(matches!(restorer, Restorer::One(who, _) if who == nodes[0].id()), "{restorer:?}");
    assert!((1..SIGN_INS).contains(&members(nodes[1].shared())));
    entries.until_restored(&mut nodes[1..], 10_600..40_000);
}

/// A past fault: the rest was told without a claim, and counted for nothing.
#[test]
fn all_is_restored_although_the_restorer_is_taken_for_lost_halfway() {
    let (mut nodes, mut entries) = (adopters(1), Entries::default());
    entries.turn(&mut nodes, 10_500);
    assert!((1..SIGN_INS).contains(&members(nodes[0].shared())));
    let (me, next) = (nodes[0].id(), nodes[0].shared().roll.lives[&nodes[0].id()].next);
    let since = entries.0.len() as u64 + 1;
    let records = vec![up(), Record::Suspect { who: me, next }, Record::Reap { who: me, since }];
    entries.0.push(batch(5, 1, records).encode().into());
    nodes[0].entry(since, &entries.0[since as usize - 1].clone(), at(10_550));
    assert_eq!(nodes[0].trouble(), Some(Trouble::Reaped));
    nodes[0].live_again(fresh(66).incarnation, at(10_550));
    entries.until_restored(&mut nodes, 10_600..40_000);
}

/// A past fault: from the entry on by which a log is no longer young, restored sign-ins counted for nothing.
#[test]
fn a_restoration_that_has_begun_comes_to_its_end_however_many_entries_others_write() {
    let mut shared = log(8, &[batch(1, 1, vec![up(), Record::Claim(origin(7, 9))])]);
    let one = Restorer::One(Incarnation(Uuid::from_u128(1)), origin(7, 9));
    for position in 2..=timing::CLAIM + 1 {
        shared.fold(position, b"a line of text");
    }
    assert_eq!((shared.roll.restorer, shared.roll.is_young()), (one, false));
    shared.fold(timing::CLAIM + 2, &batch(2, 1, vec![up(), Record::Claim(origin(7, 99))]).encode());
    assert_eq!(shared.roll.restorer, one, "too late for others");
    shared.fold(timing::CLAIM + 3, &batch(1, 2, vec![Record::Restored]).encode());
    assert_eq!(shared.roll.restorer, Restorer::Done(origin(7, 9)));
    shared.fold(timing::CLAIM + 4, b"a line of text");
    assert_eq!(shared.roll.restorer, Restorer::Nobody, "version 0.1 can read snapshots again");
}

/// A power cut of the log's machine takes longer than a node remembers commands. A past fault: they were too old by then.
#[test]
fn what_the_log_forgot_is_said_again_however_long_it_was_away() {
    let options = Options { version: "1".into(), rules: RULES, snapshot_every: u64::MAX, faults: Faults::default() };
    let mut node = Node::new(Incarnation(Uuid::from_u128(9)), log(7, &[]), options, at(1_000));
    let mut entries = Entries::default();
    entries.turn(std::slice::from_mut(&mut node), 1_500);
    node.ask(change("ann", Action::SignIn(SignIn::default())));
    entries.turn(std::slice::from_mut(&mut node), 1_600);
    assert_eq!((entries.0.len(), members(node.shared())), (2, 1));
    (1_700..90_000).step_by(100).for_each(|tick| drop(node.tick(at(tick))));
    node.is_troubled(Trouble::Lost);
    let mut reread = node.reread(log(7, &[]));
    reread.entry(1, &entries.0[0]);
    node.adopt(reread, fresh(10), at(90_000));
    assert_eq!(members(node.shared()), 0);
    assert!(says(&mut node, 90_100).contains(&change("ann", Action::SignIn(SignIn::default()))));
}

/// The log is replaced again before all is restored.
#[test]
fn what_was_not_restored_yet_goes_into_the_next_empty_log() {
    let (mut nodes, mut entries) = (adopters(1), Entries::default());
    entries.turn(&mut nodes, 10_500);
    assert!((1..SIGN_INS).contains(&members(nodes[0].shared())));
    nodes[0].is_troubled(Trouble::Lost);
    let reread = nodes[0].reread(log(9, &[]));
    nodes[0].adopt(reread, fresh(20), at(10_600));
    Entries::default().until_restored(&mut nodes, 10_700..40_000);
}

/// What a node says first in its next life.
fn says(node: &mut Node, tick: u64) -> Vec<Record> {
    node.tick(at(tick)).into_iter().flat_map(|bytes| Batch::decode(&bytes).unwrap().records).collect()
}

/// A past fault: only the node that restored said its leases again, and in that life alone.
#[test]
fn each_node_says_its_leases_again_whoever_restores_and_in_whichever_life() {
    let options = Options { version: "1".into(), rules: RULES, snapshot_every: u64::MAX, faults: Faults::default() };
    let mut node = Node::new(Incarnation(Uuid::from_u128(9)), log(7, &[]), options, at(1_000));
    let mut entries = Entries::default();
    entries.turn(std::slice::from_mut(&mut node), 1_500);
    let lease = change("ann", Action::SignIn(SignIn { ttl: Some(Duration::from_secs(60)), ..SignIn::default() }));
    node.ask(lease.clone());
    entries.turn(std::slice::from_mut(&mut node), 1_600);
    // By the log's clock, the command is too old to be said again as such.
    (1_700..40_000).step_by(500).for_each(|tick| entries.turn(std::slice::from_mut(&mut node), tick));
    node.is_troubled(Trouble::Lost);
    let reread = node.reread(log(8, &[batch(2, 1, vec![up(), Record::Claim(origin(7, 1_000))])]));
    node.adopt(reread, fresh(10), at(40_000));
    node.live_again(fresh(11).incarnation, at(40_100));
    let said = says(&mut node, 40_200);
    assert!(said.contains(&lease), "{said:?}");
    assert!(!said.iter().any(|record| matches!(record, Record::Restored)), "somebody else restores");
}

/// A past fault: another life did not say them.
#[test]
fn sign_ins_that_a_log_forgot_while_nobody_ran_are_said_in_whichever_life() {
    let options = Options { version: "1".into(), rules: RULES, snapshot_every: u64::MAX, faults: Faults::default() };
    let lost = change("ann", Action::SignIn(SignIn::default()));
    let entries = [batch(2, 1, vec![up()]), batch(2, 2, vec![lost.clone()])];
    let mut node = Node::away(Incarnation(Uuid::from_u128(9)), log(7, &entries), options, at(1_000));
    let mut reread = node.reread(log(7, &entries[..1]));
    reread.lacks(true);
    node.adopt(reread, fresh(10), at(1_100));
    node.live_again(fresh(11).incarnation, at(1_200));
    let said = says(&mut node, 1_300);
    assert!(said.contains(&lost), "{said:?}");
    assert!(said.iter().any(|record| matches!(record, Record::Generation { .. })), "{said:?}");
}
