use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use uuid::Uuid;

use super::attendance::Attendance;
use super::batch::{Batch, Seen};
use super::fold::{Effect, Shared};
use super::incarnation::Incarnation;
use super::judge::Judge;
use super::node::kept::Turn;
use super::node::survey::Recency;
use super::node::{Faults, Fresh, Node, Options, Told, Trouble};
use super::origin::Origin;
use super::record::Record;
use super::roll::Restorer;
use super::snapshot::{Snapshot, fits};
use super::{Memory, Rules, node, timing};
use crate::access::passbook::SecretId;
use crate::access::revocations::Revoked;
use crate::journal::made_up;
use crate::model::command::{Action, Command, NodeAction, SignIn};
use crate::model::cursor::Offset;
use crate::model::event::{Change, DelReason, Event};
use crate::model::history::Bound;
use crate::model::hold::{ConnectionHold, Holds, Transport};
use crate::model::id::ConnectionId;
use crate::model::identity::Identity;
use crate::model::meta::Meta;
use crate::model::moment::{Moment, Tick, Timestamp};
use crate::model::name::Name;
use crate::model::roster::Mark;
use crate::model::statement::{Rank, Statement};
use crate::mutants::Mutants;

const MEMORY: Memory = Memory { history: Bound { events: 100, bytes: 1 << 20 }, bytes: 1 << 20 };
const RULES: Rules = Rules { members: 0, grace: Duration::from_secs(5), max_named: 100 };

mod restoring;

use restoring::log;

fn record(rng: &mut Rng) -> Record {
    let who = Incarnation(Uuid::from_u128(rng.u128(1..4)));
    let (room, user, client) = (made_up::room(rng), made_up::user(rng), made_up::client(rng));
    match rng.u8(..19) {
        0 => Record::Up { version: "1.2".into(), rules: RULES, replaces: rng.bool().then_some(who) },
        1 => Record::Retire(who),
        2 => Record::Down,
        3 => Record::Suspect { who, next: rng.u64(..) },
        4 => Record::Reap { who, since: rng.u64(..) },
        5 => Record::Generation { from: rng.u64(..), to: rng.u64(..) },
        6 => Record::Claim(Origin { journal: Uuid::from_u128(rng.u128(..3)), entries: rng.u64(..) }),
        7 => Record::Restore { room, commands: vec![Command::sign_in(user)] },
        8 => Record::Restored,
        9 => Record::Change { room, commands: vec![Command::sign_out(user)] },
        10 => Record::Came { room, user, client },
        11 => Record::Denied { room, user, client, reason: made_up::reason(rng) },
        12 => Record::Rules(RULES),
        13 => Record::Revoked { revoked: made_up::revoked(rng), before: rng.u64(..), at: rng.u64(..) },
        14 => Record::Cookie { id: made_up::secret(rng), pass: made_up::pass(rng), end: Tick(rng.u64(..)) },
        15 => Record::CookieEnded(made_up::secret(rng)),
        16 => Record::Ticket { id: made_up::secret(rng), pass: made_up::pass(rng), end: Tick(rng.u64(..)) },
        17 => Record::TicketUsed(made_up::secret(rng)),
        _ => Record::Asks { room, ask: rng.bool() },
    }
}

fn batch(by: u128, number: u64, records: Vec<Record>) -> Batch {
    let (incarnation, seen) = (Incarnation(Uuid::from_u128(by)), Seen::default());
    let moment = Moment { tick: Tick(number * 500), time: Timestamp(number) };
    Batch { incarnation, number, moment, seen, full: false, records }
}

fn up() -> Record {
    Record::Up { version: "1".into(), rules: RULES, replaces: None }
}

fn shared() -> Shared {
    Shared::new(Identity { journal: Uuid::from_u128(7), generation: 0 }, MEMORY)
}

fn change(user: &str, action: Action) -> Record {
    Record::Change { room: Name::lobby(), commands: vec![Command::User(Name::kept(user), action)] }
}

fn join(node: u128) -> Action {
    let (connection, transport) = (Incarnation(Uuid::from_u128(node)).hold(), Transport::WebSocket);
    let hold = ConnectionHold { connection, client: None, transport, deadline: None, unclaimed: false, silent: false };
    Action::Join(hold, None, None)
}

fn end(node: u128) -> Action {
    Action::Node(NodeAction::End(Incarnation(Uuid::from_u128(node)).hold(), DelReason::Closed))
}

#[test]
fn batches_are_read_as_they_are_written_and_mutants_are_batches_or_unreadable() {
    let mut rng = Rng::with_seed(18);
    let mut all = Vec::new();
    for number in 0..2_000 {
        let records = (0..rng.usize(..4)).map(|_| record(&mut rng)).collect();
        let batch = Batch { full: rng.bool(), ..batch(rng.u128(..), number, records) };
        let bytes = batch.encode();
        assert_eq!(Batch::decode(&bytes).as_ref(), Ok(&batch));
        assert!(Batch::decode(&bytes[..rng.usize(..bytes.len())]).is_err());
        all.push(bytes);
    }
    for mutant in Mutants::of(all, 20_000) {
        if let Ok(batch) = Batch::decode(&mutant) {
            assert_eq!(Batch::decode(&batch.encode()), Ok(batch));
        }
    }
}

/// Any records, whether they make sense or not: a state that is restored from a snapshot goes on in the same way.
#[test]
fn a_restored_state_folds_on_in_the_same_way() {
    for seed in 0..20 {
        let mut rng = Rng::with_seed(seed);
        let mut shared = shared();
        for by in 1..4 {
            shared.fold(by, &batch(by.into(), 1, vec![up()]).encode());
        }
        let mut again = None;
        for step in 1..400 {
            let records = (0..rng.usize(..4)).map(|_| record(&mut rng)).collect();
            let bytes = batch(rng.u128(1..4), 1 + step / 3, records).encode();
            if step == 200 {
                let parts: Vec<_> = Snapshot::of(&shared).parts().collect();
                assert_eq!(fits(&parts[0], |_| None), Ok(None));
                again = Some(node::restore(&parts, MEMORY).unwrap());
            }
            for shared in [Some(&mut shared), again.as_mut()].into_iter().flatten() {
                shared.fold(3 + step, &bytes);
            }
        }
        let parts = |shared: &Shared| Snapshot::of(shared).parts().collect::<Vec<_>>();
        assert_eq!(Some(parts(&shared)), again.as_ref().map(parts), "seed {seed}");
    }
}

#[test]
fn the_people_of_a_silent_node_are_suspect_and_its_leases_go_to_an_heir() {
    let mut shared = shared();
    let lease = SignIn { ttl: Some(Duration::from_secs(9)), ..SignIn::default() };
    let first = vec![up(), change("ann", join(1)), change("bob", join(1)), change("cyd", Action::SignIn(lease))];
    let (one, two) = (Incarnation(Uuid::from_u128(1)), Incarnation(Uuid::from_u128(2)));
    shared.fold(1, &batch(1, 1, first).encode());
    let asks = Record::Asks { room: Name::lobby(), ask: true };
    shared.fold(2, &batch(2, 1, vec![up(), asks, change("bob", join(2))]).encode());
    shared.fold(3, &batch(2, 2, vec![Record::Suspect { who: one, next: 1 }]).encode());
    assert_eq!(suspects(&shared), Vec::<String>::new(), "its batch came meanwhile");
    shared.fold(4, &batch(2, 3, vec![Record::Suspect { who: one, next: 2 }]).encode());
    assert_eq!(suspects(&shared), ["ann"]);
    shared.fold(5, &batch(1, 2, vec![]).encode());
    assert_eq!(suspects(&shared), Vec::<String>::new());
    shared.fold(6, &batch(2, 4, vec![Record::Reap { who: one, since: 4 }]).encode());
    assert_eq!(shared.room(&Name::lobby()).unwrap().roster().len(), 3, "it is heard again");
    shared.fold(7, &batch(2, 5, vec![Record::Suspect { who: one, next: 3 }]).encode());
    let folded = shared.fold(8, &batch(2, 6, vec![Record::Reap { who: one, since: 7 }]).encode());
    let heirs = folded.effects.iter().filter_map(|(_, effect)| match effect {
        Effect::Leased(_, lease) => Some(lease.owner),
        Effect::Changed(..) | Effect::Refused(_) | Effect::Suspected(..) => None,
        Effect::Gone(..) | Effect::Used(_) | Effect::Restarted => None,
    });
    assert_eq!(heirs.collect::<Vec<_>>(), [two.0]);
    let room = shared.room(&Name::lobby()).unwrap();
    assert!(room.roster().get("ann").is_none() && room.roster().len() == 2);
    assert!(shared.fold(9, &batch(1, 3, vec![change("dan", join(1))]).encode()).batch.is_none(), "the dead are silent");
    let again = shared.fold(10, &batch(1, 1, vec![up()]).encode());
    assert!(again.batch.is_none(), "nor do they come back");
}

fn suspects(shared: &Shared) -> Vec<String> {
    let held = shared.room(&Name::lobby()).unwrap().roster().held_from(Mark::default());
    let suspect = held.filter(|(_, holds)| holds.is_some_and(Holds::are_silent));
    suspect.map(|(member, _)| member.user.to_string()).collect()
}

/// The last events of the lobby, the oldest first: the user, and whether the event says that the user is suspect, or no longer is.
fn doubts(shared: &Shared, since: Offset) -> Vec<(String, bool)> {
    let events = shared.room(&Name::lobby()).unwrap().after(since).unwrap();
    let doubt = |event: &Arc<Event>| match &event.change {
        Change::Suspect(suspect) => Some((suspect.member.user.to_string(), suspect.is)),
        Change::Add(_) | Change::Update(_) | Change::Del(..) => None,
    };
    events.filter_map(doubt).collect()
}

#[test]
fn who_is_suspect_is_told_where_readers_ask_for_as_long_as_they_do() {
    let mut shared = shared();
    let (one, ask) = (Incarnation(Uuid::from_u128(1)), |ask| Record::Asks { room: Name::lobby(), ask });
    shared.fold(1, &batch(1, 1, vec![up(), change("ann", join(1)), change("bob", join(1))]).encode());
    shared.fold(2, &batch(2, 1, vec![up(), change("bob", join(2)), Record::Suspect { who: one, next: 2 }]).encode());
    let head = |shared: &Shared| shared.room(&Name::lobby()).unwrap().head();
    let before = head(&shared);
    assert_eq!(suspects(&shared), Vec::<String>::new(), "nobody asks");
    shared.fold(3, &batch(2, 2, vec![ask(true)]).encode());
    assert_eq!(doubts(&shared, before.offset), [("ann".to_owned(), true)]);
    let folded = shared.fold(4, &batch(2, 3, vec![change("bob", end(2)), change("ann", join(2))]).encode());
    assert_eq!(suspects(&shared), ["bob"], "held through the silent node only");
    assert_eq!(doubts(&shared, before.offset)[1..], [("bob".to_owned(), true), ("ann".to_owned(), false)]);
    assert_eq!(folded.effects.len(), 2);
    let place = head(&shared);
    shared.fold(5, &batch(3, 1, vec![up(), ask(true)]).encode());
    shared.fold(6, &batch(2, 4, vec![ask(false)]).encode());
    assert_eq!((suspects(&shared), head(&shared)), (vec!["bob".to_owned()], place), "others ask");
    shared.fold(7, &batch(2, 5, vec![Record::Suspect { who: Incarnation(Uuid::from_u128(3)), next: 2 }]).encode());
    shared.fold(8, &batch(2, 6, vec![Record::Reap { who: Incarnation(Uuid::from_u128(3)), since: 7 }]).encode());
    assert_eq!((suspects(&shared).len(), doubts(&shared, place.offset)), (0, vec![("bob".to_owned(), false)]));
    assert!(shared.room(&Name::lobby()).unwrap().last_events(9).0.iter().all(|event| event.change.is_seen()));
}

#[test]
fn nothing_is_told_that_an_older_version_cannot_read() {
    let options =
        Options { version: "0.2.0".into(), rules: RULES, snapshot_every: u64::MAX, faults: Faults::default() };
    let mut node = Node::new(Incarnation(Uuid::from_u128(9)), shared(), options, at(1_000));
    let mut position = 0;
    let mut turn = |node: &mut Node, others: Option<Batch>| {
        let mut asks = Vec::new();
        for bytes in others.iter().map(Batch::encode).collect::<Vec<_>>() {
            position += 1;
            node.entry(position, &bytes, at(1_000 + position * 500));
        }
        for bytes in node.tick(at(1_000 + position * 500 + 250)) {
            position += 1;
            node.entry(position, &bytes, at(1_000 + position * 500));
            let batch = Batch::decode(&bytes).unwrap();
            let told = batch.records.into_iter().filter(|record| matches!(record, Record::Asks { .. }));
            asks.extend(told.map(|record| (record, bytes[0])));
        }
        asks
    };
    let ask = |ask| Record::Asks { room: Name::lobby(), ask };
    let old = |number, records| batch(1, number, records);
    assert_eq!(turn(&mut node, None), []);
    let up = Record::Up { version: "0.1.7".into(), rules: RULES, replaces: None };
    assert_eq!(turn(&mut node, Some(old(1, vec![up.clone()]))), []);
    node.ask_suspects([Name::lobby()].into());
    assert_eq!(turn(&mut node, None), [], "a version that can't read it lives");
    let retired = Record::Up { version: "0.2.1".into(), rules: RULES, replaces: None };
    let retired = batch(2, 1, vec![retired, Record::Retire(Incarnation(Uuid::from_u128(1)))]);
    assert_eq!(turn(&mut node, Some(retired)), [], "it may come back");
    let told = (0..500).map(|_| turn(&mut node, None)).find(|told| !told.is_empty());
    assert_eq!(told, Some(vec![(ask(true), 2)]));
    assert_eq!(turn(&mut node, None), [], "once");
    let first = |parts: Vec<Vec<u8>>| parts[0][0];
    assert_eq!(first(Snapshot::of(node.shared()).parts().collect()), 2);
    assert_eq!(turn(&mut node, Some(batch(3, 1, vec![up]))), [(ask(false), 2)], "an older one has come");
    assert_eq!(first(Snapshot::of(node.shared()).parts().collect()), 1, "a snapshot that it can read");
}

#[test]
fn a_batch_of_a_later_version_ends_the_reading() {
    let mut bytes = batch(1, 1, vec![up()]).encode();
    bytes[0] = 3;
    let options = Options { version: "1".into(), rules: RULES, snapshot_every: u64::MAX, faults: Faults::default() };
    let mut node = Node::new(Incarnation(Uuid::from_u128(9)), shared(), options, at(1_000));
    assert_eq!(node.tick(at(1_050)).len(), 1);
    // Nobody's: text, a message in the format of another program, and too few bytes.
    let others: [&[u8]; 4] = [b"rubbish", b"\n\x22a message that was meant for somebody else", b"\x03", &bytes[..20]];
    for (position, bytes) in (1..).zip(others) {
        node.entry(position, bytes, at(1_100));
        assert_eq!(node.trouble(), None, "{bytes:?}");
    }
    node.entry(5, &bytes, at(1_200));
    assert_eq!((node.trouble(), node.recency(at(1_200))), (Some(Trouble::Newer), Recency::Rereading));
    assert!(
        (1_200..9_000).step_by(100).all(|tick| node.tick(at(tick)).is_empty()),
        "it says nothing that it can't hear"
    );
    // Somebody's snapshot leads past that entry. The log forgot nothing, so no cursor is void.
    let mut later = shared();
    (1..).zip(others).for_each(|(position, bytes)| drop(later.fold(position, bytes)));
    later.fold(6, &batch(2, 1, vec![up()]).encode());
    let reread = node.reread(later);
    let fresh = Fresh { incarnation: Incarnation(Uuid::from_u128(3)), generation: 4 };
    node.adopt(reread, fresh, at(9_000));
    let said = node.tick(at(9_100)).into_iter().flat_map(|bytes| Batch::decode(&bytes).unwrap().records);
    let said: Vec<_> = said.collect();
    assert!(matches!(said[..], [Record::Up { .. }, Record::Retire(_)]), "{said:?}");
}

/// A past fault: a node waited for ever for entries that the log had forgotten, if nobody wrote others.
#[test]
fn a_node_that_reached_a_log_which_forgot_its_end_speaks_again() {
    let entries = [batch(2, 1, vec![up()]), batch(2, 2, vec![]), batch(2, 3, vec![])].map(|batch| batch.encode());
    let options = Options { version: "1".into(), rules: RULES, snapshot_every: u64::MAX, faults: Faults::default() };
    let mut kept = shared();
    kept.fold(1, &entries[0]);
    let mut node = Node::away(Incarnation(Uuid::from_u128(9)), kept, options, at(1_000));
    node.reach(3, at(1_000));
    node.entry(2, &entries[1], at(2_000));
    // The third one is gone.
    assert!((2_000..=4_000).step_by(100).all(|tick| node.tick(at(tick)).is_empty()));
    assert_eq!(node.trouble(), None);
    node.tick(at(4_001));
    assert_eq!((node.trouble(), node.recency(at(4_001))), (Some(Trouble::Away), Recency::Stale));
    node.reach(2, at(4_100));
    assert_eq!((node.trouble(), node.tick(at(4_200)).len()), (None, 1));
}

fn at(tick: u64) -> Moment {
    Moment { tick: Tick(tick), time: Timestamp(tick) }
}

#[test]
fn a_node_tells_how_recent_its_rooms_are() {
    let options = Options { version: "1".into(), rules: RULES, snapshot_every: u64::MAX, faults: Faults::default() };
    let mut node = Node::new(Incarnation(Uuid::from_u128(1)), shared(), options, at(1_000));
    let first = node.tick(at(1_500)).remove(0);
    node.appended(1, at(1_510));
    node.entry(1, &first, at(1_530));
    assert_eq!((node.recency(at(1_530)), node.survey(at(1_600)).echo_age), (Recency::Current, 70));

    // Somebody else's entry comes, and not yet the last one that the log has.
    node.appended(3, at(1_600));
    node.entry(2, &batch(2, 1, vec![up()]).encode(), at(2_500));
    assert_eq!((node.recency(at(2_600)), node.recency(at(2_601))), (Recency::Current, Recency::Behind));
    assert_eq!(node.survey(at(2_601)).lag, 1_001);
    node.entry(3, &batch(2, 2, vec![]).encode(), at(2_700));
    assert_eq!(node.recency(at(2_700)), Recency::Current);

    assert_eq!((node.recency(at(3_530)), node.survey(at(3_530)).stale_for), (Recency::Current, 0));
    assert_eq!((node.recency(at(3_531)), node.survey(at(3_531)).stale_for), (Recency::Stale, 2_001));
    node.is_troubled(Trouble::Lost);
    assert_eq!(node.recency(at(3_531)), Recency::Rereading);
}

#[test]
fn a_node_tells_of_all_incarnations() {
    let options = Options { version: "1".into(), rules: RULES, snapshot_every: u64::MAX, faults: Faults::default() };
    let mut node = Node::new(Incarnation(Uuid::from_u128(1)), shared(), options, at(1_000));
    let first = node.tick(at(1_500)).remove(0);
    node.entry(1, &first, at(1_530));
    node.entry(2, &Batch { full: true, ..batch(2, 1, vec![up()]) }.encode(), at(1_540));
    node.entry(3, &batch(3, 1, vec![up(), Record::Down]).encode(), at(1_550));
    let survey = node.survey(at(1_600));
    let told: Vec<_> = survey.nodes.iter().map(|peer| (peer.standing.word(), peer.full, peer.behind)).collect();
    assert_eq!(told, [("live", false, Some(0)), ("live", true, Some(1)), ("stopping", false, Some(2))]);
    assert_eq!((survey.position, survey.figures.batches, survey.figures.echoes[5]), (3, 1, 1), "30 ms");
    for (position, who) in [(4, 2), (5, 3)] {
        let who = Incarnation(Uuid::from_u128(who));
        let suspect = Record::Suspect { who, next: 2 };
        node.entry(position, &batch(4, position - 3, vec![up(), suspect]).encode(), at(1_600));
    }
    for (position, who, since) in [(6, 2, 4), (7, 3, 3)] {
        let reap = Record::Reap { who: Incarnation(Uuid::from_u128(who)), since };
        node.entry(position, &batch(4, position - 3, vec![reap]).encode(), at(1_700));
    }
    let survey = node.survey(at(1_700));
    assert_eq!(survey.nodes.iter().map(|peer| peer.incarnation.0.as_u128()).collect::<Vec<_>>(), [1, 4]);
    assert_eq!(survey.figures.lost, 1, "who said before that it stops is no loss");
}

fn begun(node: &mut Node) {
    let first = node.tick(at(1_500)).remove(0);
    node.entry(1, &first, at(1_530));
    node.told();
}

/// A log that was trimmed, for instance: what others made and ended meanwhile is in no entry that this node reads.
#[test]
fn what_a_node_did_not_read_one_by_one_is_told_all_the_same() {
    let options = Options { version: "1".into(), rules: RULES, snapshot_every: u64::MAX, faults: Faults::default() };
    let mut node = Node::new(Incarnation(Uuid::from_u128(1)), shared(), options, at(1_000));
    begun(&mut node);
    let mut rng = Rng::with_seed(7);
    let pass = made_up::pass(&mut rng);
    let (old, new, end) = (SecretId([1; 32]), SecretId([2; 32]), Tick(1 << 40));
    let revoked = Record::Revoked { revoked: Revoked::Token("a".into()), before: 5, at: 9 };
    let denied = Record::Denied {
        room: Name::lobby(),
        user: Name::kept("ann"),
        client: made_up::client(&mut rng),
        reason: DelReason::SignedOut,
    };
    let cookie = |id| Record::Cookie { id, pass: pass.clone(), end };
    let ticket = |id| Record::Ticket { id, pass: pass.clone(), end };
    node.entry(2, &batch(2, 1, vec![up(), cookie(old), ticket(old)]).encode(), at(1_540));
    node.told();
    let mut others = shared();
    let records = vec![up(), cookie(new), ticket(new), revoked.clone(), denied.clone()];
    others.fold(9, &batch(2, 1, records).encode());
    node.is_troubled(Trouble::Behind);
    let (reread, incarnation) = (node.reread(others), Incarnation(Uuid::from_u128(3)));
    node.adopt(reread, Fresh { incarnation, generation: 4 }, at(1_600));
    let facts = node.told().into_iter().filter_map(|told| if let Told::Fact(fact) = told { Some(fact) } else { None });
    let facts: Vec<_> = facts.collect();
    let wanted = [
        cookie(new),
        Record::CookieEnded(old),
        ticket(new),
        Record::TicketUsed(old),
        Record::Revoked { revoked: Revoked::Token("a".into()), before: 5, at: 0 },
        denied,
    ];
    assert_eq!(facts, wanted);
}

#[test]
fn who_stops_or_is_silent_is_waited_for_as_long_as_the_grace_period() {
    for (stops, grace) in [(true, 1_000), (true, 9_000), (false, 1_000), (false, 9_000)] {
        let (me, who) = (Incarnation(Uuid::from_u128(1)), Incarnation(Uuid::from_u128(2)));
        let mut shared = shared();
        shared.fold(1, &batch(1, 1, vec![up()]).encode());
        shared.fold(2, &batch(2, 1, vec![up()]).encode());
        let end =
            if stops { batch(2, 2, vec![Record::Down]) } else { batch(1, 2, vec![Record::Suspect { who, next: 2 }]) };
        shared.fold(3, &end.encode());
        let mut judge = Judge::default();
        while judge.judge(&shared.roll, grace, me).is_empty() {
            judge.echoed(500, false);
        }
        assert_eq!(judge.judge(&shared.roll, grace, me), []);
        assert_eq!(judge.clock(), grace + 500, "the first beat after the grace");
    }
}

#[test]
fn a_node_that_is_taken_for_lost_by_an_entry_in_doubt_begins_another_life() {
    let options = Options { version: "1".into(), rules: RULES, snapshot_every: u64::MAX, faults: Faults::default() };
    let me = Incarnation(Uuid::from_u128(1));
    let mut node = Node::new(me, shared(), options, at(1_000));
    let mut entries = vec![node.tick(at(1_500)).remove(0).to_vec(), batch(2, 1, vec![up()]).encode()];
    entries.push(batch(2, 2, vec![Record::Suspect { who: me, next: 2 }]).encode());
    let other = Seen { position: 1, entries: 1, hash: 7 };
    let reaps = vec![Record::Reap { who: me, since: 3 }];
    entries.push(Batch { seen: other, ..batch(2, 3, reaps) }.encode());
    (1..).zip(&entries).for_each(|(position, bytes)| node.entry(position, bytes, at(1_500 + position)));
    assert_eq!(node.trouble(), Some(Trouble::Differs));
    let mut reread = node.reread(shared());
    (1..).zip(&entries).for_each(|(position, bytes)| reread.entry(position, bytes));
    let fresh = Fresh { incarnation: Incarnation(Uuid::from_u128(3)), generation: 4 };
    node.adopt(reread, fresh, at(1_600));
    assert_eq!(node.trouble(), Some(Trouble::Reaped), "the others were wrong about the log, and not about the node");
}

/// A past fault: what was said through a hold that somebody ended was refused, and with it the next hold.
#[test]
fn a_hold_that_comes_behind_a_sign_out_outlasts_what_was_said_before() {
    let options = Options { version: "1".into(), rules: RULES, snapshot_every: u64::MAX, faults: Faults::default() };
    let mut node = Node::new(Incarnation(Uuid::from_u128(9)), shared(), options, at(1_000));
    let key = (Name::lobby(), Name::kept("ann"));
    let connection = |number| ConnectionId(Uuid::from_u128(number));
    let says = |text| Statement { meta: Meta::kept(text).unwrap(), rank: Rank::default() };
    let (mut position, mut tick) = (0, 1_000);
    let mut reads = |node: &mut Node, bytes: &[u8]| {
        position += 1;
        node.entry(position, bytes, at(tick));
        tick += 10;
    };
    node.join(&key, connection(1), None, Some(says("{}")), None);
    node.tick(at(1_500)).iter().for_each(|bytes| reads(&mut node, bytes));
    node.say(&key, connection(1), says(r#"{"a":1}"#));
    let update = node.tick(at(1_510)).remove(0);
    let out = Record::Change { room: Name::lobby(), commands: vec![Command::sign_out(key.1.clone())] };
    reads(&mut node, &batch(2, 1, vec![up(), out]).encode());
    node.told();
    node.join(&key, connection(2), None, None, None);
    let behind = node.tick(at(1_520)).remove(0);
    reads(&mut node, &update);
    reads(&mut node, &behind);
    let told = node.told();
    assert!(!told.iter().any(|told| matches!(told, Told::Ended(..))), "{told:?}");
    assert!(node.attendance().has(&key, connection(2)));
    assert!(node.shared().room(&key.0).unwrap().roster().get(&key.1).is_some());
}

/// A past fault: a hold that nobody meant passed for that of the next connection, with what it said.
#[test]
fn what_nobody_said_is_taken_back() {
    let (key, hold) = ((Name::lobby(), Name::kept("ann")), Incarnation(Uuid::from_u128(1)).hold());
    let Action::Join(joins, _, _) = join(1) else { panic!("a join") };
    let said = Statement { meta: Meta::kept(r#"{"a":1}"#).unwrap(), rank: Rank::default() };
    let state = log(7, &[batch(1, 1, vec![up(), change("ann", Action::Join(joins, Some(said), None))])]);
    let holds = state.room(&key.0).unwrap().roster().holds(&key.1);
    let mut attendance = Attendance::default();
    assert!(attendance.reconcile(&key, hold, holds.as_ref()), "nobody is here");
    attendance.join(&key, ConnectionId(Uuid::from_u128(2)), None, None, None);
    let owed = attendance.owed(&key, hold, (2, 0));
    assert_eq!(owed, [Command::User(key.1, Action::Node(NodeAction::Recall(hold, None)))]);
}
